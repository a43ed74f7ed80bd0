package pki

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// DefaultCRLTTL is how long a revocation list is good, unless somebody says
// otherwise. Half of it is how long the CA may be away before anybody notices.
const DefaultCRLTTL = 30 * day

// MaxCRLTTL is the longest life of a list: who gets no newer one finds out after
// a year at the latest. The shortest is MinTTL.
const MaxCRLTTL = 366 * day

// CRL is one revocation list.
type CRL struct {
	// Issuer is the Common Name of the CA certificate that it is for.
	Issuer string
	// Number is greater than that of every list before it.
	Number *big.Int
	// ThisUpdate is back-dated a minute, as certificates are.
	ThisUpdate, NextUpdate time.Time
	// Revoked is how many certificates are on it.
	Revoked int
}

// CRLs returns crl.pem, nil where none was written yet.
func (ca *CA) CRLs() ([]byte, error) {
	data, err := os.ReadFile(ca.path(crlFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the revocation lists: %w", err)
	}
	return data, nil
}

// WriteCRL writes crl.pem anew, with a list for each issuer that is good for that
// long, from MinTTL to MaxCRLTTL; 0 takes DefaultCRLTTL. Lists that are written
// later, by Revoke and the like, are good as long as these. The list of a root
// whose key is kept elsewhere stays as it is.
func (ca *CA) WriteCRL(ctx context.Context, ttl time.Duration) ([]CRL, error) {
	if ttl == 0 {
		ttl = DefaultCRLTTL
	}
	if ttl < MinTTL || ttl > MaxCRLTTL {
		return nil, refusef("write the revocation lists: a life of %s is not between %s and %s", FormatTTL(ttl), FormatTTL(MinTTL), FormatTTL(MaxCRLTTL))
	}
	var written lists
	err := ca.change(ctx, func(s *snapshot) (err error) {
		if written, err = ca.makeCRLs(s, ttl, ca.Now()); err != nil {
			return err
		}
		return ca.writeCRLs(written)
	})
	if err != nil {
		return nil, fmt.Errorf("write the revocation lists: %w", err)
	}
	return written.crls, nil
}

// RefreshCRL writes crl.pem anew where it is not what it should be: a scheduled
// revocation became due, half the life of a list is over, an issuer has no list,
// or the file is damaged or not there. It reports whether it did. Whoever calls
// it does so again and again: then the first lists do not expire unseen.
func (ca *CA) RefreshCRL(ctx context.Context) (bool, error) {
	s, err := ca.load()
	if err == nil {
		var stale bool
		if stale, err = ca.due(s, ca.Now()); err == nil && !stale {
			return false, nil
		}
	}
	written := false
	if err == nil {
		err = ca.change(ctx, func(s *snapshot) error {
			now := ca.Now()
			stale, err := ca.due(s, now) // another may have been faster
			if err != nil || !stale {
				return err
			}
			lists, err := ca.makeCRLs(s, 0, now)
			if err != nil {
				return err
			}
			written = true
			return ca.writeCRLs(lists)
		})
	}
	if err != nil {
		return false, fmt.Errorf("refresh the revocation lists: %w", err)
	}
	return written, nil
}

// lists is a new crl.pem.
type lists struct {
	data []byte
	crls []CRL
}

func (ca *CA) writeCRLs(l lists) error {
	return replace(ca.Dir, file{crlFile, l.data, 0o644})
}

// rewriteCRLs is makeCRLs and writeCRLs where there are lists already.
func (ca *CA) rewriteCRLs(s *snapshot, now time.Time) error {
	if _, err := os.Lstat(ca.path(crlFile)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	l, err := ca.makeCRLs(s, 0, now)
	if err != nil {
		return err
	}
	return ca.writeCRLs(l)
}

// makeCRLs makes a list for each issuer, as they will be after the lines. Life 0
// is that of the lists there are.
func (ca *CA) makeCRLs(s *snapshot, ttl time.Duration, now time.Time, lines ...line) (lists, error) {
	entries, err := ca.list()
	if err != nil {
		return lists{}, err
	}
	if len(lines) > 0 {
		entries = withLines(entries, lines)
	}
	old, _ := ca.oldCRLs() // damaged ones are replaced
	if ttl == 0 {
		ttl = DefaultCRLTTL
		if list := old[keyID(s.intermediate())]; list != nil {
			ttl = list.NextUpdate.Sub(list.ThisUpdate) - backdate
		}
	}
	var made lists
	for _, issuer := range ca.crlIssuers(s, entries, now) {
		if issuer.signer == nil { // vouched for here, and its list stands elsewhere in the file
			made.data = append(made.data, encodeCertificates(issuer.cert)...)
			continue
		}
		previous := old[keyID(issuer.cert)]
		signer, err := issuer.signer()
		var list *x509.RevocationList
		switch {
		case issuer.root && errors.Is(err, fs.ErrNotExist): // kept elsewhere
			if list = previous; list == nil {
				continue
			}
		case err != nil:
			return lists{}, err
		default:
			if list, err = makeCRL(issuer.cert, signer, previous, entries, ttl, now); err != nil {
				return lists{}, err
			}
		}
		if !issuer.root {
			made.data = append(made.data, encodeCertificates(issuer.cert)...)
		}
		made.data = append(made.data, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: list.Raw})...)
		made.crls = append(made.crls, CRL{
			Issuer: issuer.cert.Subject.CommonName, Number: list.Number,
			ThisUpdate: list.ThisUpdate, NextUpdate: list.NextUpdate, Revoked: len(list.RevokedCertificateEntries),
		})
	}
	return made, nil
}

