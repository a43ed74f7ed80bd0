package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"
)

func current(t testing.TB, ca *CA) *snapshot {
	t.Helper()
	s, err := ca.load()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What was not checked is not signed.
func TestSignNeedsACheck(t *testing.T) {
	ca, now := newCA(t)
	if s, err := ca.sign(t.Context(), current(t, ca), checked{}, *now); err == nil || s.cert != nil {
		t.Errorf("signed: %+v, %v", s, err)
	}
}

// Whatever a signer may do to a certificate, verify sees it.
func TestVerifySeesEveryChange(t *testing.T) {
	ca, now := newCA(t)
	other, _ := newCA(t)
	s := current(t, ca)
	signer, err := ca.intermediateSigner(s, 1)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	otherKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	req, err := s.check(Request{Name: "jump-1", Kind: Server, SANs: []string{"jump-1", "192.0.2.1"}}, key.Public(), *now)
	if err != nil {
		t.Fatal(err)
	}
	verify := func(change func(*x509.Certificate)) error {
		t.Helper()
		template := *req.template
		template.SubjectKeyId = []byte{1}
		change(&template)
		issuer := ca.Intermediate
		if template.Issuer.CommonName != "" {
			issuer = other.Intermediate
		}
		by := signer
		if issuer != ca.Intermediate {
			if by, err = other.intermediateSigner(current(t, other), 1); err != nil {
				t.Fatal(err)
			}
		}
		der, err := x509.CreateCertificate(rand.Reader, &template, issuer, template.PublicKey, by)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return s.verify(cert, req, *now)
	}
	if err := verify(func(*x509.Certificate) {}); err != nil {
		t.Fatalf("unchanged: %v", err)
	}
	for name, change := range map[string]func(*x509.Certificate){
		"serial":       func(c *x509.Certificate) { c.SerialNumber = big.NewInt(1) },
		"name":         func(c *x509.Certificate) { c.Subject.CommonName = "admin" },
		"more subject": func(c *x509.Certificate) { c.Subject.Organization = []string{"admin"} },
		"key":          func(c *x509.Certificate) { c.PublicKey = otherKey.Public() },
		"begin":        func(c *x509.Certificate) { c.NotBefore = c.NotBefore.Add(-time.Second) },
		"end":          func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(time.Second) },
		"a CA":         func(c *x509.Certificate) { c.IsCA = true },
		"key usage":    func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign },
		"client too": func(c *x509.Certificate) {
			c.ExtKeyUsage = append(c.ExtKeyUsage[:1:1], x509.ExtKeyUsageClientAuth)
		},
		"client":       func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} },
		"no usage":     func(c *x509.Certificate) { c.ExtKeyUsage = nil },
		"DNS name":     func(c *x509.Certificate) { c.DNSNames = []string{"jump-1", "jump-2"} },
		"IP address":   func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(192, 0, 2, 2)} },
		"mail address": func(c *x509.Certificate) { c.EmailAddresses = []string{"a@b"} },
		"issuer":       func(c *x509.Certificate) { c.Issuer.CommonName = "other" },
	} {
		if err := verify(change); err == nil {
			t.Errorf("%s: not seen", name)
		}
	}
}

func TestKindOf(t *testing.T) {
	ca, _ := newCA(t)
	client := issue(t, ca, Request{Name: "alice", Kind: Client}).Certificate
	both := *client
	both.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	for _, test := range []struct {
		cert *x509.Certificate
		want Kind
	}{{ca.Root, Root}, {ca.Intermediate, Intermediate}, {client, Client}, {&both, ""}} {
		if got := KindOf(test.cert); got != test.want {
			t.Errorf("KindOf(%s) = %q, want %q", test.cert.Subject, got, test.want)
		}
	}
}

func TestSerials(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		serial := newSerial()
		if len(serial.Bytes()) != 20 || serial.Sign() <= 0 || serial.Bytes()[0]&0x80 != 0 {
			t.Fatalf("%X", serial)
		}
		if seen[serial.String()] {
			t.Fatalf("%X twice", serial)
		}
		seen[serial.String()] = true
	}
}
