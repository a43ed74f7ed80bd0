package daemon_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/pki/identity"
	"github.com/footprintai/containarium/pki/pkitest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// host is a daemon that hosts a CA, and the certificate of alice, whom the CA
// knows.
type host struct {
	*daemontest.Daemon
	authority *daemontest.Authority
	alice     pkitest.Pair
}

func newHost(t *testing.T) *host {
	t.Helper()
	ca := pkitest.New(t)
	authority := daemontest.NewAuthority(t, ca)
	// Other daemons may follow it.
	policy := strings.Replace(daemontest.Policy, `guest = "guest"`, "guest = \"guest\"\n\"jump-*\" = \"guest\"", 1)
	h := &host{daemontest.StartWith(t, daemontest.Options{CA: ca, Authority: authority, Policy: policy}), authority, ca.Client(t, "alice")}
	authority.Note(h.alice)
	return h
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// csr is a request in PEM.
func csr(t *testing.T, cn string, key any) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: cn}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func leafOf(t *testing.T, issued *pb.IssuedCertificate) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(issued.GetChain()))
	if block == nil {
		t.Fatalf("no certificate in %v", issued)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// A client renews by its own certificate, with a new key, and calls with what it
// got.
func TestAClientRenewsItsCertificate(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	key := newKey(t)
	response, err := pb.NewAuthServiceClient(h.DialWith(t, h.alice)).RenewCertificate(t.Context(), &pb.RenewCertificateRequest{Csr: csr(t, "alice", key)})
	if err != nil {
		t.Fatal(err)
	}
	leaf := leafOf(t, response.GetIssued())
	if leaf.Subject.CommonName != "alice" || !leaf.PublicKey.(*ecdsa.PublicKey).Equal(key.Public()) {
		t.Errorf("certificate of %s", leaf.Subject)
	}
	if c := response.GetIssued().GetCertificate(); c.GetReplaces() != identity.Serial(h.alice.Leaf) || c.GetRequestedBy() != "alice" || response.GetIssued().GetRoots() == "" {
		t.Errorf("entry %v", c)
	}
	renewed := pkitest.Pair{Leaf: leaf, Cert: h.alice.Cert}
	renewed.Cert.Certificate = [][]byte{leaf.Raw, h.CA.Intermediate.Raw}
	renewed.Cert.PrivateKey, renewed.Cert.Leaf = key, leaf
	if err := whoami(t, h.DialWith(t, renewed)); err != nil {
		t.Errorf("a call with the new certificate: %v", err)
	}
}

// A server's certificate is renewed by a client of the same name, who has its key.
func TestAServersCertificateIsRenewedByWhoHasItsKey(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	template := h.CA.ServerTemplate("127.0.0.1")
	template.Subject.CommonName = "alice"
	server := h.CA.Issue(t, template)
	h.authority.Note(server)
	client := pb.NewAuthServiceClient(h.DialWith(t, h.alice))
	old := string(pkitest.PEM(server.Leaf, h.CA.Intermediate))
	response, err := client.RenewCertificate(t.Context(), &pb.RenewCertificateRequest{Csr: csr(t, "alice", server.Cert.PrivateKey), Certificate: old})
	if err != nil {
		t.Fatal(err)
	}
	leaf := leafOf(t, response.GetIssued())
	if len(leaf.ExtKeyUsage) != 1 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageServerAuth || response.GetIssued().GetCertificate().GetReplaces() != identity.Serial(server.Leaf) {
		t.Errorf("usage %v, replaces %s", leaf.ExtKeyUsage, response.GetIssued().GetCertificate().GetReplaces())
	}
}

func TestRenewalRefuses(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	bobs := h.CA.Server(t, "127.0.0.1") // of another name
	h.authority.Note(bobs)
	template := h.CA.ServerTemplate("127.0.0.1")
	template.Subject.CommonName = "alice"
	server := h.CA.Issue(t, template)
	key := newKey(t)
	broken := csr(t, "alice", key)
	broken = strings.Replace(broken, broken[100:104], "AAAA", 1)
	for name, test := range map[string]struct {
		request *pb.RenewCertificateRequest
		want    string
	}{
		"nothing":                    {&pb.RenewCertificateRequest{}, "csr must be PEM"},
		"a key":                      {&pb.RenewCertificateRequest{Csr: "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"}, "csr must be PEM with a certificate request"},
		"too long":                   {&pb.RenewCertificateRequest{Csr: strings.Repeat("a", 16<<10+1)}, "csr must be at most 16384 bytes"},
		"damaged":                    {&pb.RenewCertificateRequest{Csr: broken}, "csr must be"},
		"another name":               {&pb.RenewCertificateRequest{Csr: csr(t, "bob", key)}, "csr must have the Common Name of the caller, alice"},
		"another's certificate":      {&pb.RenewCertificateRequest{Csr: csr(t, "alice", bobs.Cert.PrivateKey), Certificate: string(pkitest.PEM(bobs.Leaf))}, "certificate must have the Common Name of the caller, alice"},
		"a certificate without key":  {&pb.RenewCertificateRequest{Csr: csr(t, "alice", key), Certificate: string(pkitest.PEM(server.Leaf))}, "csr must be signed with the key of the certificate"},
		"what is not a certificate":  {&pb.RenewCertificateRequest{Csr: csr(t, "alice", key), Certificate: "x"}, "certificate must be PEM"},
		"what is a long certificate": {&pb.RenewCertificateRequest{Csr: csr(t, "alice", key), Certificate: strings.Repeat("a", 16<<10+1)}, "certificate must be at most"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := pb.NewAuthServiceClient(h.DialWith(t, h.alice)).RenewCertificate(t.Context(), test.request)
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %s", err, test.want)
			}
		})
	}
}

