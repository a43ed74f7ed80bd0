package pki

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/footprintai/containarium/pki/live"
)

// Renewal asks for the successor of a certificate, by its owner.
type Renewal struct {
	// Old is the certificate. Whoever asks has proven that they have its key, as by
	// the handshake of their connection.
	Old *x509.Certificate
	// CSR is in PEM and signed by the new key, which may be the old one. It has the
	// Common Name of Old, and alternative names either as Old has them or not at
	// all.
	CSR []byte
	// By is as in Request.
	By string
}

// Renew makes a certificate with the kind, the names and the lifetime of an old
// one, for the key of a CSR. Only the journal is written. It is a fresh issue:
// nothing is copied but what the journal knows. It fails with ErrNotFound,
// ErrRevoked or ErrRefused where Old is not ours, is or will be revoked, or
// expired, or the CSR does not fit it.
func (ca *CA) Renew(ctx context.Context, req Renewal) (Issued, error) {
	issued, err := ca.renew(ctx, req)
	if err != nil {
		return Issued{}, fmt.Errorf("renew: %w", err)
	}
	return issued, nil
}

func (ca *CA) renew(ctx context.Context, req Renewal) (issued Issued, err error) {
	if req.Old == nil {
		return Issued{}, refusef("there is no certificate to renew")
	}
	asked, err := parseCSR(req.CSR)
	if err != nil {
		return Issued{}, err
	}
	err = ca.change(ctx, func(s *snapshot) error {
		now := ca.Now()
		old, err := ca.renewable(s, req.Old, now)
		if err != nil {
			return err
		}
		if asked.name != old.Name {
			return refusef("the CSR is for %.70q, and the certificate for %q", asked.name, old.Name)
		}
		if len(asked.sans) > 0 && !sameNames(asked.sans, old.SANs) {
			return refusef("the CSR has other names than the certificate of %q", old.Name)
		}
		checked, err := s.check(Request{
			Name: old.Name, Kind: old.Kind, SANs: old.SANs, By: req.By,
			TTL: s.fit(old.NotAfter.Sub(old.Issued), now),
		}, asked.public, now)
		if err != nil {
			return err
		}
		checked.replaces = old.Serial
		issued, err = ca.signAndRecord(ctx, s, checked, now)
		return err
	})
	return issued, err
}

// renewable returns the entry of a certificate that may be renewed by its owner.
// It fails closed.
func (ca *CA) renewable(s *snapshot, cert *x509.Certificate, now time.Time) (Entry, error) {
	if now.After(cert.NotAfter) {
		return Entry{}, refusef("the certificate of %.70q expired on %s: a new one has to be issued", cert.Subject.CommonName, date(cert.NotAfter))
	}
	if _, err := cert.Verify(x509.VerifyOptions{
		Roots:         pool(s.trusted()...),
		Intermediates: pool(s.issuers()...),
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, // KindOf looks at it
	}); err != nil {
		return Entry{}, fmt.Errorf("the certificate of %.70q: %w", cert.Subject.CommonName, ErrNotFound)
	}
	entry, err := ca.entryOf(cert)
	switch {
	case err != nil:
		return Entry{}, err
	case !entry.leaf():
		return Entry{}, refusef("%q is a certificate of the CA: those are rotated", entry.Name)
	case entry.Revoked != nil: // also where that lies ahead: it has a successor
		return Entry{}, fmt.Errorf("the certificate of %q %w from %s on", entry.Name, ErrRevoked, date(*entry.Revoked))
	}
	return entry, nil
}

// entryOf finds a certificate in the journal.
func (ca *CA) entryOf(cert *x509.Certificate) (Entry, error) {
	entries, err := ca.list()
	if err != nil {
		return Entry{}, err
	}
	fingerprint := Fingerprint(cert)
	for _, entry := range slices.Backward(entries) {
		if entry.SHA256 == fingerprint {
			return entry, nil
		}
	}
	return Entry{}, fmt.Errorf("the certificate of %.70q: %w: it is not in its journal", cert.Subject.CommonName, ErrNotFound)
}

func sameNames(a, b []string) bool {
	x, err := checkNames(a)
	if err != nil {
		return false
	}
	y, err := checkNames(b)
	if err != nil {
		return false
	}
	one, other := x.strings(), y.strings()
	slices.Sort(one)
	slices.Sort(other)
	return slices.Equal(one, other)
}

// Local asks for the successor of what lies in issued/NAME.
type Local struct {
	// Name is the folder.
	Name string
	// NewKey makes a new key. Otherwise the one in the folder stays.
	NewKey bool
	// TTL is as in Request, but 0 takes the lifetime of the old certificate.
	TTL time.Duration
	// Overlap is how long from now the old certificate stays good beside one with a
	// new key: then it is revoked. 0: it is revoked at once. Without a new key the
	// old one stays good until it expires.
	Overlap time.Duration
	// Algorithm is that of a new key, by default that of the old one.
	Algorithm Algorithm
	// By is as in Request.
	By string
}

