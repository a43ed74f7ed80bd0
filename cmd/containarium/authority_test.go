package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/footprintai/containarium/daemon/config"
	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/daemon/service"
	"github.com/footprintai/containarium/pki"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

const (
	clientKind = pb.CertificateKind_CERTIFICATE_KIND_CLIENT
	serverKind = pb.CertificateKind_CERTIFICATE_KIND_SERVER
)

// newAuthority makes a CA and opens it as a daemon does.
func newAuthority(t *testing.T) *authority {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pki")
	if _, err := pki.Init(t.Context(), dir, pki.Options{}); err != nil {
		t.Fatal(err)
	}
	a, err := openAuthority(config.CA{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	// The daemon begins with revocation lists.
	if crls, err := a.ca.CRLs(); len(crls) == 0 || err != nil {
		t.Errorf("no revocation lists at the start: %v", err)
	}
	return a
}

func request(t *testing.T, name string, kind pki.Kind, key crypto.Signer, sans ...string) []byte {
	t.Helper()
	csr, _, err := pki.NewRequest(name, kind, sans, pki.P256, key)
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

func leaf(t *testing.T, issued *pb.IssuedCertificate) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(issued.GetChain()))
	if block == nil {
		t.Fatalf("no certificate in %q", issued.GetChain())
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// What a daemon is asked comes to the CA, and back, whole.
func TestAuthorityIssuesRenewsListsRevokes(t *testing.T) {
	a := newAuthority(t)
	issued, err := a.Issue(t.Context(), "admin", request(t, "jump-2", pki.Server, nil, "jump-2.example.org"), serverKind, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	first := issued.GetCertificate()
	if first.GetName() != "jump-2" || first.GetKind() != serverKind || first.GetRequestedBy() != "admin" || strings.Join(first.GetSans(), " ") != "jump-2.example.org" ||
		first.GetSerial() == "" || first.GetSha256() == "" || first.GetIssuerKeyId() == "" || first.GetIssuedAt() == nil || !strings.Contains(issued.GetRoots(), "BEGIN CERTIFICATE") {
		t.Errorf("issued %v", first)
	}
	renewed, err := a.Renew(t.Context(), "jump-2", leaf(t, issued), request(t, "jump-2", pki.Server, nil, "jump-2.example.org"))
	if err != nil {
		t.Fatal(err)
	}
	if c := renewed.GetCertificate(); c.GetReplaces() != first.GetSerial() || c.GetRequestedBy() != "jump-2" || c.GetKind() != serverKind {
		t.Errorf("renewed %v", c)
	}
	if _, err := a.Issue(t.Context(), "admin", request(t, "bob", pki.Client, nil), clientKind, 0); err != nil {
		t.Fatal(err)
	}
	revoked, err := a.Revoke(t.Context(), "admin", "jump-2", pb.RevocationReason_REVOCATION_REASON_SUPERSEDED)
	if err != nil || len(revoked) != 2 || revoked[0].GetRevocationReason() != pb.RevocationReason_REVOCATION_REASON_SUPERSEDED || revoked[0].GetRevokedAt() == nil {
		t.Errorf("revoked %v, %v", revoked, err)
	}
	if crls, err := a.ca.CRLs(); err != nil || len(crls) == 0 {
		t.Errorf("the revocation lists are not written: %v", err)
	}
	now := time.Now()
	for _, test := range []struct {
		query service.Query
		want  int
	}{
		{service.Query{}, 5}, // the CA's own two as well
		{service.Query{ValidAt: now}, 5},
		{service.Query{ValidAt: now.Add(2 * time.Hour)}, 3},
		{service.Query{Name: "jump-2"}, 2},
		{service.Query{Name: "jump-2", Kind: clientKind}, 0},
		{service.Query{Kind: clientKind}, 1},
		{service.Query{Name: first.GetSerial()}, 0}, // a serial is no name
	} {
		if list, err := a.List(t.Context(), test.query); err != nil || len(list) != test.want {
			t.Errorf("%+v: %d certificates, %v; want %d", test.query, len(list), err, test.want)
		}
	}
}

// What the CA refuses is told apart by whoever asked over the network.
func TestAuthorityErrors(t *testing.T) {
	a := newAuthority(t)
	issued, err := a.Issue(t.Context(), "admin", request(t, "alice", pki.Client, nil), clientKind, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Revoke(t.Context(), "admin", "nobody", 0); !errors.Is(err, service.ErrNoCertificate) {
		t.Errorf("revoke of nobody's: %v", err)
	}
	if _, err := a.Issue(t.Context(), "admin", request(t, "bob", pki.Client, nil), clientKind, time.Second); !errors.Is(err, service.ErrNotSigned) {
		t.Errorf("a lifetime that is too short: %v", err)
	}
	if _, err := a.Renew(t.Context(), "alice", leaf(t, issued), request(t, "bob", pki.Client, nil)); !errors.Is(err, service.ErrNotSigned) {
		t.Errorf("another name: %v", err)
	}
	other := newAuthority(t)
	foreign, err := other.Issue(t.Context(), "admin", request(t, "alice", pki.Client, nil), clientKind, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Renew(t.Context(), "alice", leaf(t, foreign), request(t, "alice", pki.Client, nil)); !errors.Is(err, service.ErrNoCertificate) && !errors.Is(err, service.ErrNotSigned) {
		t.Errorf("a certificate of another CA: %v", err)
	}
	if _, err := a.Revoke(t.Context(), "admin", "alice", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Renew(t.Context(), "alice", leaf(t, issued), request(t, "alice", pki.Client, nil)); !errors.Is(err, service.ErrCertificateRevoked) {
		t.Errorf("a revoked certificate: %v", err)
	}
}

// A CA whose keys have a passphrase signs if the daemon can read it.
func TestAuthorityPassphrase(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	if _, err := pki.Init(t.Context(), dir, pki.Options{Passphrase: []byte("correct horse")}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "passphrase")
	if err := os.WriteFile(file, []byte("correct horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	issue := func(c config.CA) error {
		a, err := openAuthority(c)
		if err != nil {
			return err
		}
		_, err = a.Issue(t.Context(), "admin", request(t, "alice", pki.Client, nil), clientKind, 0)
		return err
	}
	if err := issue(config.CA{Dir: dir, PassphraseFile: file}); err != nil {
		t.Errorf("with the passphrase: %v", err)
	}
	if err := issue(config.CA{Dir: dir}); !errors.Is(err, service.ErrAuthorityLocked) {
		t.Errorf("without: %v", err)
	}
	wrong := filepath.Join(t.TempDir(), "wrong")
	if err := os.WriteFile(wrong, []byte("battery staple\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openAuthority(config.CA{Dir: dir, PassphraseFile: wrong}); !errors.Is(err, pki.ErrPassphrase) {
		t.Errorf("a wrong passphrase at the start: %v", err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := issue(config.CA{Dir: dir, PassphraseFile: file}); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("with a file that others can read: %v", err)
	}
	if err := issue(config.CA{Dir: dir + "x"}); !errors.Is(err, pki.ErrNoCA) {
		t.Errorf("without a CA: %v", err)
	}
	if a, err := openAuthority(config.CA{}); a != nil || err != nil {
		t.Errorf("none configured: %v, %v", a, err)
	}
}

// SIGHUP reloads, and one that fails leaves the daemon as it was.
func TestHangupReloads(t *testing.T) {
	d := daemontest.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log := logrus.New()
	log.SetOutput(t.Output())
	hangup := make(chan os.Signal, 1)
	go reloadOn(ctx, hangup, d.Daemon, log)
	for n := range uint64(2) {
		hangup <- os.Interrupt // whatever the signal
		d.WaitGeneration(t, n+2)
	}
}
