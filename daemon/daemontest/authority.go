package daemontest

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/footprintai/containarium/daemon/service"
	"github.com/footprintai/containarium/pki/identity"
	"github.com/footprintai/containarium/pki/pkitest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// Authority is a CA in memory, on a throw-away one, whose bundle.pem and crl.pem
// are in a directory as those of a real one. It checks nothing but what a test
// would notice.
type Authority struct {
	Dir string

	t       testing.TB
	ca      *pkitest.CA
	mu      sync.Mutex
	issued  []*pb.Certificate
	revoked []*big.Int
}

// NewAuthority makes one that revoked nobody.
func NewAuthority(t testing.TB, ca *pkitest.CA) *Authority {
	t.Helper()
	a := &Authority{Dir: t.TempDir(), t: t, ca: ca}
	Replace(t, filepath.Join(a.Dir, "bundle.pem"), pkitest.PEM(ca.Root), 0o644)
	a.writeCRLs()
	return a
}

func (a *Authority) writeCRLs() {
	Replace(a.t, filepath.Join(a.Dir, "crl.pem"), a.ca.CRL(a.t, a.revoked...), 0o644)
}

// Note enters a certificate that the CA issued by itself.
func (a *Authority) Note(pair pkitest.Pair) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.note(pair.Leaf, "the test")
}

func (a *Authority) note(cert *x509.Certificate, by string) *pb.Certificate {
	kind := pb.CertificateKind_CERTIFICATE_KIND_CLIENT
	if slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageServerAuth) {
		kind = pb.CertificateKind_CERTIFICATE_KIND_SERVER
	}
	certificate := &pb.Certificate{
		Serial: identity.Serial(cert), Name: cert.Subject.CommonName, Kind: kind, RequestedBy: by,
		NotBefore: timestamppb.New(cert.NotBefore), NotAfter: timestamppb.New(cert.NotAfter),
		IssuerKeyId: fmt.Sprintf("%X", cert.AuthorityKeyId), Sha256: fmt.Sprintf("%X", sha256.Sum256(cert.Raw)),
	}
	a.issued = append(a.issued, certificate)
	return certificate
}

// Renew implements service.Authority.
func (a *Authority) Renew(_ context.Context, by string, old *x509.Certificate, csr []byte) (*pb.IssuedCertificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if slices.ContainsFunc(a.revoked, func(n *big.Int) bool { return n.Cmp(old.SerialNumber) == 0 }) {
		return nil, service.ErrCertificateRevoked
	}
	template := a.ca.ClientTemplate(old.Subject.CommonName)
	template.ExtKeyUsage, template.DNSNames, template.IPAddresses = old.ExtKeyUsage, old.DNSNames, old.IPAddresses
	issued, err := a.sign(by, template, csr)
	if err == nil {
		issued.Certificate.Replaces = identity.Serial(old)
	}
	return issued, err
}

// Issue implements service.Authority.
func (a *Authority) Issue(_ context.Context, by string, csr []byte, kind pb.CertificateKind, ttl time.Duration) (*pb.IssuedCertificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	template := a.ca.ClientTemplate("")
	if kind == pb.CertificateKind_CERTIFICATE_KIND_SERVER {
		template = a.ca.ServerTemplate()
		template.Subject.CommonName = ""
	}
	if ttl > 0 {
		template.NotAfter = a.ca.Now().Add(ttl)
	}
	return a.sign(by, template, csr)
}

// sign takes the name of the request where the template has none.
func (a *Authority) sign(by string, template *x509.Certificate, data []byte) (*pb.IssuedCertificate, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%w: no request", service.ErrNotSigned)
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err = errors.Join(err, csr.CheckSignature()); err != nil {
		return nil, fmt.Errorf("%w: %w", service.ErrNotSigned, err)
	}
	if template.Subject.CommonName == "" {
		template.Subject.CommonName = csr.Subject.CommonName
		template.DNSNames, template.IPAddresses = csr.DNSNames, csr.IPAddresses
	}
	cert := a.ca.Certify(a.t, template, csr.PublicKey)
	return &pb.IssuedCertificate{
		Chain: string(pkitest.PEM(cert, a.ca.Intermediate)), Roots: string(pkitest.PEM(a.ca.Root)), Certificate: a.note(cert, by),
	}, nil
}

// Revoke implements service.Authority.
func (a *Authority) Revoke(_ context.Context, _, nameOrSerial string, reason pb.RevocationReason) ([]*pb.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	found := false
	var revoked []*pb.Certificate
	for _, c := range a.issued {
		if c.GetName() != nameOrSerial && c.GetSerial() != nameOrSerial {
			continue
		}
		found = true
		if c.GetRevokedAt() == nil {
			c.RevokedAt, c.RevocationReason = timestamppb.New(a.ca.Now()), reason
			serial, _ := new(big.Int).SetString(c.GetSerial(), 16)
			a.revoked = append(a.revoked, serial)
			revoked = append(revoked, c)
		}
	}
	if !found {
		return nil, service.ErrNoCertificate
	}
	a.writeCRLs()
	return revoked, nil
}

// List implements service.Authority.
func (a *Authority) List(_ context.Context, query service.Query) ([]*pb.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []*pb.Certificate
	for _, c := range a.issued {
		if (query.Name == "" || c.GetName() == query.Name) && (query.Kind == 0 || c.GetKind() == query.Kind) && !c.GetNotAfter().AsTime().Before(query.ValidAt) {
			list = append(list, c)
		}
	}
	return list, nil
}
