package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/footprintai/containarium/pki"
	"github.com/footprintai/containarium/pki/guard"
	"github.com/footprintai/containarium/pki/live"
)

// caRenewal renews by the CA on this host.
type caRenewal struct {
	*hostRenewal
	ca *pki.CA
}

// server renews the certificate that the daemon has. Files of its name in the CA's
// directory are renewed with it, and go before it where they are later: somebody
// renewed or rotated them there.
func (h *caRenewal) server(ctx context.Context) error {
	to := h.config.Server
	chain, err := live.ReadCertificates(to.Cert)
	if err != nil {
		return err
	}
	leaf := chain[0]
	from := h.ca.Files(leaf.Subject.CommonName)
	there, err := live.ReadCertificates(from.Cert)
	if errors.Is(err, fs.ErrNotExist) {
		return h.byRequest(ctx)
	}
	if err != nil {
		return err
	}
	if pki.KindOf(there[0]) != pki.Server || leaf.NotBefore.After(there[0].NotBefore) {
		return h.byRequest(ctx)
	}
	renewed := false
	if due(there[0].NotBefore, there[0].NotAfter, h.now()) {
		if _, err := h.ca.Reissue(ctx, pki.Local{Name: leaf.Subject.CommonName, By: asker()}); err != nil {
			return err
		}
		if there, err = live.ReadCertificates(from.Cert); err != nil {
			return err
		}
	}
	if there[0].NotAfter.After(leaf.NotAfter) || there[0].NotBefore.After(leaf.NotBefore) {
		// A daemon that looks in between finds two that do not fit, and waits.
		if err := errors.Join(bring(from.Key, to.Key, guard.Secret, 0o600), bring(from.Cert, to.Cert, guard.Public, 0o644)); err != nil {
			return err
		}
		renewed = true
	}
	return h.add(leaf.Subject.CommonName, to.Cert, renewed)
}

// bring replaces a file by a copy of another, where they differ. It fails closed: a
// file that others have more of than access allows is not copied.
func bring(from, to string, access guard.Access, mode fs.FileMode) error {
	data, err := guard.ReadFile(from, access, maxOwnFile)
	if err != nil {
		return err
	}
	if have, err := guard.ReadFile(to, access, maxOwnFile); err == nil && bytes.Equal(have, data) {
		return nil
	}
	return guard.Replace(to, data, mode)
}

// maxOwnFile bounds what is read of a CA's own files, in bytes: 100,000 revoked
// certificates take some 7 MB.
const maxOwnFile = 32 << 20

// byRequest renews a certificate whose files are not in the CA's directory: it was
// signed by a request.
func (h *caRenewal) byRequest(ctx context.Context) error {
	to := h.config.Server
	loaded, err := live.Files{Cert: to.Cert, Key: to.Key, CA: to.CA}.Load(live.Server, h.now())
	if err != nil {
		return err
	}
	leaf := loaded.Pair.Leaf
	name := leaf.Subject.CommonName
	if !due(leaf.NotBefore, leaf.NotAfter, h.now()) {
		return h.add(name, to.Cert, false)
	}
	signer, err := readSigner(to.Key)
	if err != nil {
		return err
	}
	csr, _, err := pki.NewRequest(name, pki.Server, viewCertificate(leaf, "").SANs, "", signer)
	if err != nil {
		return err
	}
	issued, err := h.ca.Renew(ctx, pki.Renewal{Old: leaf, CSR: csr, By: asker()})
	if err != nil {
		return err
	}
	if err := guard.Replace(to.Cert, issued.Chain, 0o644); err != nil {
		return err
	}
	return h.add(name, to.Cert, true)
}

// administrator renews the certificate that init made. One that is revoked, or was
// taken away, is nobody's care any more.
func (h *caRenewal) administrator(ctx context.Context) error {
	if h.admin == "" {
		return nil
	}
	files := h.ca.Files(h.admin)
	chain, err := live.ReadCertificates(files.Cert)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	renewed := due(chain[0].NotBefore, chain[0].NotAfter, h.now())
	if renewed {
		_, err := h.ca.Reissue(ctx, pki.Local{Name: h.admin, By: asker()})
		if errors.Is(err, pki.ErrRevoked) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return h.add(h.admin, files.Cert, renewed)
}

// lists writes the revocation lists anew where it is time. A daemon that hosts the
// CA copies them by itself.
func (h *caRenewal) lists(ctx context.Context) error {
	file := filepath.Join(h.caDir, "crl.pem")
	wrote, err := h.ca.RefreshCRL(ctx)
	if err != nil {
		return err
	}
	if h.config.CA.Dir == "" {
		if err := bring(file, h.config.Server.CRL, guard.Public, 0o644); err != nil {
			return err
		}
	}
	h.done = append(h.done, renewalView{Name: "revocation lists", File: file, Renewed: wrote})
	return nil
}