// An admin issues, lists and revokes over the network; whom they revoke is out
// when the call returns.
func TestIssueListRevoke(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	admin := pb.NewAuthServiceClient(h.Dial(t, "admin"))
	for name, request := range map[string]*pb.IssueCertificateRequest{
		"no kind":    {Csr: csr(t, "carol", newKey(t))},
		"a root":     {Csr: csr(t, "carol", newKey(t)), Kind: pb.CertificateKind_CERTIFICATE_KIND_ROOT},
		"too short":  {Csr: csr(t, "carol", newKey(t)), Kind: pb.CertificateKind_CERTIFICATE_KIND_CLIENT, TtlSeconds: 299},
		"too long":   {Csr: csr(t, "carol", newKey(t)), Kind: pb.CertificateKind_CERTIFICATE_KIND_CLIENT, TtlSeconds: 63072001},
		"bad name":   {Csr: csr(t, "carol smith", newKey(t)), Kind: pb.CertificateKind_CERTIFICATE_KIND_CLIENT},
		"no request": {Kind: pb.CertificateKind_CERTIFICATE_KIND_CLIENT},
	} {
		if _, err := admin.IssueCertificate(t.Context(), request); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	response, err := admin.IssueCertificate(t.Context(), &pb.IssueCertificateRequest{
		Csr: csr(t, "bob", newKey(t)), Kind: pb.CertificateKind_CERTIFICATE_KIND_CLIENT, TtlSeconds: 600,
	})
	if err != nil {
		t.Fatal(err)
	}
	if leaf := leafOf(t, response.GetIssued()); leaf.Subject.CommonName != "bob" || time.Until(leaf.NotAfter) > 11*time.Minute {
		t.Errorf("certificate of %s until %s", leaf.Subject, leaf.NotAfter)
	}

	// What ends first comes first, a page at a time.
	var names []string
	for token, first := "", true; first || token != ""; first = false {
		page, err := admin.ListCertificates(t.Context(), &pb.ListCertificatesRequest{PageSize: 1, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page.GetCertificates() {
			names = append(names, c.GetName())
		}
		token = page.GetNextPageToken()
	}
	if got := strings.Join(names, " "); got != "bob alice" {
		t.Errorf("listed %s", got)
	}

	alice := h.DialWith(t, h.alice)
	stream := watchHealth(t, alice)
	revoked, err := admin.RevokeCertificate(t.Context(), &pb.RevokeCertificateRequest{NameOrSerial: "alice", Reason: pb.RevocationReason_REVOCATION_REASON_KEY_COMPROMISE})
	if err != nil {
		t.Fatal(err)
	}
	if c := revoked.GetRevoked(); len(c) != 1 || c[0].GetSerial() != identity.Serial(h.alice.Leaf) || c[0].GetRevokedAt() == nil {
		t.Errorf("revoked %v", c)
	}
	if err := whoami(t, alice); status.Code(err) != codes.Unauthenticated && status.Code(err) != codes.Unavailable {
		t.Errorf("the next call of the revoked: %v", err)
	}
	if err := end(stream); reasonOf(err) != "REVOKED" {
		t.Errorf("the stream of the revoked: %v", err)
	}
	again, err := admin.RevokeCertificate(t.Context(), &pb.RevokeCertificateRequest{NameOrSerial: "alice"})
	if err != nil || len(again.GetRevoked()) > 0 {
		t.Errorf("revoked again: %v, %v", again, err)
	}
	if _, err := admin.RevokeCertificate(t.Context(), &pb.RevokeCertificateRequest{NameOrSerial: "nobody"}); status.Code(err) != codes.NotFound {
		t.Errorf("revoke of nobody's: %v", err)
	}
	for _, bad := range []string{"", "a\n", strings.Repeat("a", 65)} {
		if _, err := admin.RevokeCertificate(t.Context(), &pb.RevokeCertificateRequest{NameOrSerial: bad}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("revoke of %q: %v", bad, err)
		}
	}
}

// A revocation that this daemon can not load is no success.
func TestARevocationThatIsNotInForceIsAnError(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.SetPolicy(t, "x = 1\n")
	h.WaitRefused(t)
	_, err := pb.NewAuthServiceClient(h.Dial(t, "admin")).RevokeCertificate(t.Context(), &pb.RevokeCertificateRequest{NameOrSerial: "alice"})
	if status.Code(err) != codes.FailedPrecondition || reasonOf(err) != "NOT_IN_FORCE" || !strings.Contains(err.Error(), `unknown key "x"`) {
		t.Errorf("error %v, reason %s", err, reasonOf(err))
	}
	// It is on record, and counts as soon as the mistake is mended.
	h.SetPolicy(t, daemontest.Policy)
	alice := h.DialWith(t, h.alice)
	eventually(t, "the revocation", func() bool { return whoami(t, alice) != nil })
}

// Elsewhere the CA's calls say where the CA is not; the bundle is everywhere.
func TestADaemonWithoutCA(t *testing.T) {
	t.Parallel()
	d := daemontest.Start(t)
	client := pb.NewAuthServiceClient(d.Dial(t, "admin"))
	for name, call := range map[string]func() error{
		"renew": func() error {
			_, err := client.RenewCertificate(t.Context(), &pb.RenewCertificateRequest{})
			return err
		},
		"issue": func() error {
			_, err := client.IssueCertificate(t.Context(), &pb.IssueCertificateRequest{})
			return err
		},
		"revoke": func() error {
			_, err := client.RevokeCertificate(t.Context(), &pb.RevokeCertificateRequest{})
			return err
		},
		"list": func() error {
			_, err := client.ListCertificates(t.Context(), &pb.ListCertificatesRequest{})
			return err
		},
	} {
		if err := call(); status.Code(err) != codes.Unimplemented || reasonOf(err) != "NO_CA" || !strings.Contains(err.Error(), "[ca] dir") {
			t.Errorf("%s: %v", name, err)
		}
	}
	bundle, err := client.GetTrustBundle(t.Context(), &pb.GetTrustBundleRequest{})
	if err != nil || bundle.GetRoots() != string(pkitest.PEM(d.CA.Root)) || bundle.GetCrls() != "" {
		t.Errorf("bundle %v, %v", bundle, err)
	}
	d.Revoke(t, d.CA.Client(t, "x"))
	d.WaitGeneration(t, 2)
	bundle, err = client.GetTrustBundle(t.Context(), &pb.GetTrustBundleRequest{})
	if err != nil || !strings.Contains(bundle.GetCrls(), "BEGIN X509 CRL") {
		t.Errorf("bundle %v, %v", bundle, err)
	}
}
