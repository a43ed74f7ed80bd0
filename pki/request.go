package pki

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"strings"
	"time"

	"github.com/footprintai/containarium/pki/identity"
)

// Request asks for a leaf certificate.
type Request struct {
	// Name becomes the Common Name and the name of the folder; see
	// identity.CheckCommonName.
	Name string
	// Kind is Client or Server.
	Kind Kind
	// SANs are the DNS names and IP addresses of a server, at least one and at most
	// 100. A client has none.
	SANs []string
	// TTL is how long from now the certificate is valid, from MinTTL to MaxTTL and
	// never longer than the CA's. 0 takes DefaultTTL, or what the CA has left.
	TTL time.Duration
	// Algorithm is that of the key. It counts only where one is made.
	Algorithm Algorithm
	// By is who asked, as "user@host" or a Common Name. It is recorded, cut after
	// 128 bytes, and not checked.
	By string
}

// checked is a request that passed its profile, as the certificate it asks for.
// Only check makes one, and only one of these can be signed.
type checked struct {
	template *x509.Certificate
	names    altNames
	kind     Kind
	by       string
	replaces string // the serial of the certificate that it renews, or ""
}

// check turns a request into the whole certificate that will be signed. Nothing
// of it is left to defaults, and it fails closed: what the profile does not name
// is refused or left out.
func (s *snapshot) check(req Request, public crypto.PublicKey, now time.Time) (checked, error) {
	names, err := checkProfile(req.Name, req.Kind, req.SANs)
	if err != nil {
		return checked{}, err
	}
	if err := s.checkKey(public); err != nil {
		return checked{}, err
	}
	notBefore, notAfter, err := s.validity(req.TTL, now)
	if err != nil {
		return checked{}, err
	}
	return checked{kind: req.Kind, names: names, by: cleanBy(req.By), template: &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: req.Name},
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{profiles[req.Kind].usage},
		BasicConstraintsValid: true, // and not a CA
		DNSNames:              names.dns,
		IPAddresses:           names.ips,
		PublicKey:             public,
	}}, nil
}

// checkProfile refuses names that a kind can not have.
func checkProfile(name string, kind Kind, sans []string) (altNames, error) {
	p, ok := profiles[kind]
	if !ok {
		return altNames{}, refusef("a CA does not issue certificates of kind %.40q", kind)
	}
	if err := identity.CheckCommonName(name); err != nil {
		return altNames{}, refusedError{err}
	}
	switch {
	case p.names && len(sans) == 0:
		return altNames{}, refusef("a server certificate needs the names that clients dial: at least one DNS name or IP address")
	case !p.names && len(sans) > 0:
		return altNames{}, refusef("a %s certificate has no DNS names or IP addresses: they are for servers", kind)
	}
	names, err := checkNames(sans)
	if err != nil {
		return altNames{}, refusedError{err}
	}
	return names, nil
}

// checkKey refuses a weak key, and one of the CA's own: whoever has the CA's key
// needs no certificate for it.
func (s *snapshot) checkKey(public crypto.PublicKey) error {
	if err := checkKey(public); err != nil {
		return err
	}
	for _, certs := range []map[int]*x509.Certificate{s.roots, s.intermediates} {
		for _, cert := range certs {
			if samePublicKey(public, cert.PublicKey) {
				return refusef("the key is that of the CA's own certificate %q", cert.Subject.CommonName)
			}
		}
	}
	return nil
}

// validity returns the first and the last second of a leaf that is made now. The
// leaf stays within the life of the intermediate: a lifetime that was asked for
// and does not fit is refused, the default one is cut.
func (s *snapshot) validity(ttl time.Duration, now time.Time) (notBefore, notAfter time.Time, err error) {
	issuer := s.ending()
	now = now.UTC().Truncate(time.Second) // what a certificate can say
	begin, end := s.intermediate().NotBefore, issuer.NotAfter
	switch {
	case now.Before(begin):
		return notBefore, notAfter, fmt.Errorf("the CA begins on %s: is the clock right?", date(begin))
	case end.Before(now.Add(MinTTL)):
		return notBefore, notAfter, fmt.Errorf("the CA's certificate %q ends on %s", issuer.Subject.CommonName, date(end))
	case ttl != 0 && (ttl < MinTTL || ttl > MaxTTL):
		return notBefore, notAfter, refusef("a lifetime of %s is not between %s and %s", FormatTTL(ttl), FormatTTL(MinTTL), FormatTTL(MaxTTL))
	case ttl != 0 && end.Before(now.Add(ttl)):
		return notBefore, notAfter, refusef("a lifetime of %s is longer than that of the CA, which ends on %s", FormatTTL(ttl), date(end))
	}
	notAfter = now.Add(ttl)
	if ttl == 0 {
		notAfter = now.Add(DefaultTTL)
	}
	if notAfter.After(end) {
		notAfter = end
	}
	notBefore = now.Add(-backdate)
	if notBefore.Before(begin) {
		notBefore = begin
	}
	return notBefore, notAfter, nil
}

// ending is what ends first above a leaf.
func (s *snapshot) ending() *x509.Certificate {
	if s.root().NotAfter.Before(s.intermediate().NotAfter) {
		return s.root()
	}
	return s.intermediate()
}

// fit cuts the lifetime of an older certificate to what the CA can give now.
func (s *snapshot) fit(ttl time.Duration, now time.Time) time.Duration {
	left := s.ending().NotAfter.Sub(now.UTC().Truncate(time.Second))
	return max(min(ttl, left, MaxTTL), MinTTL)
}

// cleanBy makes of what a caller says about itself something that can be kept.
func cleanBy(by string) string {
	by = by[:min(len(by), 128)]
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\ufffd' { // cut in a character, perhaps
			return -1
		}
		return r
	}, strings.ToValidUTF8(by, ""))
}