// Reissue renews or, with a new key, rotates what lies in issued/NAME; the
// folder changes all at once. An expired certificate can be renewed here, since
// whoever can write here can issue another; a revoked one only gets a new key.
func (ca *CA) Reissue(ctx context.Context, req Local) (Issued, error) {
	issued, err := ca.reissue(ctx, req)
	if err != nil {
		verb := "renew"
		if req.NewKey {
			verb = "rotate"
		}
		return Issued{}, fmt.Errorf("%s %.70q: %w", verb, req.Name, err)
	}
	return issued, nil
}

func (ca *CA) reissue(ctx context.Context, req Local) (issued Issued, err error) {
	switch {
	case req.Overlap < 0 || req.Overlap > MaxTTL:
		return Issued{}, refusef("an overlap of %s is not between 0 and %s", FormatTTL(req.Overlap), FormatTTL(MaxTTL))
	case !req.NewKey && (req.Overlap != 0 || req.Algorithm != ""):
		return Issued{}, refusef("an overlap and an algorithm are for a new key")
	}
	if _, err := checkProfile(req.Name, Client, nil); err != nil { // it becomes a path
		return Issued{}, err
	}
	err = ca.change(ctx, func(s *snapshot) error {
		now := ca.Now()
		old, key, err := ca.inFolder(req)
		if err != nil {
			return err
		}
		if old.RevokedAt(now) && !req.NewKey {
			return fmt.Errorf("the certificate %w: only with a new key there is another", ErrRevoked)
		}
		ttl := req.TTL
		if ttl == 0 {
			ttl = s.fit(old.NotAfter.Sub(old.Issued), now)
		}
		checked, err := s.check(Request{Name: old.Name, Kind: old.Kind, SANs: old.SANs, TTL: ttl, By: req.By}, key.Public(), now)
		if err != nil {
			return err
		}
		checked.replaces = old.Serial
		signed, err := ca.sign(ctx, s, checked, now)
		if err != nil {
			return err
		}
		entry := newEntry(signed, now)
		if !req.NewKey || !old.good(now) { // nothing is left to revoke
			issued, err = ca.handOut(s, signed, entry, key, exchange)
			return err
		}
		revocation := revokeLine(old, now.Add(req.Overlap), Superseded, req.By, now)
		if req.Overlap > 0 { // RefreshCRL sees when it is due
			issued, err = ca.handOut(s, signed, entry, key, exchange, revocation)
			return err
		}
		lists, err := ca.makeCRLs(s, 0, now, revocation)
		if err != nil {
			return err
		}
		if issued, err = ca.handOut(s, signed, entry, key, exchange, revocation); err != nil {
			return err
		}
		return ca.writeCRLs(lists)
	})
	return issued, err
}

// notHere is the error of a name that has no files in issued.
func (ca *CA) notHere(name string) error {
	entries, err := ca.list()
	switch {
	case err != nil:
		return err
	case slices.ContainsFunc(entries, func(e Entry) bool { return e.Name == name && e.leaf() }):
		return fmt.Errorf("%w, in %s", ErrElsewhere, ca.path(issuedDir))
	}
	return ErrNotFound
}

// inFolder returns the entry of the certificate in a folder, and the key that
// the next one is for.
func (ca *CA) inFolder(req Local) (Entry, crypto.Signer, error) {
	files := ca.Files(req.Name)
	certs, err := live.ReadCertificates(files.Cert)
	if errors.Is(err, fs.ErrNotExist) {
		return Entry{}, nil, ca.notHere(req.Name)
	}
	if err != nil {
		return Entry{}, nil, err
	}
	entry, err := ca.entryOf(certs[0])
	switch {
	case err != nil:
		return Entry{}, nil, err
	case entry.Name != req.Name || !entry.leaf():
		return Entry{}, nil, refusef("%s is the certificate of %q", files.Cert, entry.Name)
	}
	if req.NewKey {
		algorithm := req.Algorithm
		if algorithm == "" {
			algorithm = algorithmOf(certs[0].PublicKey)
		}
		key, err := newKey(algorithm)
		return entry, key, err
	}
	key, err := readKey(files.Key, func() ([]byte, error) { return nil, fmt.Errorf("%s is encrypted", files.Key) })
	if err != nil {
		return Entry{}, nil, err
	}
	if !samePublicKey(key.Public(), certs[0].PublicKey) {
		return Entry{}, nil, fmt.Errorf("%s is not the key of the certificate in %s", files.Key, files.Cert)
	}
	return entry, key, nil
}
