package pkitest_test

import (
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/footprintai/containarium/pki/live"
	"github.com/footprintai/containarium/pki/pkitest"
)

// usages are what a verifier may ask for.
var usages = map[live.Use]x509.ExtKeyUsage{live.Client: x509.ExtKeyUsageClientAuth, live.Server: x509.ExtKeyUsageServerAuth}

func verify(ca *pkitest.CA, pair pkitest.Pair, use live.Use, now time.Time) error {
	intermediates := x509.NewCertPool()
	for _, der := range pair.Cert.Certificate[1:] {
		if cert, err := x509.ParseCertificate(der); err == nil {
			intermediates.AddCert(cert)
		}
	}
	_, err := pair.Leaf.Verify(x509.VerifyOptions{
		Roots: ca.Pool(), Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usages[use]},
	})
	return err
}

func TestGood(t *testing.T) {
	ca := pkitest.New(t)
	for use, pair := range map[live.Use]pkitest.Pair{live.Client: ca.Client(t, "alice"), live.Server: ca.Server(t, "127.0.0.1", "localhost")} {
		if err := verify(ca, pair, use, time.Now()); err != nil {
			t.Errorf("%s: %v", use, err)
		}
		if err := pair.WriteFiles(t, t.TempDir(), ca).Check(use, time.Now()); err != nil {
			t.Errorf("%s: %v", use, err)
		}
	}
	for _, host := range []string{"127.0.0.1", "localhost"} {
		if err := ca.Server(t, "127.0.0.1", "localhost").Leaf.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
}

// Each bad certificate has its one fault and no other: crypto/x509 alone takes
// all but those whose fault it looks for, and the others are for us to refuse.
func TestBadHasOneFault(t *testing.T) {
	ca := pkitest.New(t)
	chain := map[string]func(error) bool{
		"expired":            invalid(x509.Expired),
		"not yet valid":      invalid(x509.Expired),
		"server certificate": invalid(x509.IncompatibleUsage),
		"other CA":           unknownAuthority,
		"self-signed":        unknownAuthority,
	}
	bad := ca.Bad(t)
	for name, pair := range bad {
		err := verify(ca, pair, live.Client, time.Now())
		if fault, ok := chain[name]; ok {
			if !fault(err) {
				t.Errorf("%s: %v", name, err)
			}
		} else if err != nil {
			t.Errorf("%s: the chain is bad too: %v", name, err)
		}
	}
	if err := verify(ca, bad["not yet valid"], live.Client, time.Now().Add(45*time.Minute)); err != nil {
		t.Errorf("not yet valid, later: %v", err)
	}
	if err := verify(ca, bad["expired"], live.Client, time.Now().Add(-2*time.Minute)); err != nil {
		t.Errorf("expired, earlier: %v", err)
	}
}

func TestCRL(t *testing.T) {
	ca := pkitest.New(t)
	alice := ca.Client(t, "alice").Leaf
	yesterday := time.Now().Add(-24 * time.Hour)
	for name, test := range map[string]struct {
		data     []byte
		problems int
	}{
		"good":         {ca.CRL(t, alice.SerialNumber), 0},
		"the root's":   {ca.CRLs(t, pkitest.List{}, pkitest.List{ByRoot: true}), 0},
		"expired":      {ca.CRLs(t, pkitest.List{ThisUpdate: yesterday, NextUpdate: yesterday}), 1},
		"badly signed": {ca.CRLs(t, pkitest.List{BadlySigned: true}), 1},
		"alone":        {ca.CRLs(t, pkitest.List{Alone: true}), 1},
	} {
		lists := live.ParseCRLs(test.data, []*x509.Certificate{ca.Root}, time.Now())
		if problems := lists.Problems(time.Now()); len(problems) != test.problems || len(lists.Lists(time.Now())) == 0 {
			t.Errorf("%s: %v", name, problems)
		}
	}
}

func TestCrossSign(t *testing.T) {
	old, next := pkitest.New(t), pkitest.New(t)
	pair := next.Client(t, "alice")
	if err := verify(old, pair, live.Client, time.Now()); !unknownAuthority(err) {
		t.Errorf("without: %v", err)
	}
	pair.Cert.Certificate = append(pair.Cert.Certificate, old.CrossSign(t, next).Raw)
	if err := verify(old, pair, live.Client, time.Now()); err != nil {
		t.Errorf("with: %v", err)
	}
}

func TestClockAndLifetime(t *testing.T) {
	now := time.Date(2040, 2, 3, 4, 5, 6, 0, time.UTC)
	ca := pkitest.NewAt(t, func() time.Time { return now })
	leaf := ca.Client(t, "alice", pkitest.Lifetime(5*time.Minute)).Leaf
	if !leaf.NotAfter.Equal(now.Add(5*time.Minute)) || !leaf.NotBefore.Before(now) || ca.Root.NotAfter.Before(leaf.NotAfter) {
		t.Errorf("valid from %s until %s", leaf.NotBefore, leaf.NotAfter)
	}
}

func invalid(reason x509.InvalidReason) func(error) bool {
	return func(err error) bool {
		e, ok := errors.AsType[x509.CertificateInvalidError](err)
		return ok && e.Reason == reason
	}
}

func unknownAuthority(err error) bool {
	_, ok := errors.AsType[x509.UnknownAuthorityError](err)
	return ok
}
