package identity

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCheckCommonName(t *testing.T) {
	for _, cn := range []string{"a", "alice", "ops-laptop", "ci-7", "alice@example.org", "A_b.c", strings.Repeat("a", 64), "-", "..."} {
		if err := CheckCommonName(cn); err != nil {
			t.Errorf("CheckCommonName(%q) = %v", cn, err)
		}
	}
	for _, cn := range []string{
		"", " ", "alice bob", "alice\n", "\x00", "a/b", "../x", ".", "..", `a"b`, "a*", "{cn}", "älice", "аlice", "a\xff",
		strings.Repeat("a", 65), "a,b", "a=b", "a:b",
	} {
		err := CheckCommonName(cn)
		if err == nil {
			t.Errorf("CheckCommonName(%q) accepts it", cn)
		} else if strings.ContainsAny(err.Error(), "\n\x00") || len(err.Error()) > 200 {
			t.Errorf("CheckCommonName(%q) = %q, which repeats it raw", cn, err)
		}
	}
}

func client() *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(0x0a0b0c),
		Subject: pkix.Name{CommonName: "alice", Names: []pkix.AttributeTypeAndValue{
			{Type: oidCommonName, Value: "alice"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: "admin"},
		}},
		NotAfter:    time.Unix(1000, 0),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

func verified(leaf *x509.Certificate) tls.ConnectionState {
	return tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf}}}
}

func TestFromVerified(t *testing.T) {
	got, err := FromVerified(verified(client()))
	if err != nil {
		t.Fatal(err)
	}
	want := Identity{CommonName: "alice", Serial: "0A0B0C", NotAfter: time.Unix(1000, 0)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("identity (-want +got):\n%s", diff)
	}
}

// What the peer sent and was not verified is nobody.
func TestFromVerifiedNeedsAChain(t *testing.T) {
	for name, state := range map[string]tls.ConnectionState{
		"nothing":     {},
		"only sent":   {PeerCertificates: []*x509.Certificate{client()}},
		"empty chain": {PeerCertificates: []*x509.Certificate{client()}, VerifiedChains: [][]*x509.Certificate{{}}},
	} {
		if id, err := FromVerified(state); err == nil {
			t.Errorf("%s: %+v", name, id)
		}
	}
}

func TestFromVerifiedRefuses(t *testing.T) {
	for name, change := range map[string]func(*x509.Certificate){
		"empty CN": func(c *x509.Certificate) { c.Subject = pkix.Name{} },
		"bad CN":   func(c *x509.Certificate) { c.Subject.CommonName = "a b" },
		"two CNs": func(c *x509.Certificate) {
			c.Subject.Names = append(c.Subject.Names, pkix.AttributeTypeAndValue{Type: oidCommonName, Value: "alice"})
		},
		"server": func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} },
		"any":    func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} },
		"no EKU": func(c *x509.Certificate) { c.ExtKeyUsage = nil },
		"a CA":   func(c *x509.Certificate) { c.IsCA = true },
	} {
		leaf := client()
		change(leaf)
		if id, err := FromVerified(verified(leaf)); err == nil || id != (Identity{}) {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
	}
}
