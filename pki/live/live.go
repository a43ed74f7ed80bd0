// Package live loads a key pair, a trust bundle and revocation lists from files,
// makes the TLS configurations of them, and decides about the connections made:
// TLS 1.3 only, certificates on both sides, no CA trusted but those in the
// bundle, nobody who is revoked or whose certificate has expired.
package live

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// Files names what one end of a connection needs, all in PEM.
type Files struct {
	// Cert holds the certificate and the intermediates up to the root.
	Cert string
	// Key holds the certificate's private key; only its owner may read the file.
	Key string
	// CA holds the trusted root certificates. The system's roots never count.
	CA string
	// CRL holds revocation lists, and the certificates of those issuers that are no
	// roots. Without a name, or where there is no such file, revocation is off.
	CRL string
}

// Use is what a certificate is for.
type Use string

// The uses. A certificate of one use is refused for the other.
const (
	Server Use = "server"
	Client Use = "client"
)

// ErrWrongUse marks a certificate that is not for the use it was given for.
var ErrWrongUse = errors.New("wrong use")

// Loaded is what the files held at one time, a whole that fits together. It never
// changes.
type Loaded struct {
	// Pair has its Leaf set.
	Pair  tls.Certificate
	Roots []*x509.Certificate
	// CRLs is nil where revocation is off.
	CRLs *CRLs
	// RootsPEM and CRLsPEM are the files as they were read.
	RootsPEM, CRLsPEM []byte

	issuers map[keyID]*issuer
}

// Load reads the files and fails closed: a key that others may read, a
// certificate or bundle that others may write, a key of another certificate, a
// bundle without a CA or with anything but CAs, and a certificate for another
// use are refused. It does not look at the certificate's dates nor at who issued
// it: Check does.
//
// Bad revocation lists do not fail it. They close what they are about, and
// CRLs.Problems says so.
func (f Files) Load(use Use, now time.Time) (*Loaded, error) {
	var p PEM
	var err error
	if p.Cert, err = readPublic(f.Cert); err != nil {
		return nil, err
	}
	if p.Key, err = ReadKey(f.Key); err != nil {
		return nil, err
	}
	if p.CA, err = readPublic(f.CA); err != nil {
		return nil, err
	}
	var unread error
	if f.CRL != "" {
		if p.CRL, unread = readCRLs(f.CRL); unread == nil && p.CRL == nil {
			p.CRL = []byte{} // the file is there
		}
	}
	l, err := p.parse(f, use, now)
	if err == nil && unread != nil && !errors.Is(unread, fs.ErrNotExist) {
		// Who keeps us from reading the list keeps nobody off it.
		l.CRLs = &CRLs{broken: fmt.Errorf("%w: %w", ErrStale, unread)}
	}
	return l, err
}

// checkUse refuses a certificate that does not name the use; one that names no
// use at all is for none.
func checkUse(path string, leaf *x509.Certificate, use Use) error {
	usages := map[Use]x509.ExtKeyUsage{Server: x509.ExtKeyUsageServerAuth, Client: x509.ExtKeyUsageClientAuth}
	if wanted, ok := usages[use]; ok && slices.Contains(leaf.ExtKeyUsage, wanted) {
		return nil
	}
	is := "certificate without a use"
	for other, usage := range usages {
		if slices.Contains(leaf.ExtKeyUsage, usage) {
			is = string(other) + " certificate"
		}
	}
	return fmt.Errorf("%s is a %s, not a %s certificate (%w)", path, is, use, ErrWrongUse)
}

// pool never is nil: crypto/tls takes a nil pool for the system's roots.
func pool(certs []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, cert := range certs {
		p.AddCert(cert)
	}
	return p
}
