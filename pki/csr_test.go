package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func csrPEM(t testing.TB, template *x509.CertificateRequest, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func mustKey(t testing.TB, algorithm Algorithm) crypto.Signer {
	t.Helper()
	key, err := newKey(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func extension(t testing.TB, critical bool, value any, id ...int) pkix.Extension {
	t.Helper()
	der, err := asn1.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: id, Critical: critical, Value: der}
}

// A CSR that asks for everything gets a leaf with its key and its name.
func TestSignBelievesKeyAndNames(t *testing.T) {
	ca, now := newCA(t)
	key := mustKey(t, P256)
	csr := csrPEM(t, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "alice", Organization: []string{"admins"}, Country: []string{"TW"}, SerialNumber: "1"},
		ExtraExtensions: []pkix.Extension{
			extension(t, true, struct{ CA bool }{true}, 2, 5, 29, 19),
			extension(t, true, asn1.BitString{Bytes: []byte{0x06}, BitLength: 7}, 2, 5, 29, 15), // signs certificates and lists
			extension(t, false, []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 1}, {2, 5, 29, 37, 0}}, 2, 5, 29, 37),
			extension(t, false, []byte("x"), 1, 2, 3, 4),
		},
	}, key)
	issued, err := ca.Sign(t.Context(), CSRRequest{CSR: csr, Kind: Client, By: "ops@host"})
	if err != nil {
		t.Fatal(err)
	}
	cert := issued.Certificate
	if cert.IsCA || cert.KeyUsage != x509.KeyUsageDigitalSignature || cert.Subject.String() != "CN=alice" ||
		len(cert.ExtKeyUsage) != 1 || cert.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth || !samePublicKey(cert.PublicKey, key.Public()) {
		t.Errorf("%s, CA %v, usage %b %v", cert.Subject, cert.IsCA, cert.KeyUsage, cert.ExtKeyUsage)
	}
	for _, extension := range cert.Extensions {
		if extension.Id.Equal(asn1.ObjectIdentifier{1, 2, 3, 4}) {
			t.Error("an extension was copied")
		}
	}
	entries, err := ca.Find("alice")
	if err != nil || len(entries) != 1 || entries[0].By != "ops@host" || entries[0].SHA256 != Fingerprint(cert) {
		t.Errorf("%+v, %v", entries, err)
	}
	if issued.Files.Cert != "" {
		t.Errorf("files: %+v", issued.Files)
	}
	if left, err := os.ReadDir(ca.path(issuedDir)); err != nil || len(left) != 0 {
		t.Errorf("written: %v, %v", left, err)
	}
	if !now.Before(cert.NotAfter) {
		t.Errorf("ends on %s", cert.NotAfter)
	}
	if err := goVerify(t, issued.Chain, issued.Roots, x509.ExtKeyUsageClientAuth); err != nil {
		t.Error(err)
	}
}

// What NewRequest and OpenSSL make is signed, with every kind of key.
func TestSign(t *testing.T) {
	ca, _ := newCA(t)
	for _, algorithm := range []Algorithm{P256, P384, Ed25519} {
		csr, keyPEM, err := NewRequest("jump-1", Server, []string{"Jump-1.example.org", "192.0.2.1"}, algorithm, nil)
		if err != nil {
			t.Fatal(err)
		}
		issued, err := ca.Sign(t.Context(), CSRRequest{CSR: csr, Kind: Server, TTL: day})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"jump-1.example.org", "192.0.2.1"}, issued.SANs); diff != "" {
			t.Error(diff)
		}
		key, ok := parseKey(t, keyPEM).(crypto.Signer)
		if !ok || algorithmOf(issued.Certificate.PublicKey) != algorithm || !samePublicKey(issued.Certificate.PublicKey, key.Public()) {
			t.Errorf("%s: %T", algorithm, issued.Certificate.PublicKey)
		}
		if again, none, err := NewRequest("jump-1", Server, []string{"jump-1"}, "", key); err != nil || none != nil || len(again) == 0 {
			t.Errorf("a request for a key there is: %q, %v", none, err)
		}
	}
	path := filepath.Join(t.TempDir(), "csr.pem")
	for _, kind := range []string{"rsa:2048", "ec"} {
		args := []string{"req", "-new", "-nodes", "-newkey", kind, "-keyout", filepath.Join(t.TempDir(), "key.pem"), "-subj", "/C=TW/O=x/CN=bob", "-out", path}
		if kind == "ec" {
			args = append(args, "-pkeyopt", "ec_paramgen_curve:P-521")
		}
		if out, err := exec.CommandContext(t.Context(), "openssl", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		csr, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ca.Sign(t.Context(), CSRRequest{CSR: csr, Kind: Client}); err != nil {
			t.Errorf("a CSR of openssl req: %v", err)
		}
	}
}

