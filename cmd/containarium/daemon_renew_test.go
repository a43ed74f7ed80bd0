package main

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/footprintai/containarium/daemon/config"
	"github.com/footprintai/containarium/pki"
	"github.com/footprintai/containarium/pki/guard"
	"github.com/footprintai/containarium/pki/live"
)

const month = 30 * 24 * time.Hour

// newJumpServer has init make the files of a host, and returns its configuration
// and its record.
func newJumpServer(t *testing.T, more ...string) (*config.Config, *record) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "etc")
	t.Setenv("CONTAINARIUM_CONFIG", filepath.Join(dir, "client.toml"))
	path := filepath.Join(dir, "config.toml")
	line := append([]string{"init", "--config", path, "--yes", "--no-start", "--name", "jump-1", "--sshd-dir", filepath.Join(dir, "sshd")}, more...)
	if code, _, errs := runLine(t.Context(), false, line...); code != exitFine {
		t.Fatal(errs)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := loadRecord(path)
	if err != nil {
		t.Fatal(err)
	}
	return c, r
}

// renewedAt runs a renewal as of later, and returns what it renewed.
func renewedAt(t *testing.T, c *config.Config, r *record, later time.Duration) string {
	t.Helper()
	h := &hostRenewal{
		config: c, admin: r.Admin, caDir: filepath.Join(filepath.Dir(r.path), "pki"),
		now: func() time.Time { return time.Now().Add(later) }, warn: func(err error) { t.Log(err) },
	}
	if err := h.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	var renewed []string
	for _, v := range h.done {
		if v.Renewed {
			renewed = append(renewed, v.Name)
		}
	}
	return strings.Join(renewed, " ")
}

func leafOf(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	chain, err := live.ReadCertificates(path)
	if err != nil {
		t.Fatal(err)
	}
	return chain[0]
}

func filesOf(c *config.Config) live.Files {
	return live.Files{Cert: c.Server.Cert, Key: c.Server.Key, CA: c.Server.CA, CRL: c.Server.CRL}
}

// Nothing is renewed before two thirds of the life are over; then all is, the keys
// stay, and what the daemon has is good again.
func TestRenewByTheCAOnThisHost(t *testing.T) {
	c, r := newJumpServer(t)
	if got := renewedAt(t, c, r, month/4); got != "" {
		t.Errorf("renewed before it was time: %s", got)
	}
	key, first := content(t, c.Server.Key), leafOf(t, c.Server.Cert)
	if got, want := renewedAt(t, c, r, 2*month+time.Hour), "jump-1 admin revocation lists"; got != want {
		t.Errorf("renewed %q, want %q", got, want)
	}
	second := leafOf(t, c.Server.Cert)
	if !second.NotAfter.After(first.NotAfter) || content(t, c.Server.Key) != key || strings.Join(second.DNSNames, " ") != strings.Join(first.DNSNames, " ") {
		t.Error("it is not the same with a new life")
	}
	if err := filesOf(c).Check(live.Server, time.Now().Add(4*month)); err != nil {
		t.Error(err)
	}
	// A host that was off for long finds an expired one.
	if got := renewedAt(t, c, r, 9*month); !strings.HasPrefix(got, "jump-1 admin") {
		t.Errorf("after it expired it renewed %q", got)
	}
}

// A certificate that was made by a request has no files in the CA's directory.
func TestRenewOfARequest(t *testing.T) {
	c, r := newJumpServer(t)
	if err := os.RemoveAll(filepath.Join(c.CA.Dir, "issued", "jump-1")); err != nil {
		t.Fatal(err)
	}
	key := content(t, c.Server.Key)
	if got := renewedAt(t, c, r, 2*month+time.Hour); !strings.HasPrefix(got, "jump-1 ") || content(t, c.Server.Key) != key {
		t.Errorf("renewed %q", got)
	}
	if err := filesOf(c).Check(live.Server, time.Now().Add(4*month)); err != nil {
		t.Error(err)
	}
}