// makeCRL makes one list and looks at it before anybody else does.
func makeCRL(issuer *x509.Certificate, signer crypto.Signer, previous *x509.RevocationList, entries []Entry, ttl time.Duration, now time.Time) (*x509.RevocationList, error) {
	// The clock, so that the numbers grow even if the file is lost.
	number := big.NewInt(now.UnixMilli())
	if previous != nil && previous.Number != nil && previous.Number.Cmp(number) >= 0 {
		number = new(big.Int).Add(previous.Number, big.NewInt(1))
	}
	id := keyID(issuer)
	template := &x509.RevocationList{
		Number:     number,
		ThisUpdate: now.UTC().Truncate(time.Second).Add(-backdate),
		NextUpdate: now.UTC().Truncate(time.Second).Add(ttl),
	}
	for _, entry := range entries {
		if entry.Issuer != id || !entry.RevokedAt(now) || gone(entry, previous, now) {
			continue
		}
		serial, ok := new(big.Int).SetString(entry.Serial, 16)
		if !ok {
			return nil, fmt.Errorf("the journal has the serial %.50q of %q", entry.Serial, entry.Name)
		}
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{
			// Back-dated with the list, which can not know what comes after it.
			SerialNumber: serial, RevocationTime: earlier(*entry.Revoked, template.ThisUpdate), ReasonCode: reasonCodes[entry.Reason],
		})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, issuer, signer)
	if err != nil {
		return nil, fmt.Errorf("sign the revocation list of %q: %w", issuer.Subject.CommonName, err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil || list.CheckSignatureFrom(issuer) != nil || len(list.RevokedCertificateEntries) != len(template.RevokedCertificateEntries) {
		return nil, fmt.Errorf("the revocation list of %q came out wrong and was thrown away", issuer.Subject.CommonName)
	}
	return list, nil
}

// gone reports whether an entry may leave the lists: it expired, and was on a
// list after that (RFC 5280, section 3.3).
func gone(entry Entry, previous *x509.RevocationList, now time.Time) bool {
	if previous == nil {
		return entry.NotAfter.Before(now)
	}
	return entry.NotAfter.Before(previous.ThisUpdate)
}

// crlIssuer is one that has a list in crl.pem or, where signer is nil, a
// cross-signed root, whose certificate makes the file verify against the other
// root alone.
type crlIssuer struct {
	cert   *x509.Certificate
	root   bool
	signer func() (crypto.Signer, error)
	key    string
}

// crlIssuers are the trusted roots, those that they vouch for, and each
// intermediate that signs, will sign, or has leaves that are still of use.
func (ca *CA) crlIssuers(s *snapshot, entries []Entry, now time.Time) []crlIssuer {
	var issuers []crlIssuer
	for _, n := range slices.Sorted(maps.Keys(s.roots)) {
		issuers = append(issuers, crlIssuer{
			cert: s.roots[n], root: true, key: ca.path(filepath.Join(rootsDir, keyFile(n))),
			signer: func() (crypto.Signer, error) { return ca.rootSigner(s, n) },
		})
	}
	for _, c := range s.Crossed {
		issuers = append(issuers, crlIssuer{cert: s.crosses[c]})
	}
	inUse := map[string]bool{keyID(s.intermediate()): true}
	if s.Next != nil {
		inUse[keyID(s.intermediates[s.Next.Intermediate])] = true
	}
	for _, entry := range entries {
		if entry.leaf() && !entry.NotAfter.Before(now) {
			inUse[entry.Issuer] = true
		}
	}
	for _, n := range slices.Sorted(maps.Keys(s.intermediates)) {
		if cert := s.intermediates[n]; inUse[keyID(cert)] {
			issuers = append(issuers, crlIssuer{
				cert: cert, key: ca.path(filepath.Join(intermediatesDir, keyFile(n))),
				signer: func() (crypto.Signer, error) { return ca.intermediateSigner(s, n) },
			})
		}
	}
	return issuers
}

// oldCRLs are the lists in crl.pem, by key identifier of their issuer.
func (ca *CA) oldCRLs() (map[string]*x509.RevocationList, error) {
	data, err := ca.CRLs()
	if err != nil || data == nil {
		return nil, err
	}
	old := map[string]*x509.RevocationList{}
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "X509 CRL" {
			continue
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return old, fmt.Errorf("%s is damaged", ca.path(crlFile))
		}
		old[fmt.Sprintf("%X", list.AuthorityKeyId)] = list
	}
	if bytes.Contains(data, []byte("-----BEGIN")) {
		return old, fmt.Errorf("%s is cut off", ca.path(crlFile))
	}
	return old, nil
}

