package client

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/footprintai/containarium/pki/guard"
	"github.com/footprintai/containarium/pki/live"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// renewalOf asks for a certificate with the key that there is. The names are the
// CA's to fill in.
func renewalOf(loaded *live.Loaded, use live.Use) (*pb.RenewCertificateRequest, error) {
	leaf := loaded.Pair.Leaf
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: leaf.Subject.CommonName}}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, loaded.Pair.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("make the certificate request: %w", err)
	}
	request := &pb.RenewCertificateRequest{Csr: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))}
	if use == live.Server {
		request.Certificate = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}))
	}
	return request, nil
}

// isRenewal refuses a certificate that is not the old one with other dates.
func isRenewal(old, renewed *x509.Certificate) error {
	key, ok := old.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	switch {
	case !ok || !key.Equal(renewed.PublicKey):
		return errors.New("its key is another")
	case renewed.Subject.CommonName != old.Subject.CommonName:
		return fmt.Errorf("it is for %q, not %q", renewed.Subject.CommonName, old.Subject.CommonName)
	case renewed.IsCA || !slices.Equal(renewed.ExtKeyUsage, old.ExtKeyUsage):
		return errors.New("it is for another use")
	}
	for _, name := range old.DNSNames {
		if !slices.Contains(renewed.DNSNames, name) {
			return fmt.Errorf("it is not for %s any more", name)
		}
	}
	for _, ip := range old.IPAddresses {
		if !slices.ContainsFunc(renewed.IPAddresses, ip.Equal) {
			return fmt.Errorf("it is not for %s any more", ip)
		}
	}
	return nil
}

// trust is what is to replace the roots and lists on disk; nil keeps those.
type trust struct {
	roots, crls []byte
}

// fetchTrust asks the daemon, whose certificate the known roots vouch for, whom
// to trust from now on. It fails where chain, which is ours, would lead to no
// trusted root. New roots are taken only where they vouch for our certificate and
// for the daemon's: whoever answers can not lock us out.
func (r *Renewer) fetchTrust(ctx context.Context, c *Client, known *live.Loaded, chain []*x509.Certificate) (trust, error) {
	var from peer.Peer
	var t trust
	roots := known.Roots
	bundle, err := c.Auth.GetTrustBundle(ctx, &pb.GetTrustBundleRequest{}, grpc.Peer(&from))
	if err != nil {
		return t, err
	}
	offered, err := live.ParseRoots("the bundle of "+c.server.Name, []byte(bundle.GetRoots()))
	if err != nil {
		return t, err
	}
	if !slices.EqualFunc(offered, known.Roots, (*x509.Certificate).Equal) {
		err := vouch(offered, chain, r.now())
		if info, ok := from.AuthInfo.(credentials.TLSInfo); ok && err == nil {
			err = vouch(offered, info.State.PeerCertificates, r.now())
		} else if !ok {
			err = errors.Join(err, errors.New("the connection is not TLS"))
		}
		if err != nil {
			r.logf("the roots in %s stay: those of %s do not fit: %v", r.Files.CA, c.server.Name, err)
		} else {
			roots, t.roots = offered, []byte(bundle.GetRoots())
		}
	}
	if err := vouch(roots, chain, r.now()); err != nil {
		return t, fmt.Errorf("the roots of %s do not vouch for our certificate: %w", c.server.Name, err)
	}
	crls := []byte(bundle.GetCrls())
	if r.Files.CRL == "" || len(crls) == 0 || bytes.Equal(crls, known.CRLsPEM) {
		return t, nil
	}
	if err := newer(live.ParseCRLs(crls, roots, r.now()), known.CRLs); err != nil {
		r.logf("the revocation lists in %s stay: %v", r.Files.CRL, err)
	} else {
		t.crls = crls
	}
	return t, nil
}

// vouch reports why no root vouches for the chain, the leaf first. A certificate
// that is not valid yet by our clock will be.
func vouch(roots, chain []*x509.Certificate, now time.Time) error {
	if len(chain) == 0 {
		return errors.New("there is no certificate")
	}
	options := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	if now.Before(chain[0].NotBefore) {
		options.CurrentTime = chain[0].NotBefore
	}
	for _, root := range roots {
		options.Roots.AddCert(root)
	}
	for _, cert := range chain[1:] {
		options.Intermediates.AddCert(cert)
	}
	_, err := chain[0].Verify(options)
	return err
}

// newer refuses lists that can not be verified, or are older than those that we
// have. Dates do not count: a list that is out of date still says who is revoked.
func newer(lists, known *live.CRLs) error {
	var never time.Time // before every date
	if problems := lists.Problems(never); len(problems) > 0 {
		return problems[0]
	}
	for _, list := range lists.Lists(never) {
		for _, old := range known.Lists(never) {
			if old.Issuer == list.Issuer && old.KeyID == list.KeyID && old.Problem == nil && list.Number.Cmp(old.Number) < 0 {
				return fmt.Errorf("list %d of %q is older than our %d", list.Number, list.Issuer, old.Number)
			}
		}
	}
	return nil
}

func (r *Renewer) writeTrust(t trust) error {
	if t.roots != nil {
		if err := guard.Replace(r.Files.CA, t.roots, 0o644); err != nil {
			return err
		}
		r.logf("wrote new roots to %s", r.Files.CA)
	}
	if t.crls != nil {
		return guard.Replace(r.Files.CRL, t.crls, 0o644)
	}
	return nil
}
