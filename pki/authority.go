package pki

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"time"

	casapi "github.com/smallstep/certificates/cas/apiv1"
	"github.com/smallstep/certificates/cas/softcas"
	"go.step.sm/crypto/x509util"
)

// authority is a root or an intermediate with its key.
type authority struct {
	kind Kind
	cert *x509.Certificate
	key  crypto.Signer
}

func (a *authority) signed(by string) signed {
	return signed{cert: a.cert, kind: a.kind, by: cleanBy(by)}
}

func (a *authority) folder() string {
	if a.kind == Root {
		return rootsDir
	}
	return intermediatesDir
}

// newPair makes a root and an intermediate below it. Two never have the same
// name: whoever has the wrong one can see it.
func newPair(organization string, algorithm Algorithm, now time.Time) (root, intermediate *authority, err error) {
	root, err = newAuthority(Root, organization, algorithm, nil, now)
	if err != nil {
		return nil, nil, err
	}
	intermediate, err = newAuthority(Intermediate, organization, algorithm, root, now)
	return root, intermediate, err
}

func newAuthority(kind Kind, organization string, algorithm Algorithm, issuer *authority, now time.Time) (*authority, error) {
	id := make([]byte, 4)
	_, _ = rand.Read(id) // never fails
	now = now.UTC().Truncate(time.Second)
	template := authorityTemplate(fmt.Sprintf("%s %s CA %x", organization, kind, id), now, now.Add(rootLifetime))
	req := &casapi.CreateCertificateAuthorityRequest{Type: casapi.RootCA, Template: template, CreateKey: keyRequest(algorithm)}
	if kind == Intermediate {
		template.NotAfter = earlier(now.Add(intermediateLifetime), issuer.cert.NotAfter)
		template.MaxPathLen, template.MaxPathLenZero = 0, true // signs leaves alone
		req.Type = casapi.IntermediateCA
		req.Parent = &casapi.CreateCertificateAuthorityResponse{Certificate: issuer.cert, Signer: issuer.key}
	}
	if req.Lifetime = template.NotAfter.Sub(now); req.Lifetime < DefaultTTL { // also asked for, though the template has the dates
		return nil, fmt.Errorf("the root %q ends on %s: a rollover has to replace it", issuer.cert.Subject.CommonName, date(issuer.cert.NotAfter))
	}
	cas, err := softcas.New(context.Background(), casapi.Options{IsCreator: true}) // waits for nothing
	if err != nil {
		return nil, err
	}
	answer, err := cas.CreateCertificateAuthority(req)
	if err != nil {
		return nil, err
	}
	a := &authority{kind: kind, cert: answer.Certificate, key: answer.Signer}
	signer := a
	if issuer != nil {
		signer = issuer
	}
	return a, a.verify(signer.cert, template)
}

// newCross makes a certificate of a root that is signed by another one, so that
// those who trust the other alone trust it too.
func newCross(root, by *authority, now time.Time) (*authority, error) {
	now = now.UTC().Truncate(time.Second)
	template := authorityTemplate(root.cert.Subject.CommonName, now, earlier(root.cert.NotAfter, by.cert.NotAfter))
	template.SubjectKeyId = root.cert.SubjectKeyId
	cert, err := x509util.CreateCertificate(template, by.cert, root.key.Public(), by.key)
	if err != nil {
		return nil, err
	}
	a := &authority{kind: CrossSigned, cert: cert, key: root.key}
	return a, a.verify(by.cert, template)
}

// authorityTemplate has no path length: one of 1 would break the cross-signing
// of a later root, whose certificate stands between this root and the
// intermediate.
func authorityTemplate(name string, now, end time.Time) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-backdate),
		NotAfter:              end,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            -1,
	}
}

// verify fails closed, as it does for leaves.
func (a *authority) verify(issuer, template *x509.Certificate) error {
	if err := a.cert.CheckSignatureFrom(issuer); err != nil {
		return fmt.Errorf("the signed %s certificate is not good: %w", a.kind, err)
	}
	if KindOf(a.cert) != a.kind || !a.cert.NotAfter.Equal(template.NotAfter) || a.cert.NotAfter.After(issuer.NotAfter) || !samePublicKey(a.cert.PublicKey, a.key.Public()) {
		return errors.New("the signed " + string(a.kind) + " certificate is not what was asked for")
	}
	return nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
