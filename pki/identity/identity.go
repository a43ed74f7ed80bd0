// Package identity says who a verified client certificate stands for.
package identity

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// MaxCommonName bounds a Common Name, in bytes: ub-common-name of RFC 5280,
// appendix A.1.
const MaxCommonName = 64

// Identity is who calls. It is made of a verified certificate alone, never of
// what the caller says.
type Identity struct {
	// CommonName follows the rule of CheckCommonName.
	CommonName string
	// Serial is the certificate's serial number in upper-case hexadecimal, two
	// digits for each octet, as openssl x509 -serial prints it.
	Serial string
	// NotAfter is the last instant at which the certificate is valid. A connection
	// may outlive it: whoever serves one looks at it again.
	NotAfter time.Time
}

// FromVerified returns the identity of the peer of a TLS connection on the
// server's side. It fails closed: a connection without a verified chain, and a
// certificate that is not plainly one client's, have no identity.
func FromVerified(state tls.ConnectionState) (Identity, error) {
	// PeerCertificates is what the peer sent; only VerifiedChains was checked.
	if len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return Identity{}, errors.New("no verified client certificate")
	}
	return fromLeaf(state.VerifiedChains[0][0])
}

func fromLeaf(leaf *x509.Certificate) (Identity, error) {
	serial := Serial(leaf)
	// A certificate without any extended key usage passes crypto/x509's check for
	// every usage, so it is refused here, as is one for "any" usage.
	if !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		return Identity{}, fmt.Errorf("certificate %s is not for client authentication", serial)
	}
	// A CA's key signs certificates; whoever holds it could be anybody.
	if leaf.IsCA {
		return Identity{}, fmt.Errorf("certificate %s is a CA's, not a client's", serial)
	}
	// crypto/x509 keeps the last of several Common Names; which of them was meant
	// is left open, so none counts.
	names := 0
	for _, attribute := range leaf.Subject.Names {
		if attribute.Type.Equal(oidCommonName) {
			names++
		}
	}
	if names > 1 {
		return Identity{}, fmt.Errorf("certificate %s has %d Common Names", serial, names)
	}
	if err := CheckCommonName(leaf.Subject.CommonName); err != nil {
		return Identity{}, fmt.Errorf("certificate %s: %w", serial, err)
	}
	return Identity{CommonName: leaf.Subject.CommonName, Serial: serial, NotAfter: leaf.NotAfter}, nil
}

var oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// CheckCommonName refuses every name that is not 1 to 64 of the ASCII letters,
// digits and ". _ @ -". The rule holds for issuing and for accepting alike, so
// that a name needs no quoting in a policy, a log line or a file name; the names
// "." and ".." are refused for the last of these.
func CheckCommonName(cn string) error {
	switch {
	case cn == "":
		return errors.New("the Common Name is empty")
	case len(cn) > MaxCommonName:
		return fmt.Errorf("the Common Name is longer than %d characters", MaxCommonName)
	case strings.ContainsFunc(cn, func(r rune) bool { return !allowed(r) }):
		return fmt.Errorf("the Common Name %.64q has characters other than letters, digits and ._@-", cn)
	case cn == "." || cn == "..":
		return fmt.Errorf("%q is not a Common Name", cn)
	}
	return nil
}

func allowed(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._@-", r)
}

// Serial returns a certificate's serial number in the form of Identity.Serial.
func Serial(cert *x509.Certificate) string {
	return fmt.Sprintf("%X", cert.SerialNumber.Bytes())
}
