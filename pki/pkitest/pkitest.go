// Package pkitest makes throw-away CAs and certificates, good and bad, for
// tests.
package pkitest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/footprintai/containarium/pki/live"
)

// CA is a root and an intermediate of its own. It is safe for concurrent use.
type CA struct {
	Root         *x509.Certificate
	Intermediate *x509.Certificate
	// Now dates the certificates and revocation lists; a test with a clock sets it.
	Now          func() time.Time
	rootKey, key crypto.Signer
}

// Pair is a certificate with its key and the intermediate.
type Pair struct {
	Cert tls.Certificate
	Leaf *x509.Certificate
}

// New makes a CA. Two of them have the same subject names and nothing else in
// common: only signatures tell them apart.
func New(t testing.TB) *CA {
	t.Helper()
	return NewAt(t, time.Now)
}

// NewAt is New with a clock. The CA is valid for a day from now on.
func NewAt(t testing.TB, clock func() time.Time) *CA {
	t.Helper()
	now := clock()
	rootKey := newKey(t)
	root := sign(t, &x509.Certificate{
		Subject:               pkix.Name{CommonName: "Test root"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}, nil, rootKey.Public(), rootKey)
	key := newKey(t)
	intermediate := sign(t, &x509.Certificate{
		Subject:               pkix.Name{CommonName: "Test intermediate"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}, root, key.Public(), rootKey)
	return &CA{Root: root, Intermediate: intermediate, Now: clock, rootKey: rootKey, key: key}
}

// Client makes a good client certificate, valid for an hour unless change says
// otherwise.
func (ca *CA) Client(t testing.TB, cn string, change ...func(*x509.Certificate)) Pair {
	t.Helper()
	template := ca.ClientTemplate(cn)
	for _, c := range change {
		c(template)
	}
	return ca.Issue(t, template)
}

// Lifetime makes a certificate valid for that long from its clock on.
func Lifetime(ttl time.Duration) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.NotAfter = c.NotBefore.Add(backdate + ttl) }
}

// Server makes a good server certificate for the IP addresses and DNS names,
// valid for an hour.
func (ca *CA) Server(t testing.TB, hosts ...string) Pair {
	t.Helper()
	return ca.Issue(t, ca.ServerTemplate(hosts...))
}

// ServerTemplate is what Server signs.
func (ca *CA) ServerTemplate(hosts ...string) *x509.Certificate {
	template := ca.ClientTemplate("Test server")
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return template
}

// Issue signs the template as it is, under the intermediate, with a key and a
// serial of its own.
func (ca *CA) Issue(t testing.TB, template *x509.Certificate) Pair {
	t.Helper()
	key := newKey(t)
	return pair(ca.Certify(t, template, key.Public()), key, ca.Intermediate)
}

// Certify signs the template as it is, under the intermediate, for a key that is
// somebody else's, with a serial of its own.
func (ca *CA) Certify(t testing.TB, template *x509.Certificate, key crypto.PublicKey) *x509.Certificate {
	t.Helper()
	return sign(t, template, ca.Intermediate, key, ca.key)
}

// CrossSign signs the root of another CA with the root's key: who trusts ca takes
// what other signed where this comes last in the chain.
func (ca *CA) CrossSign(t testing.TB, other *CA) *x509.Certificate {
	t.Helper()
	template := *other.Root
	template.SignatureAlgorithm = 0 // that of the key
	return sign(t, &template, ca.Root, other.rootKey.Public(), ca.rootKey)
}

// Pool holds the root alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Root)
	return pool
}

// ClientConfig presents the pair to whatever server asks, wanted or not, and
// trusts the CA. The dialer sets ServerName. The zero Pair presents nothing.
func (ca *CA) ClientConfig(pair Pair) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, // so that a test can lower MaxVersion to it
		RootCAs:    ca.Pool(),
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &pair.Cert, nil
		},
	}
}

// PEM is a file of the certificates.
func PEM(certs ...*x509.Certificate) []byte {
	var data []byte
	for _, cert := range certs {
		data = append(data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	return data
}

// WriteFiles writes tls.crt, tls.key and ca.crt, which trusts ca, into dir. The
// revocation lists would be in crl.pem there, which it does not write.
func (p Pair) WriteFiles(t testing.TB, dir string, ca *CA) live.Files {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(p.Cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	files := live.Files{
		Cert: filepath.Join(dir, "tls.crt"),
		Key:  filepath.Join(dir, "tls.key"),
		CA:   filepath.Join(dir, "ca.crt"),
		CRL:  filepath.Join(dir, "crl.pem"),
	}
	write(t, files.Cert, 0o644, "CERTIFICATE", p.Cert.Certificate...)
	write(t, files.Key, 0o600, "PRIVATE KEY", der)
	write(t, files.CA, 0o644, "CERTIFICATE", ca.Root.Raw)
	return files
}

// backdate is how long before it is made a certificate begins, as real ones do.
const backdate = time.Minute

// ClientTemplate is what Client signs.
func (ca *CA) ClientTemplate(cn string) *x509.Certificate {
	now := ca.Now()
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: cn},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign makes the certificate with a random serial; without a parent it is
// signed by itself.
func sign(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	t.Helper()
	serial := make([]byte, 16)
	_, _ = rand.Read(serial) // never fails
	serial[0] |= 1
	template.SerialNumber = new(big.Int).SetBytes(serial)
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func pair(leaf *x509.Certificate, key crypto.Signer, chain ...*x509.Certificate) Pair {
	cert := tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	for _, issuer := range chain {
		cert.Certificate = append(cert.Certificate, issuer.Raw)
	}
	return Pair{Cert: cert, Leaf: leaf}
}

func write(t testing.TB, path string, mode os.FileMode, kind string, blocks ...[]byte) {
	t.Helper()
	var data []byte
	for _, block := range blocks {
		data = append(data, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: block})...)
	}
	if err := os.WriteFile(path, data, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask, and over an older file
		t.Fatal(err)
	}
}
