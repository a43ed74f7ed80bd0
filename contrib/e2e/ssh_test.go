//go:build e2e

package e2e_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestOwnersLogInThroughTheJumpHost(t *testing.T) {
	t.Parallel()
	alice, bob := newOwner(t, "alice"), newOwner(t, "bob")
	owners := []*owner{alice, bob}
	var wg sync.WaitGroup
	for _, o := range owners {
		wg.Go(func() { o.create(t) })
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}

	t.Run("both at once", func(t *testing.T) {
		var wg sync.WaitGroup
		for _, o := range owners {
			wg.Go(func() {
				want := fmt.Sprintf("%s %s-container 0", o.name, o.name)
				if got := o.sh(t, `echo "$(id -un) $(hostname) $(sudo -n id -u)"`); got != want {
					t.Errorf("in the container of %s: %q, want %q", o.name, got, want)
				}
			})
		}
		wg.Wait()
	})
	t.Run("by the command that info prints", func(t *testing.T) {
		_, login, _ := strings.Cut(alice.do(t, "info", alice.name).stdout, "log in:")
		words := strings.Fields(login)
		if len(words) < 2 || words[0] != "ssh" {
			t.Fatalf("info prints %q", login)
		}
		args := append([]string{"-F", alice.sshConfig(t, alice.key)}, words[1:]...)
		if r := run(t, t.Context(), "", nil, "ssh", append(args, "id -un")...); strings.TrimSpace(r.stdout) != alice.name {
			t.Errorf("%s: %+v", login, r)
		}
	})
	t.Run("not with another's key", func(t *testing.T) {
		if r := alice.sshWith(t, bob.key, "true"); r.code == 0 {
			t.Error("bob's key opens alice's container")
		}
	})
	t.Run("the jump account gives no session", func(t *testing.T) { testNoSession(t, alice) })
	t.Run("the hop leads nowhere else", func(t *testing.T) { testHop(t, alice, bob) })
}

// testNoSession tries to get more of the jump host than the hop, by the ssh that
// users have.
func testNoSession(t *testing.T, o *owner) {
	host, port, _ := net.SplitHostPort(o.jump)
	config := o.sshConfig(t, o.key)
	target := o.name + "@" + host
	for name, test := range map[string]struct {
		input string
		args  []string
	}{
		"a shell":            {"id\n", []string{"ssh", "-p", port, target}},
		"a shell with a tty": {"id\n", []string{"ssh", "-tt", "-p", port, target}},
		"a command":          {"", []string{"ssh", "-p", port, target, "id"}},
		"sftp":               {"ls /etc\n", []string{"sftp", "-P", port, "-b", "-", target}},
		"scp":                {"", []string{"scp", "-P", port, target + ":/etc/passwd", t.TempDir()}},
		"scp, the old way":   {"", []string{"scp", "-O", "-P", port, target + ":/etc/passwd", t.TempDir()}},
		"a remote forward":   {"", []string{"ssh", "-o", "ExitOnForwardFailure=yes", "-N", "-R", "127.0.0.1:0:127.0.0.1:1", "-p", port, target}},
	} {
		args := append([]string{"-F", config}, test.args[1:]...)
		r := run(t, t.Context(), test.input, nil, test.args[0], args...)
		if r.code == 0 || strings.Contains(r.stdout, "uid=") || strings.Contains(r.stdout, "passwd") {
			t.Errorf("%s: exit code %d, %q", name, r.code, r.stdout)
		}
		if strings.Contains(r.stderr, "Permission denied (") || strings.Contains(r.stderr, "verification failed") {
			t.Errorf("%s: the key itself was refused, which proves nothing: %s", name, r.stderr)
		}
	}
}

// testHop forwards through a connection that was let in, as no well-behaved ssh
// would.
func testHop(t *testing.T, o, other *owner) {
	hop, err := o.login(t, o.jump, o.jumpKey, o.key)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := hop.Dial("tcp", o.address())
	if err != nil {
		t.Fatalf("the hop to the own container: %v", err)
	}
	banner := make([]byte, 4)
	if _, err := io.ReadFull(conn, banner); err != nil || string(banner) != "SSH-" {
		t.Fatalf("the own container says %q, %v", banner, err)
	}
	_, daemonPort, _ := net.SplitHostPort(o.site.address)
	_, sshdPort, _ := net.SplitHostPort(o.jump)
	ip := o.container.GetNetwork().GetIpAddress()
	bridge := ip[:strings.LastIndex(ip, ".")+1] + "1"
	open := filepath.Join(siteDir, "open.sock") // which anybody on the host may use
	listener, err := net.Listen("unix", open)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // nobody came
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	for what, target := range map[string][2]string{
		"another's container":           {"tcp", other.address()},
		"another port of the container": {"tcp", net.JoinHostPort(ip, "80")},
		"the daemon":                    {"tcp", o.site.address},
		"the daemon by name":            {"tcp", "localhost:" + daemonPort},
		"the host's sshd":               {"tcp", o.jump},
		"the host by its bridge":        {"tcp", net.JoinHostPort(bridge, sshdPort)},
		"the host's sshd over IPv6":     {"tcp", "[::1]:" + sshdPort},
		"a unix socket of the host":     {"unix", open},
	} {
		conn, err := hop.Dial(target[0], target[1])
		if err == nil {
			_ = conn.Close()
			t.Errorf("the hop leads to %s (%s)", what, target[1])
			continue
		}
		refusal, ok := errors.AsType[*ssh.OpenChannelError](err)
		// For a unix socket sshd says that it failed, whatever kept it from it.
		if !ok || refusal.Reason != ssh.Prohibited && target[0] != "unix" {
			t.Errorf("%s: %v, want it prohibited", what, err)
		}
	}
	for _, address := range []string{"127.0.0.1:0", "localhost:1", "0.0.0.0:0"} {
		if listener, err := hop.Listen("tcp", address); err == nil {
			_ = listener.Close()
			t.Errorf("the hop listens on %s of the host", address)
		}
	}
	if session, err := hop.NewSession(); err == nil {
		if out, err := session.Output("id"); err == nil || len(out) > 0 && strings.Contains(string(out), "uid=") {
			t.Errorf("a session on the hop: %q, %v", out, err)
		}
	}
}