// What somebody rotated in the CA's directory is brought to the daemon, with its key.
func TestRenewBringsWhatWasRotated(t *testing.T) {
	c, r := newJumpServer(t)
	ca, err := pki.Open(c.CA.Dir)
	if err != nil {
		t.Fatal(err)
	}
	ca.Now = func() time.Time { return time.Now().Add(time.Minute) } // later, by the second that a certificate can say
	if _, err := ca.Reissue(t.Context(), pki.Local{Name: "jump-1", NewKey: true, Overlap: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if got := renewedAt(t, c, r, 2*time.Minute); got != "jump-1" {
		t.Errorf("renewed %q", got)
	}
	if content(t, c.Server.Key) != content(t, ca.Files("jump-1").Key) || content(t, c.Server.Cert) != content(t, ca.Files("jump-1").Cert) {
		t.Error("the daemon has another pair")
	}
}

// A revoked administrator gets no new certificate, and keeps nothing else from being
// renewed.
func TestRenewLeavesTheRevoked(t *testing.T) {
	c, r := newJumpServer(t)
	ca, err := pki.Open(c.CA.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Revoke(t.Context(), pki.Revocation{NameOrSerial: "admin"}); err != nil {
		t.Fatal(err)
	}
	before := content(t, ca.Files("admin").Cert)
	if got := renewedAt(t, c, r, 2*month+time.Hour); !strings.HasPrefix(got, "jump-1 ") || strings.Contains(got, "admin") {
		t.Errorf("renewed %q", got)
	}
	if content(t, ca.Files("admin").Cert) != before {
		t.Error("a revoked certificate was replaced")
	}
}

// A host without the CA renews from the daemon that hosts it, and brings roots and
// lists.
func TestRenewFromTheDaemonThatHostsTheCA(t *testing.T) {
	f := newFleet(t, 1, month/2) // before the lists are old
	dir := t.TempDir()
	server, own := f.files(dir, "tls", "jump-2", pki.Server, "jump-2.example.org"), f.files(dir, "client", "jump-2", pki.Client)
	c := &config.Config{File: config.Defaults()}
	c.Server.Cert, c.Server.Key, c.Server.CA, c.Server.CRL = server.Cert, server.Key, server.CA, server.CRL
	c.TLS.TrustFrom, c.TLS.ClientCert, c.TLS.ClientKey = f.daemons[0].address, own.Cert, own.Key
	run := func() []renewalView {
		h := &hostRenewal{config: c, caDir: filepath.Join(dir, "pki"), now: f.clock.Now, warn: func(err error) { t.Error(err) }}
		if err := h.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		return h.done
	}
	for _, v := range run() {
		if v.Renewed {
			t.Errorf("%s was renewed before it was time", v.File)
		}
	}
	f.clock.advance(month * 2 / 5)
	done := run()
	if len(done) != 2 || !done[0].Renewed || !done[1].Renewed || done[1].File != server.Cert {
		t.Errorf("renewed %+v", done)
	}
	if err := filesOf(c).Check(live.Server, f.clock.Now().Add(month/3)); err != nil {
		t.Error(err)
	}
	// Where nobody can be asked it fails in time, and says who could renew it.
	c.TLS.TrustFrom = ""
	f.clock.advance(month * 2 / 5)
	h := &hostRenewal{config: c, caDir: filepath.Join(dir, "pki"), now: f.clock.Now}
	if err := h.run(t.Context()); err == nil || !strings.Contains(err.Error(), "containarium pki renew jump-2") {
		t.Errorf("without anybody to ask: %v", err)
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	return string(read(t, path))
}

// A key that others can read is not spread.
func TestBringRefusesAnOpenKey(t *testing.T) {
	from, to := filepath.Join(t.TempDir(), "tls.key"), filepath.Join(t.TempDir(), "tls.key")
	if err := os.WriteFile(from, []byte("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(from, 0o644); err != nil { // whatever the umask
		t.Fatal(err)
	}
	if err := bring(from, to, guard.Secret, 0o600); err == nil {
		t.Error("a key of mode 0644 is copied")
	}
	if _, err := os.Lstat(to); err == nil {
		t.Error("there is a copy of it")
	}
}
