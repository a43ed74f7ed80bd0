package cloud

import (
	"bytes"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// userData runs user-data.sh with the settings and nothing else.
func userData(t *testing.T, settings ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "./user-data.sh")
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, settings...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

var sum = "PACKAGE_SHA256=" + strings.Repeat("0f", 32)

// The user-data has the very script that is beside it, the answers for init, and a
// call with the settings.
func TestUserData(t *testing.T) {
	preseed := filepath.Join(t.TempDir(), "jump-1.toml")
	if err := os.WriteFile(preseed, []byte("name = \"jump-1\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, errs, code := userData(t, "PACKAGE=https://example.org/c.deb", sum, "PRESEED="+preseed, "DATA_DISK=/dev/disk/by-id/x")
	if code != 0 || errs != "" || !strings.HasPrefix(out, "#cloud-config\n") {
		t.Fatalf("exit code %d: %s%s", code, out, errs)
	}
	var files []string
	for _, found := range regexp.MustCompile(`(?m)^- path: (.+)\n  permissions: "(.+)"\n  encoding: b64\n  content: (.+)$`).FindAllStringSubmatch(out, -1) {
		content, err := base64.StdEncoding.DecodeString(found[3])
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found[1], found[2], string(content))
	}
	script, err := os.ReadFile("bootstrap.sh")
	if err != nil {
		t.Fatal(err)
	}
	const answers = "/var/lib/containarium-bootstrap/preseed.toml"
	if want := []string{"/usr/local/sbin/containarium-bootstrap", "0755", string(script), answers, "0600", "name = \"jump-1\"\n"}; !slices.Equal(files, want) {
		t.Errorf("the files are %q", files)
	}
	want := "runcmd:\n- [env, \"PACKAGE=https://example.org/c.deb\", \"" + sum + "\", \"DATA_DISK=/dev/disk/by-id/x\", \"PRESEED=" + answers + "\", \"/usr/local/sbin/containarium-bootstrap\"]\n"
	if !strings.HasSuffix(out, want) {
		t.Errorf("it does not end with %q:\n%s", want, out)
	}
}

// What is missing or would be read as something else is refused, and nothing printed.
func TestUserDataRefuses(t *testing.T) {
	const url = "PACKAGE=https://example.org/c.deb"
	for name, test := range map[string]struct {
		settings []string
		says     string
	}{
		"no package":       {[]string{sum}, "PACKAGE is to say"},
		"no checksum":      {[]string{url}, "PACKAGE_SHA256"},
		"half a checksum":  {[]string{url, "PACKAGE_SHA256=0f"}, "PACKAGE_SHA256"},
		"a second line":    {[]string{url + "\n- [reboot]", sum}, "PACKAGE has a character"},
		"no such answers":  {[]string{url, sum, "PRESEED=/nonexistent"}, "no file /nonexistent"},
		"a quotation mark": {[]string{url, sum, `DATA_DISK=/dev/x", "reboot`}, "DATA_DISK has a character"},
	} {
		if out, errs, code := userData(t, test.settings...); code != 2 || out != "" || !strings.Contains(errs, test.says) {
			t.Errorf("%s: exit code %d, %q, %q", name, code, out, errs)
		}
	}
}
