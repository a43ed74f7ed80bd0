//go:build e2e

package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/client"
)

// hangups counts the signals that the daemon had.
func (m *machine) hangups(t *testing.T) int {
	t.Helper()
	return strings.Count(m.must(t, "journalctl", "-q", "-u", unitName, "-o", "cat"), "SIGHUP")
}

// systemd runs the daemon by the unit and the example configuration that we ship,
// and a reload that came to nothing is a failed one in its eyes.
func TestSystemdReload(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "unit")
	m.copy(t, "/usr/bin/containarium", 0o755, m.binary)
	for _, unit := range []string{unitName, renewService, renewTimer} {
		m.copy(t, "/etc/systemd/system/"+unit, 0o644, "../systemd/"+unit)
	}
	example, err := os.ReadFile("../../config.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	m.certify(t, string(example))

	// A setting that it does not know is no error to systemd, but a line here.
	if out := m.exec(t, "systemd-analyze", "verify", "--man=no", unitName, renewService, renewTimer); out.code != 0 || strings.Contains(out.stderr, "containarium") {
		t.Errorf("systemd-analyze: exit code %d: %s", out.code, out.stderr)
	}
	m.must(t, "systemctl", "daemon-reload")
	m.must(t, "systemctl", "enable", "--now", unitName)
	// It is not up for systemd before it is for clients.
	if r := m.whoami(t, admin); r.code != 0 {
		t.Errorf("once systemd has started it: %s", r.stderr)
	}
	m.is(t, "thief", "guest")
	pid := m.unit(t, "MainPID")

	m.must(t, "systemctl", "reload", unitName)
	waitFor(t, "the first SIGHUP", func() bool { return m.hangups(t) == 1 })

	// A mistake: systemd says so, and where; the daemon goes on by the old policy.
	m.put(t, policyFile, 0o644, []byte(strings.Replace(unitPolicy, "system.read", "system.raed", 1)))
	if r := m.exec(t, "systemctl", "reload", unitName); r.code == 0 {
		t.Error("systemctl takes a reload with a bad policy for a good one")
	}
	said := m.exec(t, "systemctl", "status", "--no-pager", "--full", "--lines=100", unitName)
	for _, want := range []string{policyFile + ":4:10: ", `did you mean "system.read"?`, "active (running)"} {
		if !strings.Contains(said.stdout, want) {
			t.Errorf("systemctl status says nothing of %q:\n%s", want, said.stdout)
		}
	}
	if said.code != 0 {
		t.Errorf("systemctl status: exit code %d, want 0: the daemon runs", said.code)
	}
	m.is(t, "thief", "guest")
	m.is(t, admin, "admin")

	waitFor(t, "the daemon to say so itself", func() bool { return strings.Contains(m.unit(t, "StatusText"), policyFile+":4:10: ") })

	// Mended, and changed.
	m.put(t, policyFile, 0o644, []byte(strings.Replace(unitPolicy, `"thief" = "guest"`, `"thief" = "admin"`, 1)))
	m.must(t, "systemctl", "reload", unitName)
	m.is(t, "thief", "admin")
	waitFor(t, "the daemon to take that back", func() bool { return !strings.Contains(m.unit(t, "StatusText"), "not loaded") })
	waitFor(t, "the second SIGHUP", func() bool { return m.hangups(t) >= 2 })

	// Who is revoked is cut off, in the midst of a call, and nobody else.
	c, err := client.Dial(m.server("thief"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // it is cut
	ctx, cancel := lasting(t)
	defer cancel()
	stream, err := healthpb.NewHealthClient(c.Conn()).Watch(ctx, &healthpb.HealthCheckRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	m.ca(t, "revoke", "thief")
	m.copy(t, "/etc/containarium/tls/crl.pem", 0o644, filepath.Join(m.pki, "crl.pem"))
	m.must(t, "systemctl", "reload", unitName)
	for err == nil {
		_, err = stream.Recv() // first what it has to say about Incus
	}
	if code := status.Code(err); code != codes.Unauthenticated && code != codes.Unavailable || ctx.Err() != nil {
		t.Errorf("the call of a revoked client ended with %v", err)
	}
	if r := m.whoami(t, "thief"); r.code == 0 || !strings.Contains(r.stderr, "revoked") {
		t.Errorf("a revoked client gets %s%s", r.stdout, r.stderr)
	}
	m.is(t, admin, "admin")
	waitFor(t, "the third SIGHUP", func() bool { return m.hangups(t) >= 3 })
	if n := m.hangups(t); n != 3 {
		t.Errorf("the daemon had %d SIGHUPs, want 3: the failed reload sends none", n)
	}
	if now := m.unit(t, "MainPID"); now != pid {
		t.Errorf("the daemon was started anew: process %s, before %s", now, pid)
	}
	if r := m.must(t, "sh", "-c", "wc -l </var/log/containarium/audit.log"); strings.TrimSpace(r) == "0" {
		t.Error("there is no line in the audit log")
	}

	// A stop is orderly.
	m.must(t, "systemctl", "stop", unitName)
	if got := m.exec(t, "systemctl", "is-failed", unitName).stdout; got != "inactive\n" {
		t.Errorf("after a stop it is %s", got)
	}
}
