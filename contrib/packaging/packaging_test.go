// Package packaging_test builds the packages and looks at what is in them. That they
// install, upgrade and go on a host is shown by the end-to-end tests.
package packaging_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const root = "../.."

// run runs a command and returns what it prints; where it fails the test ends.
func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v: %s%s", name, strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return string(out)
}

// needs names what a machine lacks; contrib/test/test.sh lists it, and with ALL=1, as
// in CI, what was not run is a failure.
func needs(t *testing.T, program, hint string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("NOT RUN: what needs %s: %s", program, hint)
	}
}

// work is where the packages of this tree are, which the tests share once they are
// built.
var work string

func TestMain(m *testing.M) {
	var err error
	if work, err = os.MkdirTemp("", "containarium-packaging-"); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := os.RemoveAll(work); err != nil {
		panic(err)
	}
	os.Exit(code) //nolint:forbidigo // the end of a test binary; nothing is deferred
}

// packages returns the folder of the packages as "make packages" builds them.
func packages(t *testing.T) string {
	t.Helper()
	needs(t, filepath.Join(root, "bin/tools/nfpm"), "make bin/tools/nfpm")
	if found, err := filepath.Glob(filepath.Join(work, "*")); err != nil || len(found) == 0 {
		run(t, nil, "./build.sh", work)
	}
	return work
}

// one returns the one file of a folder with the ending.
func one(t *testing.T, dir, ending string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"+ending))
	if err != nil || len(found) != 1 {
		t.Fatalf("in %s there are the files %q, %v", dir, found, err)
	}
	return found[0]
}

func sums(t *testing.T, dir string) map[string]string {
	t.Helper()
	sums := map[string]string{}
	for _, ending := range []string{".deb", ".rpm"} {
		file := one(t, dir, ending)
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		sums[filepath.Base(file)] = hex.EncodeToString(sum[:])
	}
	return sums
}

// Whoever builds the same tree gets the same bytes, in another folder, at another
// time of day, with another umask and language.
func TestTwoBuildsAreOne(t *testing.T) {
	first := sums(t, packages(t))
	elsewhere := filepath.Join(t.TempDir(), "another place")
	run(t, nil, "sh", "-c", `umask 077
mkdir -p "$2/bin/tools"
tar -c -C "$1" --exclude=./bin . | tar -xm --no-same-permissions -C "$2"
cp "$1/bin/tools/nfpm" "$2/bin/tools"`, "sh", root, elsewhere)
	run(t, []string{"TZ=Asia/Kathmandu", "LC_ALL=C", "HOSTNAME=elsewhere"}, "sh", "-c", `umask 077; "$1/contrib/packaging/build.sh" "$1/out"`, "sh", elsewhere)
	if diff := cmp.Diff(first, sums(t, filepath.Join(elsewhere, "out"))); diff != "" {
		t.Errorf("the packages differ (-first +second):\n%s", diff)
	}
}

// shipped are the files of both packages, beside the man pages.
var shipped = map[string]string{
	"/usr/bin/containarium":                                  "-rwxr-xr-x",
	"/usr/lib/systemd/system/containarium.service":           "-rw-r--r--",
	"/usr/lib/systemd/system/containarium-renew.service":     "-rw-r--r--",
	"/usr/lib/systemd/system/containarium-renew.timer":       "-rw-r--r--",
	"/usr/lib/sysusers.d/containarium.conf":                  "-rw-r--r--",
	"/usr/lib/tmpfiles.d/containarium.conf":                  "-rw-r--r--",
	"/etc/logrotate.d/containarium":                          "-rw-r--r--",
	"/usr/share/bash-completion/completions/containarium":    "-rw-r--r--",
	"/usr/share/fish/vendor_completions.d/containarium.fish": "-rw-r--r--",
	"/usr/share/doc/containarium/config.example.toml":        "-rw-r--r--",
	"/usr/share/doc/containarium/policy.toml":                "-rw-r--r--",
	"/usr/share/doc/containarium/sshd.conf":                  "-rw-r--r--",
}

var listed = regexp.MustCompile(`(?m)^(-[rwxst-]{9})[. ]+.* \.?(/\S+)$`)

// holds compares what a package lists with what is shipped, and with a page for
// each command.
func holds(t *testing.T, listing string, more ...string) {
	t.Helper()
	got, pages := map[string]string{}, []string{}
	for _, match := range listed.FindAllStringSubmatch(listing, -1) {
		if page, ok := strings.CutPrefix(match[2], "/usr/share/man/man1/"); ok {
			pages = append(pages, strings.TrimSuffix(page, ".gz"))
			continue
		}
		got[match[2]] = match[1]
	}
	want := map[string]string{}
	for file, mode := range shipped {
		want[file] = mode
	}
	for _, file := range more {
		want[file] = "-rw-r--r--"
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the package has (-want +got):\n%s", diff)
	}
	dir := t.TempDir()
	run(t, nil, "go", "run", root+"/cmd/containarium", "man", dir)
	written, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var wantPages []string
	for _, page := range written {
		wantPages = append(wantPages, page.Name())
	}
	slices.Sort(pages)
	if diff := cmp.Diff(wantPages, pages); diff != "" || len(pages) == 0 {
		t.Errorf("the man pages are (-want +got):\n%s", diff)
	}
}

func TestDeb(t *testing.T) {
	needs(t, "dpkg-deb", "apt-get install dpkg")
	deb := one(t, packages(t), ".deb")
	holds(t, run(t, nil, "dpkg-deb", "-c", deb), "/usr/share/zsh/vendor-completions/_containarium", "/usr/share/doc/containarium/copyright")
	if got := run(t, nil, "dpkg-deb", "-I", deb, "conffiles"); got != "/etc/logrotate.d/containarium\n" {
		t.Errorf("files that an administrator may change are %q", got)
	}
	if owners := regexp.MustCompile(`(?m)^\S+ (\S+)`).FindAllStringSubmatch(run(t, nil, "dpkg-deb", "-c", deb), -1); slices.ContainsFunc(owners, func(m []string) bool { return m[1] != "root/root" }) {
		t.Error("a file belongs to somebody else than root")
	}
	dir := t.TempDir()
	run(t, nil, "dpkg-deb", "-x", deb, dir)
	program := strings.Fields(run(t, nil, filepath.Join(dir, "usr/bin/containarium"), "version"))[1]
	version := strings.TrimSpace(run(t, nil, "dpkg-deb", "-f", deb, "Version"))
	if !strings.HasPrefix(program, "v") && program != "(devel)" || !regexp.MustCompile(`^[0-9][0-9A-Za-z.+~]*$`).MatchString(version) {
		t.Errorf("the package is %q, the program in it %q", version, program)
	}
}

func TestRPM(t *testing.T) {
	needs(t, "rpm", "apt-get install rpm")
	rpm := one(t, packages(t), ".rpm")
	ask := func(args ...string) string {
		return run(t, nil, "rpm", append(append([]string{"-q"}, args...), "-p", rpm)...)
	}
	holds(t, ask("-lv"), "/usr/share/zsh/site-functions/_containarium", "/usr/share/licenses/containarium/LICENSE")
	if got := ask("-c"); got != "/etc/logrotate.d/containarium\n" {
		t.Errorf("files that an administrator may change are %q", got)
	}
	// The machine that built it is nobody's business, and another one the next time.
	if got := ask("--qf", "%{BUILDHOST}"); got != "localhost" {
		t.Errorf("the package names the machine that built it: %s", got)
	}
}