// due reports whether crl.pem is stale or not there.
func (ca *CA) due(s *snapshot, now time.Time) (bool, error) {
	if _, err := os.Lstat(ca.path(crlFile)); errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return ca.stale(s, now)
}

// stale reports whether crl.pem is not what it should be; one that is not there is,
// where something is revoked.
func (ca *CA) stale(s *snapshot, now time.Time) (bool, error) {
	entries, err := ca.list()
	if err != nil {
		return false, err
	}
	old, err := ca.oldCRLs()
	if err != nil {
		return true, nil
	}
	on := map[[2]string]bool{}
	for id, list := range old {
		for _, revoked := range list.RevokedCertificateEntries {
			on[[2]string{id, fmt.Sprintf("%X", revoked.SerialNumber.Bytes())}] = true
		}
	}
	known := map[string]bool{}
	for _, issuer := range ca.crlIssuers(s, entries, now) {
		id := keyID(issuer.cert)
		known[id] = true
		list := old[id]
		if issuer.signer == nil || list == nil && old == nil {
			continue
		}
		if issuer.root {
			if _, err := os.Lstat(issuer.key); errors.Is(err, fs.ErrNotExist) {
				continue // it can not be done here
			}
		}
		if list == nil || list.CheckSignatureFrom(issuer.cert) != nil || now.After(list.ThisUpdate.Add(list.NextUpdate.Sub(list.ThisUpdate)/2)) {
			return true, nil
		}
	}
	for id := range old {
		if !known[id] && s.left(id) {
			return true, nil
		}
	}
	for _, entry := range entries {
		if entry.RevokedAt(now) && known[entry.Issuer] && !gone(entry, old[entry.Issuer], now) && !on[[2]string{entry.Issuer, entry.Serial}] {
			return true, nil
		}
	}
	return false, nil
}

// left reports whether an issuer counts no longer at all: a list of it would be
// one that nobody can verify. An intermediate whose last leaf expired is none of
// these; its list stays until the next is written.
func (s *snapshot) left(id string) bool {
	for _, certs := range []map[int]*x509.Certificate{s.roots, s.intermediates} {
		for _, cert := range certs {
			if keyID(cert) == id {
				return false
			}
		}
	}
	return true
}
