package client_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/pki/live"
	"github.com/footprintai/containarium/pki/pkitest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// authority is a daemon that hosts a CA.
type authority struct {
	pb.UnimplementedAuthServiceServer
	t     *testing.T
	ca    *pkitest.CA
	clock *clock

	mu sync.Mutex
	// roots and crls are what it hands out.
	roots, crls []byte
	// spoil may change what is about to be signed, and the key.
	spoil func(*x509.Certificate, *crypto.PublicKey)
	// chain follows the certificate.
	chain []*x509.Certificate
	fail  error
	// renewals are the requests for which there was a certificate.
	renewals []*pb.RenewCertificateRequest
}

func (a *authority) GetTrustBundle(context.Context, *pb.GetTrustBundleRequest) (*pb.GetTrustBundleResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return &pb.GetTrustBundleResponse{Roots: string(a.roots), Crls: string(a.crls)}, nil
}

func (a *authority) RenewCertificate(_ context.Context, request *pb.RenewCertificateRequest) (*pb.RenewCertificateResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fail != nil {
		return nil, a.fail
	}
	block, _ := pem.Decode([]byte(request.GetCsr()))
	if block == nil {
		return nil, status.Error(codes.InvalidArgument, "no PEM")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	template := a.ca.ClientTemplate(csr.Subject.CommonName)
	if request.GetCertificate() != "" {
		template = a.ca.ServerTemplate("127.0.0.1", "localhost")
	}
	pkitest.Lifetime(5 * time.Minute)(template)
	var key crypto.PublicKey = csr.PublicKey
	if a.spoil != nil {
		a.spoil(template, &key)
	}
	a.renewals = append(a.renewals, request)
	chain := append([]*x509.Certificate{a.ca.Certify(a.t, template, key)}, a.chain...)
	return &pb.RenewCertificateResponse{Issued: &pb.IssuedCertificate{Chain: string(pkitest.PEM(chain...)), Roots: string(a.roots)}}, nil
}

// site is an authority, a server in front of it and a client's files.
type site struct {
	*authority
	server *guarded
	files  live.Files
	pair   pkitest.Pair
	log    []string
}

// newSite makes a site whose server is good for those too who trust one of the
// others.
func newSite(t *testing.T, others ...*pkitest.CA) *site {
	t.Helper()
	clock := newClock()
	ca := pkitest.NewAt(t, clock.Now)
	a := &authority{t: t, ca: ca, clock: clock, roots: pkitest.PEM(ca.Root), chain: []*x509.Certificate{ca.Intermediate}}
	s := &site{authority: a, pair: ca.Client(t, "alice", pkitest.Lifetime(5*time.Minute))}
	files := serverFiles(t, ca)
	for _, other := range others {
		sendToo(t, files.Cert, other.CrossSign(t, ca))
	}
	s.server = serveFiles(t, files, clock, func(server *grpc.Server) { pb.RegisterAuthServiceServer(server, a) })
	s.files = s.pair.WriteFiles(t, t.TempDir(), ca)
	return s
}

func (s *site) renewer(files live.Files) *client.Renewer {
	return &client.Renewer{
		Client: func() (*client.Client, error) {
			return client.Dial(client.Server{Address: s.server.address, Cert: s.files.Cert, Key: s.files.Key, CA: s.files.CA}, client.WithClock(s.clock.Now))
		},
		Files: files,
		Now:   s.clock.Now,
		Log:   func(format string, args ...any) { s.log = append(s.log, fmt.Sprintf(format, args...)) },
	}
}

// sendToo adds a certificate to a chain.
func sendToo(t *testing.T, path string, cert *x509.Certificate) {
	t.Helper()
	chain, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(chain, pkitest.PEM(cert)...), 0o600); err != nil {
		t.Fatal(err)
	}
}

func contents(t *testing.T, files live.Files) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, path := range []string{files.Cert, files.Key, files.CA, files.CRL} {
		data, err := os.ReadFile(path)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		all[filepath.Base(path)] = string(data)
	}
	return all
}

