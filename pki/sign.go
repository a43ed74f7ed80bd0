package pki

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"time"

	casapi "github.com/smallstep/certificates/cas/apiv1"
	"github.com/smallstep/certificates/cas/softcas"

	"github.com/footprintai/containarium/pki/identity"
)

// signed is a certificate that came out as it was checked. Only sign makes one.
type signed struct {
	cert     *x509.Certificate
	kind     Kind
	sans     []string
	by       string
	replaces string
}

// sign signs what was checked and looks at the result before anybody else does.
func (ca *CA) sign(ctx context.Context, s *snapshot, req checked, now time.Time) (signed, error) {
	if req.template == nil {
		return signed{}, errors.New("sign: the request was not checked")
	}
	signer, err := ca.intermediateSigner(s, s.Signs.Intermediate)
	if err != nil {
		return signed{}, err
	}
	cas, err := softcas.New(ctx, casapi.Options{
		CertificateChain: []*x509.Certificate{s.intermediate()},
		Signer:           signer,
	})
	if err != nil {
		return signed{}, fmt.Errorf("sign: %w", err)
	}
	template := *req.template // the signer writes into it
	answer, err := cas.CreateCertificate(&casapi.CreateCertificateRequest{
		Template: &template,
		Lifetime: template.NotAfter.Sub(template.NotBefore), // asked for, though the template has the dates
	})
	if err != nil {
		return signed{}, fmt.Errorf("sign: %w", err)
	}
	if err := s.verify(answer.Certificate, req, now); err != nil {
		return signed{}, fmt.Errorf("the signed certificate is not what was asked for, and was thrown away: %w", err)
	}
	return signed{cert: answer.Certificate, kind: req.kind, sans: req.names.strings(), by: req.by, replaces: req.replaces}, nil
}

func (ca *CA) intermediateSigner(s *snapshot, n int) (crypto.Signer, error) {
	return ca.signer(filepath.Join(ca.Dir, intermediatesDir, keyFile(n)), s.intermediates[n])
}

func (ca *CA) rootSigner(s *snapshot, n int) (crypto.Signer, error) {
	return ca.signer(filepath.Join(ca.Dir, rootsDir, keyFile(n)), s.roots[n])
}

// verify compares a signed certificate with the request and validates it as its
// users will. It fails closed: what it does not expect is an error.
func (s *snapshot) verify(cert *x509.Certificate, req checked, now time.Time) error {
	want := req.template
	switch {
	case cert.SerialNumber.Cmp(want.SerialNumber) != 0:
		return errors.New("other serial number")
	case cert.Subject.String() != want.Subject.String():
		return fmt.Errorf("other subject %q", cert.Subject)
	case !samePublicKey(cert.PublicKey, want.PublicKey):
		return errors.New("other public key")
	case !cert.NotBefore.Equal(want.NotBefore) || !cert.NotAfter.Equal(want.NotAfter):
		return fmt.Errorf("valid from %s to %s", date(cert.NotBefore), date(cert.NotAfter))
	case cert.NotAfter.After(s.intermediate().NotAfter):
		return errors.New("it outlives its issuer")
	case !cert.BasicConstraintsValid || cert.IsCA:
		return errors.New("it is a CA's")
	case cert.KeyUsage != want.KeyUsage:
		return fmt.Errorf("key usage %b", cert.KeyUsage)
	case KindOf(cert) != req.kind:
		return fmt.Errorf("extended key usage %v", cert.ExtKeyUsage)
	case !slices.Equal(cert.DNSNames, want.DNSNames):
		return fmt.Errorf("other DNS names %q", cert.DNSNames)
	case !slices.EqualFunc(cert.IPAddresses, want.IPAddresses, func(a, b net.IP) bool { return a.Equal(b) }):
		return fmt.Errorf("other IP addresses %v", cert.IPAddresses)
	case len(cert.EmailAddresses)+len(cert.URIs) > 0:
		return errors.New("names that were not asked for")
	case len(cert.SubjectKeyId) == 0 || !bytes.Equal(cert.AuthorityKeyId, s.intermediate().SubjectKeyId):
		return errors.New("key identifiers")
	}
	// Good for everybody who is to take it: in the middle of a rollover also for
	// those who have the old root alone.
	for _, root := range s.vouching(now) {
		if err := verifyChain(cert, s.above(), root, req, now); err != nil {
			return err
		}
	}
	return nil
}

// vouching are the roots each of which alone is enough for what is signed now.
func (s *snapshot) vouching(now time.Time) []*x509.Certificate {
	roots := []*x509.Certificate{s.root()}
	if s.Last != nil && !now.After(s.roots[s.Last.Root].NotAfter) {
		roots = append(roots, s.roots[s.Last.Root])
	}
	return roots
}

func verifyChain(cert *x509.Certificate, above []*x509.Certificate, root *x509.Certificate, req checked, now time.Time) error {
	chains, err := cert.Verify(x509.VerifyOptions{
		Roots:         pool(root),
		Intermediates: pool(above...),
		CurrentTime:   now,
		KeyUsages:     req.template.ExtKeyUsage,
	})
	if err != nil {
		return err
	}
	if req.kind == Client { // what a daemon asks of it
		_, err = identity.FromVerified(tls.ConnectionState{VerifiedChains: chains})
	}
	return err
}

func pool(certs ...*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, cert := range certs {
		p.AddCert(cert)
	}
	return p
}
