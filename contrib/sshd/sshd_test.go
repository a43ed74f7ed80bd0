// Package sshd_test reads the snippet for jump hosts with the host's own sshd.
package sshd_test

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sshd = "/usr/sbin/sshd"

// refusals are what must hold for a member of the group, as sshd -T prints it.
var refusals = map[string]string{
	"authenticationmethods":        "publickey",
	"authorizedkeysfile":           ".ssh/authorized_keys",
	"authorizedkeyscommand":        "none",
	"trustedusercakeys":            "none",
	"passwordauthentication":       "no",
	"kbdinteractiveauthentication": "no",
	"allowtcpforwarding":           "local",
	"permitlisten":                 "none",
	"gatewayports":                 "no",
	"allowstreamlocalforwarding":   "no",
	"forcecommand":                 "/usr/sbin/nologin",
	"permittty":                    "no",
	"permituserrc":                 "no",
	"permittunnel":                 "no",
	"allowagentforwarding":         "no",
	"x11forwarding":                "no",
}

func TestMembersOfTheGroupAreRefusedAllButTheHop(t *testing.T) {
	got := effective(t, groupOf(t))
	for option, want := range refusals {
		if diff := cmp.Diff(want, got[option]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", option, diff)
		}
	}
}

func TestOthersKeepWhatTheHostGivesThem(t *testing.T) {
	got := effective(t, "containarium")
	if got["allowtcpforwarding"] != "yes" || got["forcecommand"] != "none" || got["permittty"] != "yes" {
		t.Errorf("an account outside the group is restricted: %v", got)
	}
}

// effective returns what sshd would do with this process's user, were the
// snippet's group the one given: options that the snippet does not name have a
// permissive host's values.
func effective(t *testing.T, group string) map[string]string {
	t.Helper()
	if _, err := os.Stat(sshd); err != nil {
		t.Skip("NOT RUN: what sshd itself makes of its configuration: apt-get install openssh-server")
	}
	// Where sshd jails what is not authenticated yet; it is there once one has run. Who
	// is not root is told by sshd.
	_ = os.MkdirAll("/run/sshd", 0o755)
	snippet, err := os.ReadFile("containarium.conf")
	if err != nil {
		t.Fatal(err)
	}
	const match = "Match Group containarium\n"
	if !strings.Contains(string(snippet), match) {
		t.Fatalf("the snippet has no line %q", match)
	}
	dir := t.TempDir()
	included := filepath.Join(dir, "containarium.conf")
	write(t, included, strings.Replace(string(snippet), match, "Match Group "+group+"\n", 1))
	key := filepath.Join(dir, "host_key")
	output(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
	config := filepath.Join(dir, "sshd_config")
	write(t, config, strings.Join([]string{
		"Include " + included, "HostKey " + key,
		"AllowTcpForwarding yes", "AllowStreamLocalForwarding yes", "AllowAgentForwarding yes", "X11Forwarding yes",
		"PermitTunnel yes", "PermitUserRC yes", "PermitTTY yes", "GatewayPorts yes", "PasswordAuthentication yes",
		"KbdInteractiveAuthentication yes", "AuthorizedKeysFile .ssh/authorized_keys .ssh/authorized_keys2",
	}, "\n")+"\n")
	output(t, sshd, "-t", "-f", config)
	options := map[string]string{}
	for line := range strings.Lines(output(t, sshd, "-T", "-f", config, "-C", "user="+current(t).Username+",host=localhost,addr=127.0.0.1")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		options[name] = value
	}
	return options
}

func current(t *testing.T) *user.User {
	t.Helper()
	current, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return current
}

func groupOf(t *testing.T) string {
	t.Helper()
	group, err := user.LookupGroupId(current(t).Gid)
	if err != nil {
		t.Fatal(err)
	}
	return group.Name
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, &stderr)
	}
	return string(out)
}