func loadLeaf(t *testing.T, files live.Files, use live.Use, now time.Time) *x509.Certificate {
	t.Helper()
	loaded, err := files.Load(use, now)
	if err != nil {
		t.Fatal(err)
	}
	return loaded.Pair.Leaf
}

func TestRenew(t *testing.T) {
	s := newSite(t)
	hooks := 0
	r := s.renewer(s.files)
	r.Hook = func(context.Context) error { hooks++; return nil }
	before := contents(t, s.files)
	if renewed, err := r.Once(t.Context()); renewed || err != nil || hooks != 0 {
		t.Errorf("not due: %v, %v, %d hooks", renewed, err, hooks)
	}
	if after := contents(t, s.files); after["tls.crt"] != before["tls.crt"] || len(s.renewals) != 0 {
		t.Error("renewed before it was due")
	}
	at, err := r.Due()
	if err != nil {
		t.Fatal(err)
	}
	lifetime := s.pair.Leaf.NotAfter.Sub(s.pair.Leaf.NotBefore)
	if share := float64(at.Sub(s.pair.Leaf.NotBefore)) / float64(lifetime); share < 0.666 || share > 0.717 {
		t.Errorf("due after %.3f of the lifetime", share)
	}
	s.clock.set(at)
	s.crls = s.ca.CRL(t)
	if renewed, err := r.Once(t.Context()); !renewed || err != nil || hooks != 1 {
		t.Fatalf("due: %v, %v, %d hooks", renewed, err, hooks)
	}
	after := contents(t, s.files)
	if after["tls.key"] != before["tls.key"] || after["ca.crt"] != before["ca.crt"] {
		t.Error("key or roots were changed")
	}
	if after["crl.pem"] != string(s.crls) {
		t.Errorf("crl.pem holds %q", after["crl.pem"])
	}
	leaf := loadLeaf(t, s.files, live.Client, s.clock.Now())
	if leaf.Equal(s.pair.Leaf) || leaf.Subject.CommonName != "alice" {
		t.Errorf("the certificate is that of %s until %s", leaf.Subject.CommonName, leaf.NotAfter)
	}
	if err := s.files.Check(live.Client, s.clock.Now()); err != nil {
		t.Error(err)
	}
	if s.renewals[0].GetCertificate() != "" {
		t.Error("a client's certificate was sent along")
	}
	if renewed, err := r.Once(t.Context()); renewed || err != nil {
		t.Errorf("again: %v, %v", renewed, err)
	}
	if renewed, err := r.Renew(t.Context()); !renewed || err != nil || hooks != 2 {
		t.Errorf("whether it is due or not: %v, %v", renewed, err)
	}
}

// A server's certificate is renewed by a client of the same name.
func TestRenewAServers(t *testing.T) {
	s := newSite(t)
	pair := s.ca.Server(t, "127.0.0.1", "localhost")
	files := pair.WriteFiles(t, t.TempDir(), s.ca)
	if renewed, err := s.renewer(files).Renew(t.Context()); !renewed || err != nil {
		t.Fatal(renewed, err)
	}
	if s.renewals[0].GetCertificate() != string(pkitest.PEM(pair.Leaf)) {
		t.Errorf("sent along is %q", s.renewals[0].GetCertificate())
	}
	if leaf := loadLeaf(t, files, live.Server, s.clock.Now()); leaf.Equal(pair.Leaf) || leaf.VerifyHostname("localhost") != nil {
		t.Errorf("%v", leaf.DNSNames)
	}
}

