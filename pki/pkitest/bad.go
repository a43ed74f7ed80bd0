package pkitest

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"testing"
	"time"
)

// Bad makes one certificate of every kind that no server may take for a
// client's, by what is wrong with it. But for that, each is as good as those of
// Client: where the CN does not matter it is "alice".
func (ca *CA) Bad(t testing.TB) map[string]Pair {
	t.Helper()
	bad := map[string]Pair{
		"server certificate": ca.Server(t, "alice"),
		"other CA":           New(t).Client(t, "alice"),
	}
	for what, change := range map[string]func(*x509.Certificate){
		"expired": func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = ca.Now().Add(-2*time.Hour), ca.Now().Add(-time.Minute)
		},
		"not yet valid":    func(c *x509.Certificate) { c.NotBefore = ca.Now().Add(30 * time.Minute) },
		"empty CN":         func(c *x509.Certificate) { c.Subject = pkix.Name{Organization: []string{"alice"}} },
		"no subject":       func(c *x509.Certificate) { c.Subject = pkix.Name{} },
		"bad CN":           func(c *x509.Certificate) { c.Subject.CommonName = "alice bob" },
		"CN with newline":  func(c *x509.Certificate) { c.Subject.CommonName = "alice\nadmin" },
		"CN with NUL":      func(c *x509.Certificate) { c.Subject.CommonName = "alice\x00" },
		"CN not ASCII":     func(c *x509.Certificate) { c.Subject.CommonName = "аlice" }, // Cyrillic
		"CN too long":      func(c *x509.Certificate) { c.Subject.CommonName = strings.Repeat("a", 65) },
		"no EKU":           func(c *x509.Certificate) { c.ExtKeyUsage = nil },
		"any EKU":          func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} },
		"CN only as a SAN": func(c *x509.Certificate) { c.Subject = pkix.Name{}; c.DNSNames = []string{"alice"} },
		"two CNs": func(c *x509.Certificate) {
			cn := asn1.ObjectIdentifier{2, 5, 4, 3}
			c.Subject = pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{{Type: cn, Value: "admin"}, {Type: cn, Value: "alice"}}}
		},
		"CA certificate": func(c *x509.Certificate) { c.IsCA = true; c.KeyUsage |= x509.KeyUsageCertSign },
	} {
		template := ca.ClientTemplate("alice")
		change(template)
		bad[what] = ca.Issue(t, template)
	}
	key := newKey(t)
	bad["self-signed"] = pair(sign(t, ca.ClientTemplate("alice"), nil, key.Public(), key), key)
	return bad
}
