package live

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// CRLs are revocation lists, each verified against the roots. They never change.
type CRLs struct {
	lists []*list
	// broken is why they say nothing about anybody; nil where they do.
	broken error
}

// List is one revocation list.
type List struct {
	// Issuer is the Common Name of who signed it, KeyID its subject key identifier
	// in upper-case hexadecimal.
	Issuer, KeyID string
	// Number grows with each list of an issuer.
	Number                 *big.Int
	ThisUpdate, NextUpdate time.Time
	// Revoked counts the certificates in it.
	Revoked int
	// Problem is why no certificate of the issuer is accepted, nil where the list is
	// good.
	Problem error
}

type list struct {
	List
	issuer  keyID // only where there is no problem
	revoked map[serialNumber]revocation
	// What the list says of its issuer.
	subject, keyID []byte
	problem        error
}

// revocation is an entry of a list, made small: there may be many.
type revocation struct {
	at     int64 // Unix time in seconds
	reason int8  // RFC 5280, section 5.3.1
}

func (r revocation) date() time.Time { return time.Unix(r.at, 0) }

// because is the reason in words, in brackets, or empty.
func (r revocation) because() string {
	reasons := map[int8]string{
		1: "key compromise", 2: "CA compromise", 3: "affiliation changed", 4: "superseded", 5: "cessation of operation",
		6: "on hold", 9: "privilege withdrawn", 10: "AA compromise",
	}
	if reason, ok := reasons[r.reason]; ok {
		return " (" + reason + ")"
	}
	return ""
}

// ParseCRLs reads PEM with revocation lists and with the certificates of those
// issuers that are not among the roots. It always returns lists, which fail
// closed: where a block can not be read, no certificate of any issuer is
// accepted; a list that is not signed by an issuer that the roots vouch for, is
// out of date or has rules that are not understood closes its issuer. Of several
// lists of one issuer all count.
func ParseCRLs(data []byte, roots []*x509.Certificate, now time.Time) *CRLs {
	broken := func(format string, args ...any) *CRLs {
		return &CRLs{broken: fmt.Errorf("%w: %w", ErrStale, fmt.Errorf(format, args...))}
	}
	var issuers []*x509.Certificate
	var parsed []*x509.RevocationList
	n := 0
	for {
		var block *pem.Block
		block, data = pem.Decode(data)
		if block == nil {
			break
		}
		n++
		switch block.Type {
		case "CERTIFICATE":
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return broken("block %d can not be read: %w", n, err)
			}
			issuers = append(issuers, cert)
		case "X509 CRL":
			crl, err := x509.ParseRevocationList(block.Bytes)
			if err != nil {
				return broken("block %d can not be read: %w", n, err)
			}
			parsed = append(parsed, crl)
		default:
			return broken("block %d is a %.40q", n, block.Type)
		}
	}
	if bytes.Contains(data, []byte("-----BEGIN")) {
		return broken("block %d is cut off or damaged", n+1)
	}
	if len(parsed) == 0 {
		return broken("there is none in the file")
	}
	c := &CRLs{}
	trusted := append(slices.Clone(roots), vouchedFor(issuers, roots, now)...)
	for _, crl := range parsed {
		c.lists = append(c.lists, newList(crl, trusted))
	}
	return c
}

// vouchedFor returns the CAs that the roots vouch for. Dates do not count: a list
// of a CA that has expired since is about certificates that have as well.
func vouchedFor(certs, roots []*x509.Certificate, now time.Time) []*x509.Certificate {
	var good []*x509.Certificate
	for _, cert := range certs {
		at := now
		if at.After(cert.NotAfter) {
			at = cert.NotAfter
		}
		if at.Before(cert.NotBefore) {
			at = cert.NotBefore
		}
		_, err := cert.Verify(x509.VerifyOptions{
			Roots: pool(roots), Intermediates: pool(certs), CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		})
		if err == nil {
			good = append(good, cert)
		}
	}
	return good
}

func newList(crl *x509.RevocationList, trusted []*x509.Certificate) *list {
	l := &list{
		List: List{
			Issuer: crl.Issuer.CommonName, KeyID: fmt.Sprintf("%X", crl.AuthorityKeyId), Number: crl.Number,
			ThisUpdate: crl.ThisUpdate, NextUpdate: crl.NextUpdate, Revoked: len(crl.RevokedCertificateEntries),
		},
		subject: crl.RawIssuer, keyID: crl.AuthorityKeyId,
	}
	closed := func(err error) *list {
		l.problem = fmt.Errorf("%w of %q: %w", ErrStale, l.Issuer, err)
		return l
	}
	issuer, err := issuerOf(crl, trusted)
	if err != nil {
		return closed(err)
	}
	l.issuer = keyOf(issuer)
	if crl.NextUpdate.IsZero() {
		return closed(errors.New("it does not say when the next one comes"))
	}
	for _, extension := range crl.Extensions {
		if extension.Critical {
			return closed(fmt.Errorf("it has a critical extension, %s, that is not understood", extension.Id))
		}
	}
	l.revoked = make(map[serialNumber]revocation, len(crl.RevokedCertificateEntries))
	for _, entry := range crl.RevokedCertificateEntries {
		for _, extension := range entry.Extensions {
			if extension.Critical {
				return closed(fmt.Errorf("an entry has a critical extension, %s, that is not understood", extension.Id))
			}
		}
		if serial, ok := serialOf(entry.SerialNumber); ok { // a longer one is nobody's
			l.revoked[serial] = revocation{at: entry.RevocationTime.Unix(), reason: int8(min(max(entry.ReasonCode, 0), 127))}
		}
	}
	return l
}

// issuerOf finds who signed the list among those who may.
func issuerOf(crl *x509.RevocationList, trusted []*x509.Certificate) (*x509.Certificate, error) {
	err := errors.New("its issuer is not trusted")
	for _, cert := range trusted {
		if !slices.Equal(cert.RawSubject, crl.RawIssuer) {
			continue
		}
		if len(crl.AuthorityKeyId) > 0 && len(cert.SubjectKeyId) > 0 && !slices.Equal(crl.AuthorityKeyId, cert.SubjectKeyId) {
			continue
		}
		if err = crl.CheckSignatureFrom(cert); err == nil {
			return cert, nil
		}
		err = fmt.Errorf("it is badly signed: %w", err)
	}
	return nil, err
}

func (l *list) expired() error {
	return fmt.Errorf("%w of %q: it expired on %s", ErrStale, l.Issuer, date(l.NextUpdate))
}

// Lists returns the lists in the order of the file; nothing where they are
// broken as a whole, and on nil.
func (c *CRLs) Lists(now time.Time) []List {
	if c == nil {
		return nil
	}
	lists := make([]List, 0, len(c.lists))
	for _, l := range c.lists {
		list := l.List
		list.Problem = l.problem
		if list.Problem == nil && now.After(l.NextUpdate) {
			list.Problem = l.expired()
		}
		lists = append(lists, list)
	}
	return lists
}

// Problems says in one line each what is wrong with the lists, and whose
// certificates are refused for it. On nil there is none: revocation is off.
func (c *CRLs) Problems(now time.Time) []error {
	if c == nil {
		return nil
	}
	if c.broken != nil {
		return []error{fmt.Errorf("no certificate is accepted: %w", c.broken)}
	}
	var problems []error
	for _, l := range c.Lists(now) {
		if l.Problem != nil {
			problems = append(problems, fmt.Errorf("no certificate of %q is accepted: %w", l.Issuer, l.Problem))
		}
	}
	return problems
}