func TestRenewTakesNoOtherCertificate(t *testing.T) {
	for name, test := range map[string]struct {
		server bool
		spoil  func(t *testing.T, s *site)
		want   string
	}{
		"another key": {spoil: signs(func(_ *x509.Certificate, key *crypto.PublicKey) {
			other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			*key = other.Public()
		}), want: "its key is another"},
		"another name": {spoil: signs(func(c *x509.Certificate, _ *crypto.PublicKey) { c.Subject.CommonName = "bob" }), want: `it is for "bob", not "alice"`},
		"a server's": {spoil: signs(func(c *x509.Certificate, _ *crypto.PublicKey) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}), want: "it is for another use"},
		"a CA's":      {spoil: signs(func(c *x509.Certificate, _ *crypto.PublicKey) { c.IsCA = true }), want: "it is for another use"},
		"a lost name": {server: true, spoil: signs(func(c *x509.Certificate, _ *crypto.PublicKey) { c.DNSNames = nil }), want: "it is not for localhost any more"},
		"a lost address": {server: true, spoil: signs(func(c *x509.Certificate, _ *crypto.PublicKey) {
			c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 2)}
		}), want: "it is not for 127.0.0.1 any more"},
		"expired":            {spoil: signs(func(c *x509.Certificate, _ *crypto.PublicKey) { c.NotAfter = c.NotBefore.Add(time.Second) }), want: "expired"},
		"without its issuer": {spoil: func(_ *testing.T, s *site) { s.chain = nil }, want: "unknown authority"},
		"of another CA":      {spoil: func(t *testing.T, s *site) { s.ca = pkitest.NewAt(t, s.clock.Now) }, want: "do not vouch for our certificate"},
		"refused by the CA":  {spoil: func(_ *testing.T, s *site) { s.fail = status.Error(codes.PermissionDenied, "no") }, want: "PermissionDenied"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			files := s.files
			if test.server {
				files = s.ca.Server(t, "127.0.0.1", "localhost").WriteFiles(t, t.TempDir(), s.ca)
			}
			test.spoil(t, s)
			before := contents(t, files)
			r := s.renewer(files)
			r.Hook = func(context.Context) error {
				t.Error("the hook ran")
				return nil
			}
			if renewed, err := r.Renew(t.Context()); renewed || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, %v; want %s", renewed, err, test.want)
			}
			if after := contents(t, files); fmt.Sprint(after) != fmt.Sprint(before) {
				t.Error("a file was changed")
			}
		})
	}
}

func signs(spoil func(*x509.Certificate, *crypto.PublicKey)) func(*testing.T, *site) {
	return func(_ *testing.T, s *site) { s.spoil = spoil }
}

// A certificate that the roots at hand vouch for is taken, whatever the bundle.
func TestRenewWithoutABundle(t *testing.T) {
	s := newSite(t)
	s.roots = []byte("x")
	before := contents(t, s.files)
	r := s.renewer(s.files)
	if renewed, err := r.Renew(t.Context()); !renewed || err != nil {
		t.Fatal(renewed, err)
	}
	if after := contents(t, s.files); after["ca.crt"] != before["ca.crt"] || after["tls.crt"] == before["tls.crt"] {
		t.Error("the roots were changed, or the certificate was not")
	}
	if !strings.Contains(strings.Join(s.log, "\n"), "stay: the bundle of ") {
		t.Errorf("the log is %q", s.log)
	}
	if _, err := r.Once(t.Context()); err == nil || !strings.Contains(err.Error(), "holds no certificate") {
		t.Errorf("%v", err)
	}
}

// New roots come over the connection that the old ones vouch for, and must vouch
// for both of its ends.
func TestRootsAreTakenOnlyWhereTheyFit(t *testing.T) {
	once := func(s *site, roots []byte, taken bool) {
		t.Helper()
		want := contents(t, s.files)["ca.crt"]
		if taken {
			want = string(roots)
		}
		s.roots = roots
		if _, err := s.renewer(s.files).Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		if contents(t, s.files)["ca.crt"] != want {
			t.Errorf("taken is not %v", taken)
		}
		if log := strings.Join(s.log, "\n"); strings.Contains(log, "the roots in "+s.files.CA+" stay") == taken {
			t.Errorf("the log is %q", log)
		}
		s.log = nil
	}
	s := newSite(t)
	other := pkitest.NewAt(t, s.clock.Now)
	once(s, pkitest.PEM(s.ca.Root, other.Root), true)
	// The server's certificate and ours are still the old CA's.
	once(s, pkitest.PEM(other.Root), false)
	once(s, pkitest.PEM(s.ca.Root), true)
	// Ours would be good under the new root, the server's not.
	sendToo(t, s.files.Cert, other.CrossSign(t, s.ca))
	once(s, pkitest.PEM(other.Root), false)
	// The other way round, and then both.
	s = newSite(t, other)
	once(s, pkitest.PEM(other.Root), false)
	sendToo(t, s.files.Cert, other.CrossSign(t, s.ca))
	once(s, pkitest.PEM(other.Root), true)
}