// Each CSR that breaks a rule is refused, and nothing is written.
func TestSignRefuses(t *testing.T) {
	ca, _ := newCA(t)
	key := mustKey(t, P256)
	named := func(change func(*x509.CertificateRequest)) []byte {
		template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "a"}}
		change(template)
		return csrPEM(t, template, key)
	}
	good := named(func(*x509.CertificateRequest) {})
	block, _ := pem.Decode(good)
	forged := bytes.Clone(block.Bytes)
	forged[len(forged)-1] ^= 1
	weak, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // what is refused
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	own, err := ca.intermediateSigner(current(t, ca), 1)
	if err != nil {
		t.Fatal(err)
	}
	before := tree(t, ca.Dir)
	for _, test := range []struct {
		name string
		csr  []byte
		kind Kind
		want string
	}{
		{"nothing", nil, Client, "no CSR in PEM"},
		{"a certificate", encodeCertificates(ca.Root), Client, "no CSR in PEM"},
		{"damaged", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: block.Bytes[:40]}), Client, "is damaged"},
		{"two", append(bytes.Clone(good), good...), Client, "more than one"},
		{"long", append(bytes.Clone(good), make([]byte, maxCSR)...), Client, "longer than"},
		{"forged", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: forged}), Client, "not signed by its own key"},
		{"weak RSA", csrPEM(t, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "a"}}, weak), Client, "1024 bits"},
		{"weak curve", csrPEM(t, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "a"}}, p224), Client, "P-224"},
		{"the CA's key", csrPEM(t, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "a"}}, own), Client, "the CA's own"},
		{"no name", named(func(r *x509.CertificateRequest) { r.Subject.CommonName = "" }), Client, "0 Common Names"},
		{"two names", named(func(r *x509.CertificateRequest) {
			r.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: oidCommonName, Value: "b"}, {Type: oidCommonName, Value: "a"}}
		}), Client, "2 Common Names"},
		{"bad name", named(func(r *x509.CertificateRequest) { r.Subject.CommonName = "a b" }), Client, "characters other than"},
		{"mail", named(func(r *x509.CertificateRequest) { r.EmailAddresses = []string{"a@example.org"} }), Client, "mail address"},
		{"URI", named(func(r *x509.CertificateRequest) { r.URIs = []*url.URL{{Scheme: "spiffe", Host: "a"}} }), Client, "URI"},
		{"other name", named(func(r *x509.CertificateRequest) {
			r.ExtraExtensions = []pkix.Extension{extension(t, false, []asn1.RawValue{{Class: 2, Tag: 8, Bytes: []byte{1, 2}}}, 2, 5, 29, 17)}
		}), Server, "neither a DNS name nor an IP address"},
		{"names for a client", named(func(r *x509.CertificateRequest) { r.DNSNames = []string{"a"} }), Client, "they are for servers"},
		{"server without names", good, Server, "needs the names"},
		{"wildcard", named(func(r *x509.CertificateRequest) { r.DNSNames = []string{"*.a"} }), Server, "wildcard"},
		{"unspecified address", named(func(r *x509.CertificateRequest) { r.IPAddresses = []net.IP{net.IPv4zero} }), Server, "not the address of a host"},
		{"a root", good, Root, `kind "root"`},
		{"an intermediate", good, Intermediate, `kind "intermediate"`},
	} {
		_, err := ca.Sign(t.Context(), CSRRequest{CSR: test.csr, Kind: test.kind})
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	if diff := cmp.Diff(before, tree(t, ca.Dir)); diff != "" {
		t.Errorf("changed (-before +after):\n%s", diff)
	}
	for name, err := range map[string]error{
		"a bad name":    second(NewRequest("a b", Client, nil, "", nil)),
		"a client's":    second(NewRequest("a", Client, []string{"b"}, "", nil)),
		"an algorithm":  second(NewRequest("a", Client, nil, "rsa", nil)),
		"an old key":    second(NewRequest("a", Client, nil, "", weak)),
		"a root's name": second(NewRequest("a", Root, nil, "", nil)),
	} {
		if !errors.Is(err, ErrRefused) {
			t.Errorf("NewRequest with %s: %v", name, err)
		}
	}
}

func second(_, _ []byte, err error) error { return err }

// Whatever comes in: no panic, and what is taken is what the profile allows.
func FuzzParseCSR(f *testing.F) {
	key := mustKey(f, Ed25519)
	for _, template := range []*x509.CertificateRequest{
		{Subject: pkix.Name{CommonName: "alice"}},
		{Subject: pkix.Name{CommonName: "jump-1", Organization: []string{"x"}}, DNSNames: []string{"jump-1"}, IPAddresses: []net.IP{net.IPv6loopback}},
		{EmailAddresses: []string{"a@b"}},
	} {
		f.Add(csrPEM(f, template, key))
	}
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, data := range [][]byte{data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: data})} {
			asked, err := parseCSR(data)
			if err != nil {
				if !errors.Is(err, ErrRefused) {
					t.Errorf("%v", err)
				}
				continue
			}
			if checkKey(asked.public) != nil {
				t.Errorf("a key of %T", asked.public)
			}
		}
	})
}
