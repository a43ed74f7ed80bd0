package pki

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/footprintai/containarium/pki/live"
)

// Issued is a certificate that was handed out.
type Issued struct {
	Entry
	// Files are tls.crt, which is Chain; tls.key; and ca.crt, which is Roots. They
	// are zero where nothing was written.
	Files live.Files
	// Certificate is the leaf.
	Certificate *x509.Certificate
	// Chain is what its owner sends: the leaf, the intermediate and, in the middle
	// of a root rollover, the cross-signed root. Roots is what its owner trusts. In
	// PEM.
	Chain, Roots []byte
}

// Issue makes a key and a certificate for it and writes both to issued/NAME. It
// fails with ErrExists where that folder is there, whatever is in it, and with
// ErrRefused where the request breaks a rule. It waits for other processes that
// are issuing, until the context ends.
func (ca *CA) Issue(ctx context.Context, req Request) (Issued, error) {
	issued, err := ca.issue(ctx, req)
	if err != nil {
		return Issued{}, fmt.Errorf("issue %.70q: %w", req.Name, err)
	}
	return issued, nil
}

func (ca *CA) issue(ctx context.Context, req Request) (issued Issued, err error) {
	key, err := newKey(req.Algorithm)
	if err != nil {
		return Issued{}, err
	}
	err = ca.change(ctx, func(s *snapshot) error {
		now := ca.Now()
		checked, err := s.check(req, key.Public(), now)
		if err != nil {
			return err
		}
		folder := ca.folder(req.Name)
		if _, err := os.Lstat(folder); err == nil {
			return fmt.Errorf("%s %w", folder, ErrExists)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		signed, err := ca.sign(ctx, s, checked, now)
		if err != nil {
			return err
		}
		issued, err = ca.handOut(s, signed, newEntry(signed, now), key, publish)
		return err
	})
	return issued, err
}

func (ca *CA) folder(name string) string { return filepath.Join(ca.Dir, issuedDir, name) }

// handOut records a certificate, with whatever else is to be recorded, and puts
// it with its key into issued/NAME.
func (ca *CA) handOut(s *snapshot, signed signed, entry Entry, key crypto.Signer, place func(temp, target string) error, more ...line) (Issued, error) {
	issued := s.issued(signed, entry)
	issued.Files = ca.Files(entry.Name)
	keyFile, err := encodeKey(key, nil)
	if err != nil {
		return Issued{}, err
	}
	if err := mkdir(ca.path(issuedDir)); err != nil {
		return Issued{}, err
	}
	temp, sync, err := stage(ca.Dir, []file{
		{leafCert, issued.Chain, 0o644},
		{leafKey, keyFile, 0o600},
		{leafCA, issued.Roots, 0o644},
	})
	if err != nil {
		return Issued{}, err
	}
	// The journal is on disk before the folder has its name.
	record := func() error { return ca.record(append([]line{{Op: opIssue, Entry: entry}}, more...)...) }
	if err := together(append(sync, record)...); err != nil {
		return Issued{}, errors.Join(err, os.RemoveAll(temp))
	}
	if err := place(temp, ca.folder(entry.Name)); err != nil {
		return Issued{}, errors.Join(fmt.Errorf("certificate %s is in the journal, but nobody has it: %w", entry.Serial, err), os.RemoveAll(temp))
	}
	return issued, nil
}

// issued is the certificate with the chain and roots of the state.
func (s *snapshot) issued(signed signed, entry Entry) Issued {
	return Issued{
		Entry:       entry,
		Certificate: signed.cert,
		Chain:       encodeCertificates(append([]*x509.Certificate{signed.cert}, s.above()...)...),
		Roots:       s.bundle(),
	}
}

// mkdir makes a folder that somebody removed.
func mkdir(path string) error {
	switch err := os.Mkdir(path, 0o700); {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return err
	}
	return syncPath(filepath.Dir(path))
}
