package live

import (
	"crypto/tls"
	"fmt"
	"time"
)

// PEM is what Files name, in memory.
type PEM struct {
	// Cert is the certificate and the intermediates up to the root, Key its private
	// key, and CA the trusted roots. The system's roots never count.
	Cert, Key, CA []byte
	// CRL are revocation lists, and the certificates of those issuers that are no
	// roots. Where it is nil, revocation is off.
	CRL []byte
}

// Parse makes the checks of Files.Load, but those of who may read and write. Errors
// name the field.
func (p PEM) Parse(use Use, now time.Time) (*Loaded, error) {
	return p.parse(Files{Cert: "Cert", Key: "Key", CA: "CA"}, use, now)
}

// parse fails closed; names say in errors where it all came from.
func (p PEM) parse(names Files, use Use, now time.Time) (*Loaded, error) {
	if _, err := ParseCertificates(names.Cert, p.Cert); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		// The inner error stays inside: it comes from parsing a key.
		return nil, fmt.Errorf("%s is not the key of the certificate in %s", names.Key, names.Cert)
	}
	roots, err := ParseRoots(names.CA, p.CA)
	if err != nil {
		return nil, err
	}
	if err := checkUse(names.Cert, pair.Leaf, use); err != nil {
		return nil, err
	}
	l := &Loaded{Pair: pair, Roots: roots, RootsPEM: p.CA}
	if p.CRL != nil {
		l.CRLs, l.CRLsPEM = ParseCRLs(p.CRL, roots, now), p.CRL
	}
	l.index()
	return l, nil
}