func TestListsAreTakenOnlyWhereTheyAreNewer(t *testing.T) {
	s := newSite(t)
	r := s.renewer(s.files)
	yesterday := s.clock.Now().Add(-24 * time.Hour)
	for _, step := range []struct {
		name  string
		crls  []byte
		taken bool
	}{
		{"the first", s.ca.CRLs(t, pkitest.List{Number: big.NewInt(10)}), true},
		{"newer", s.ca.CRLs(t, pkitest.List{Number: big.NewInt(11)}), true},
		{"older", s.ca.CRLs(t, pkitest.List{Number: big.NewInt(9)}), false},
		{"badly signed", s.ca.CRLs(t, pkitest.List{Number: big.NewInt(12), BadlySigned: true}), false},
		{"of another CA", pkitest.New(t).CRL(t), false},
		{"words", []byte("nobody is revoked"), false},
		{"none", nil, false},
		{"out of date", s.ca.CRLs(t, pkitest.List{Number: big.NewInt(13), ThisUpdate: yesterday, NextUpdate: yesterday}), true},
	} {
		before := contents(t, s.files)["crl.pem"]
		s.crls = step.crls
		if _, err := r.Once(t.Context()); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		want := before
		if step.taken {
			want = string(step.crls)
		}
		if contents(t, s.files)["crl.pem"] != want {
			t.Errorf("%s: taken is not %v", step.name, step.taken)
		}
	}
}

func TestHookRunsAgainWhereItFails(t *testing.T) {
	s := newSite(t)
	r := s.renewer(s.files)
	hooks := 0
	r.Hook = func(context.Context) error {
		if hooks++; hooks == 1 {
			return errors.New("no such unit")
		}
		return nil
	}
	if renewed, err := r.Renew(t.Context()); !renewed || err == nil || !strings.Contains(err.Error(), "no such unit") {
		t.Errorf("%v, %v", renewed, err)
	}
	for range 2 {
		if renewed, err := r.Once(t.Context()); renewed || err != nil || hooks != 2 {
			t.Errorf("%v, %v, %d hooks", renewed, err, hooks)
		}
	}
}

// Twenty five-minute certificates, of a CA that is away when every fifth is due,
// and back in time.
func TestRenewerRuns(t *testing.T) {
	s := newSite(t)
	r := s.renewer(s.files)
	ctx, cancel := context.WithCancel(t.Context())
	waits := 0
	var longest time.Duration
	r.Wait = func(_ context.Context, d time.Duration) error {
		waits++
		longest = max(longest, d)
		left := loadLeaf(t, s.files, live.Client, s.clock.Now()).NotAfter.Sub(s.clock.Now())
		if n := len(s.log); n > 0 && strings.Contains(s.log[n-1], "another try") && d > max(left/10, time.Second) {
			t.Errorf("waits %s after a failure, with %s left", d, left)
		}
		s.clock.add(d)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.fail = nil
		if n := len(s.renewals); n == 20 || waits > 100 {
			cancel()
		} else if n%5 == 4 && waits%4 != 0 {
			s.fail = status.Error(codes.Unavailable, "the CA is away")
		}
		if leaf := loadLeaf(t, s.files, live.Client, s.clock.Now()); s.clock.Now().After(leaf.NotAfter) {
			t.Errorf("expired after %d renewals", len(s.renewals))
		}
		return nil
	}
	if err := r.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if len(s.renewals) != 20 || longest > 5*time.Minute {
		t.Errorf("%d renewals, the longest wait took %s", len(s.renewals), longest)
	}
	if log := strings.Join(s.log, "\n"); !strings.Contains(log, "the CA is away; another try in ") {
		t.Errorf("the log is %s", log)
	}
	if err := os.Remove(s.files.Key); err != nil {
		t.Fatal(err)
	}
	if err := r.Run(t.Context()); err == nil {
		t.Error("it runs without files")
	}
}
