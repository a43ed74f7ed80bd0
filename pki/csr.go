package pki

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"time"
)

// CSRRequest asks for a certificate for a key that never leaves its owner.
type CSRRequest struct {
	// CSR is a PKCS#10 request in PEM, as NewRequest makes it: the Common Name and,
	// for a server, the alternative names. Whatever else it asks for has no effect.
	CSR []byte
	// Kind is Client or Server.
	Kind Kind
	// TTL and By are as in Request.
	TTL time.Duration
	By  string
}

// Sign makes a certificate for the key and the names of a CSR. Nothing but the
// journal is written: the answer's Chain is all there is. It fails with
// ErrRefused where the CSR breaks a rule.
func (ca *CA) Sign(ctx context.Context, req CSRRequest) (Issued, error) {
	asked, err := parseCSR(req.CSR)
	if err != nil {
		return Issued{}, fmt.Errorf("sign: %w", err)
	}
	var issued Issued
	err = ca.change(ctx, func(s *snapshot) error {
		now := ca.Now()
		checked, err := s.check(Request{Name: asked.name, Kind: req.Kind, SANs: asked.sans, TTL: req.TTL, By: req.By}, asked.public, now)
		if err != nil {
			return err
		}
		issued, err = ca.signAndRecord(ctx, s, checked, now)
		return err
	})
	if err != nil {
		return Issued{}, fmt.Errorf("sign %.70q: %w", asked.name, err)
	}
	return issued, nil
}

func (ca *CA) signAndRecord(ctx context.Context, s *snapshot, checked checked, now time.Time) (Issued, error) {
	signed, err := ca.sign(ctx, s, checked, now)
	if err != nil {
		return Issued{}, err
	}
	entry := newEntry(signed, now)
	if err := ca.record(line{Op: opIssue, Entry: entry}); err != nil {
		return Issued{}, err
	}
	return s.issued(signed, entry), nil
}

// csr is all that is believed of a CSR, and it is checked once more against the
// profile.
type csr struct {
	name   string
	sans   []string
	public crypto.PublicKey
}

// maxCSR bounds a CSR, in bytes. One with 100 long names and an RSA key of 8192
// bits has 40 kB in PEM.
const maxCSR = 64 << 10

var (
	oidCommonName     = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
)

// parseCSR reads a CSR and fails closed: it is signed by its own key, it has one
// Common Name, and it asks for no names but DNS names and IP addresses. Other
// attributes of the subject and other extensions are left out, since many tools
// put them there unasked: a CSR that asks to be a CA gets a leaf.
func parseCSR(data []byte) (csr, error) {
	if len(data) > maxCSR {
		return csr{}, refusef("a CSR of %d bytes is longer than %d", len(data), maxCSR)
	}
	block, rest := pem.Decode(data)
	switch {
	case block == nil || block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST":
		return csr{}, refusef("this is no CSR in PEM")
	case bytes.Contains(rest, []byte("-----BEGIN")):
		return csr{}, refusef("there is more than one CSR, or something else beside it")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return csr{}, refusef("the CSR is damaged")
	}
	if err := checkKey(request.PublicKey); err != nil {
		return csr{}, err
	}
	if err := request.CheckSignature(); err != nil {
		return csr{}, refusef("the CSR is not signed by its own key")
	}
	c := csr{name: request.Subject.CommonName, public: request.PublicKey}
	names := 0
	for _, attribute := range request.Subject.Names {
		if attribute.Type.Equal(oidCommonName) {
			names++
		}
	}
	if names != 1 {
		return csr{}, refusef("the CSR has %d Common Names instead of one", names)
	}
	if err := checkNameKinds(request.Extensions); err != nil {
		return csr{}, err
	}
	c.sans = append(c.sans, request.DNSNames...)
	for _, ip := range request.IPAddresses {
		c.sans = append(c.sans, ip.String())
	}
	return c, nil
}

// checkNameKinds refuses alternative names that no certificate here has: left
// out silently, its owner would find out too late. The parser knows some kinds
// only.
func checkNameKinds(extensions []pkix.Extension) error {
	found := false
	for _, extension := range extensions {
		if !extension.Id.Equal(oidSubjectAltName) {
			continue
		}
		var names []asn1.RawValue
		if rest, err := asn1.Unmarshal(extension.Value, &names); err != nil || len(rest) > 0 || found {
			return refusef("the CSR is damaged: its alternative names")
		}
		found = true
		for _, name := range names {
			// RFC 5280, section 4.2.1.6.
			switch name.Tag {
			case 2, 7: // DNS name, IP address
			case 1:
				return refusef("the CSR asks for a mail address, which no certificate here has")
			case 6:
				return refusef("the CSR asks for a URI, which no certificate here has")
			default:
				return refusef("the CSR asks for a name that is neither a DNS name nor an IP address")
			}
		}
	}
	return nil
}

// NewRequest makes a CSR, and a key for it unless there is an existing one: then
// keyPEM is nil. It checks the names as the CA will. Both are in PEM; the key is
// not encrypted.
func NewRequest(name string, kind Kind, sans []string, algorithm Algorithm, existing crypto.Signer) (csrPEM, keyPEM []byte, err error) {
	names, err := checkProfile(name, kind, sans)
	if err != nil {
		return nil, nil, fmt.Errorf("request %.70q: %w", name, err)
	}
	key := existing
	if key == nil {
		if key, err = newKey(algorithm); err == nil {
			keyPEM, err = encodeKey(key, nil)
		}
	} else {
		err = checkKey(key.Public())
	}
	if err != nil {
		return nil, nil, fmt.Errorf("request %.70q: %w", name, err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: name}, DNSNames: names.dns, IPAddresses: names.ips,
	}, key)
	if err != nil {
		return nil, nil, fmt.Errorf("request %.70q: the key can not sign", name)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), keyPEM, nil
}
