package live_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/footprintai/containarium/pki/live"
	"github.com/footprintai/containarium/pki/pkitest"
)

// peerOf is what a server that trusts the roots makes of the pair.
func peerOf(t testing.TB, pair pkitest.Pair, roots ...*x509.Certificate) *live.Peer {
	t.Helper()
	return newPeer(t, chainsOf(t, pair, roots...))
}

func newPeer(t testing.TB, chains [][]*x509.Certificate) *live.Peer {
	t.Helper()
	peer, err := live.NewPeer(tls.ConnectionState{VerifiedChains: chains})
	if err != nil {
		t.Fatal(err)
	}
	return peer
}

func chainsOf(t testing.TB, pair pkitest.Pair, roots ...*x509.Certificate) [][]*x509.Certificate {
	t.Helper()
	options := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: pair.Leaf.NotBefore,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, root := range roots {
		options.Roots.AddCert(root)
	}
	for _, der := range pair.Cert.Certificate[1:] {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		options.Intermediates.AddCert(cert)
	}
	chains, err := pair.Leaf.Verify(options)
	if err != nil {
		t.Fatal(err)
	}
	return chains
}

// loaded is a server's of the CA that trusts the roots and has that file of
// revocation lists; none where crls is nil.
func loaded(t testing.TB, ca *pkitest.CA, crls []byte, roots ...*x509.Certificate) *live.Loaded {
	t.Helper()
	files := ca.Server(t, "127.0.0.1").WriteFiles(t, t.TempDir(), ca)
	put(t, files.CA, pkitest.PEM(roots...))
	if crls != nil {
		put(t, files.CRL, crls)
	}
	return load(t, files, live.Server)
}

func load(t testing.TB, files live.Files, use live.Use) *live.Loaded {
	t.Helper()
	l, err := files.Load(use, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func put(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func serials(n int) []*big.Int {
	all := make([]*big.Int, n)
	for i := range all {
		all[i] = new(big.Int).SetBytes(append([]byte{0x7f}, bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 9)...))
	}
	return all
}

// What each file of revocation lists does to a good client of the CA, and to one
// of another CA that is trusted as well.
func TestRevocationLists(t *testing.T) {
	ca, other := pkitest.New(t), pkitest.New(t)
	alice := ca.Client(t, "alice")
	serial := alice.Leaf.SerialNumber
	yesterday := time.Now().Add(-24 * time.Hour)
	critical := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 0}}
	good := ca.CRL(t)
	list := func(lists ...pkitest.List) []byte { return ca.CRLs(t, lists...) }
	for _, test := range []struct {
		name      string
		crls      []byte
		is, other error
		want      string // in the error
		problems  int
	}{
		{name: "no file"},
		{name: "nobody is revoked", crls: good},
		{name: "others are revoked", crls: ca.CRL(t, serials(100)...)},
		{name: "revoked", crls: ca.CRL(t, serial), is: live.ErrRevoked, want: `"alice" was revoked on `},
		{
			name: "revoked with a reason", crls: list(pkitest.List{Revoked: []*big.Int{serial}, Reason: 1, RevokedAt: yesterday}), is: live.ErrRevoked,
			want: yesterday.UTC().Format("2006-01-02 15:04 UTC") + " (key compromise)",
		},
		{name: "revoked in the future", crls: list(pkitest.List{Revoked: []*big.Int{serial}, RevokedAt: time.Now().Add(time.Hour)}), is: live.ErrRevoked},
		{name: "the serial is revoked, of another issuer", crls: other.CRL(t, serial)},
		{name: "the serial is revoked, of the root", crls: list(pkitest.List{ByRoot: true, Revoked: []*big.Int{serial}})},
		{
			name: "the intermediate is revoked", crls: list(pkitest.List{}, pkitest.List{ByRoot: true, Revoked: []*big.Int{ca.Intermediate.SerialNumber}}),
			is: live.ErrRevoked, want: `the CA certificate "Test intermediate", above the certificate of "alice", was revoked`,
		},
		{name: "two lists, the older revokes", crls: list(pkitest.List{Revoked: []*big.Int{serial}}, pkitest.List{}), is: live.ErrRevoked},
		{
			name: "expired", crls: list(pkitest.List{ThisUpdate: yesterday, NextUpdate: time.Now().Add(-time.Second)}), is: live.ErrStale,
			want: `"alice" can not be checked: no usable revocation list of "Test intermediate": it expired on`, problems: 1,
		},
		{
			name: "the root's expired", crls: append(list(pkitest.List{ByRoot: true, ThisUpdate: yesterday, NextUpdate: yesterday.Add(time.Hour)}), good...),
			is: live.ErrStale, want: `no usable revocation list of "Test root"`, problems: 1,
		},
		{
			name: "expired and revoked", is: live.ErrRevoked, problems: 1,
			crls: list(pkitest.List{Revoked: []*big.Int{serial}, ThisUpdate: yesterday, NextUpdate: time.Now().Add(-time.Second)}),
		},
		{name: "badly signed", crls: list(pkitest.List{BadlySigned: true}), is: live.ErrStale, want: "it is badly signed", problems: 1},
		{name: "one of two badly signed", crls: list(pkitest.List{}, pkitest.List{BadlySigned: true}), is: live.ErrStale, problems: 1},
		{name: "without its issuer", crls: list(pkitest.List{Alone: true}), is: live.ErrStale, want: "its issuer is not trusted", problems: 1},
		{name: "of a CA that is not trusted", crls: pkitest.New(t).CRL(t), problems: 1},
		{
			name: "with rules that we do not know", crls: list(pkitest.List{Extensions: []pkix.Extension{critical}}), is: live.ErrStale,
			want: "critical extension, 2.5.29.28", problems: 1,
		},
		{name: "the other CA's expired", crls: append(other.CRLs(t, pkitest.List{ThisUpdate: yesterday, NextUpdate: yesterday}), good...), other: live.ErrStale, problems: 1},

		// What says nothing closes everything.
		{name: "empty", crls: []byte{}, is: live.ErrStale, other: live.ErrStale, want: "there is none in the file", problems: 1},
		{name: "words", crls: []byte("revoked: alice\n"), is: live.ErrStale, other: live.ErrStale, problems: 1},
		{name: "certificates alone", crls: list(), is: live.ErrStale, other: live.ErrStale, problems: 1},
		{name: "cut off", crls: append(bytes.Clone(good), good[:100]...), is: live.ErrStale, other: live.ErrStale, want: "cut off", problems: 1},
		{
			name: "damaged", crls: append(bytes.Clone(good), "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"...),
			is: live.ErrStale, other: live.ErrStale, want: "block 3 can not be read", problems: 1,
		},
		{
			name: "a damaged certificate", crls: append(bytes.Clone(good), "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"...),
			is: live.ErrStale, other: live.ErrStale, want: "block 3 can not be read", problems: 1,
		},
		{
			name: "a key", crls: append(bytes.Clone(good), "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"...),
			is: live.ErrStale, other: live.ErrStale, want: `block 3 is a "PRIVATE KEY"`, problems: 1,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := loaded(t, ca, test.crls, ca.Root, other.Root)
			for _, is := range []struct {
				peer *live.Peer
				want error
			}{{peerOf(t, alice, ca.Root), test.is}, {peerOf(t, other.Client(t, "bob"), other.Root), test.other}} {
				err := l.Accepts(is.peer, time.Now())
				if !errors.Is(err, is.want) || (err == nil) != (is.want == nil) {
					t.Errorf("%s: %v, want %v", is.peer.CommonName, err, is.want)
				}
				if err != nil && strings.Contains(err.Error(), "\n") {
					t.Errorf("more than one line: %v", err)
				}
			}
			if err := l.Accepts(peerOf(t, alice, ca.Root), time.Now()); test.want != "" && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v; want %s", err, test.want)
			}
			if problems := l.CRLs.Problems(time.Now()); len(problems) != test.problems {
				t.Errorf("problems: %v", problems)
			}
		})
	}
}

func TestListsThatCanNotBeRead(t *testing.T) {
	ca := pkitest.New(t)
	files := ca.Server(t, "127.0.0.1").WriteFiles(t, t.TempDir(), ca)
	put(t, files.CRL, ca.CRL(t))
	chmod(t, files.CRL, 0o666)
	alice := peerOf(t, ca.Client(t, "alice"), ca.Root)
	if err := load(t, files, live.Server).Accepts(alice, time.Now()); !errors.Is(err, live.ErrStale) || !strings.Contains(err.Error(), "chmod go-w "+files.CRL) {
		t.Errorf("written by others: %v", err)
	}
	remove(t, files.CRL)
	if err := os.Mkdir(files.CRL, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := load(t, files, live.Server).Accepts(alice, time.Now()); !errors.Is(err, live.ErrStale) {
		t.Errorf("a directory: %v", err)
	}
	files.CRL = ""
	if err := load(t, files, live.Server).Accepts(alice, time.Now()); err != nil {
		t.Errorf("no file named: %v", err)
	}
}

func TestLists(t *testing.T) {
	ca := pkitest.New(t)
	now := time.Now()
	var off *live.CRLs
	if off.Lists(now) != nil || off.Problems(now) != nil {
		t.Error("there are lists where there are none")
	}
	crls := live.ParseCRLs(ca.CRLs(t, pkitest.List{Revoked: serials(3), Number: big.NewInt(7)}, pkitest.List{ByRoot: true, BadlySigned: true}), []*x509.Certificate{ca.Root}, now)
	lists := crls.Lists(now)
	if len(lists) != 2 {
		t.Fatalf("%d lists", len(lists))
	}
	if l := lists[0]; l.Issuer != "Test intermediate" || l.Number.Int64() != 7 || l.Revoked != 3 || l.Problem != nil || !l.NextUpdate.After(now) || l.KeyID == "" {
		t.Errorf("%+v", l)
	}
	if l := lists[1]; l.Issuer != "Test root" || !errors.Is(l.Problem, live.ErrStale) {
		t.Errorf("%+v", l)
	}
	later := now.Add(25 * time.Hour)
	if l := crls.Lists(later)[0]; !errors.Is(l.Problem, live.ErrStale) || len(crls.Problems(later)) != 2 || len(crls.Problems(now)) != 1 {
		t.Errorf("a day later: %+v, %v", l, crls.Problems(later))
	}
}

// A connection outlives its handshake; the dates go on.
func TestAcceptsLooksAtDates(t *testing.T) {
	ca := pkitest.New(t)
	alice := ca.Client(t, "alice")
	long := ca.Client(t, "bob", func(c *x509.Certificate) { c.NotAfter = ca.Root.NotAfter.Add(time.Hour) })
	l := loaded(t, ca, ca.CRLs(t, pkitest.List{NextUpdate: time.Now().Add(48 * time.Hour)}), ca.Root)
	for _, test := range []struct {
		pair pkitest.Pair
		at   time.Time
		is   error
		want string
	}{
		{alice, alice.Leaf.NotAfter, nil, ""},
		{alice, alice.Leaf.NotAfter.Add(time.Second), live.ErrExpired, `the certificate of "alice" expired on`},
		{long, ca.Root.NotAfter.Add(time.Second), live.ErrExpired, `the CA certificate "Test intermediate"`},
	} {
		err := l.Accepts(peerOf(t, test.pair, ca.Root), test.at)
		if !errors.Is(err, test.is) || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s at %s: %v", test.pair.Leaf.Subject.CommonName, test.at, err)
		}
	}
	// A root that was signed anew, for a shorter time than what is below it.
	short := *ca
	short.Root = new(x509.Certificate)
	*short.Root = *ca.Root
	short.Root.NotAfter = time.Now().Add(time.Minute)
	below := loaded(t, ca, nil, ca.CrossSign(t, &short))
	for at, is := range map[time.Duration]error{0: nil, 2 * time.Minute: live.ErrExpired} {
		if err := below.Accepts(peerOf(t, alice, ca.Root), time.Now().Add(at)); !errors.Is(err, is) || (err == nil) != (is == nil) {
			t.Errorf("below a root that expires, after %s: %v", at, err)
		}
	}
	list := loaded(t, ca, ca.CRLs(t, pkitest.List{NextUpdate: time.Now().Add(time.Minute)}), ca.Root)
	peer := peerOf(t, alice, ca.Root)
	if err := list.Accepts(peer, time.Now()); err != nil {
		t.Error(err)
	}
	if err := list.Accepts(peer, time.Now().Add(2*time.Minute)); !errors.Is(err, live.ErrStale) {
		t.Errorf("with a list that expired since: %v", err)
	}
}

// A rollover: the connections that were made under the old root go on under the
// new one where the new root was in their chain, cross-signed.
func TestAcceptsInARollover(t *testing.T) {
	old, next := pkitest.New(t), pkitest.New(t)
	before := old.Client(t, "alice")
	after := next.Client(t, "alice")
	after.Cert.Certificate = append(after.Cert.Certificate, old.CrossSign(t, next).Raw)
	for _, test := range []struct {
		name  string
		peer  *live.Peer
		roots []*x509.Certificate
		is    error
	}{
		{"old, old trusted", peerOf(t, before, old.Root), []*x509.Certificate{old.Root}, nil},
		{"old, both trusted", peerOf(t, before, old.Root), []*x509.Certificate{old.Root, next.Root}, nil},
		{"old, new trusted", peerOf(t, before, old.Root), []*x509.Certificate{next.Root}, live.ErrOtherCA},
		{"new, by way of the old", peerOf(t, after, old.Root), []*x509.Certificate{old.Root}, nil},
		{"new, both trusted", peerOf(t, after, old.Root, next.Root), []*x509.Certificate{old.Root, next.Root}, nil},
		{"new, came by way of the old, new trusted", peerOf(t, after, old.Root), []*x509.Certificate{next.Root}, nil},
		{"new, old trusted alone", peerOf(t, after, next.Root), []*x509.Certificate{old.Root}, live.ErrOtherCA},
	} {
		err := loaded(t, old, nil, test.roots...).Accepts(test.peer, time.Now())
		if !errors.Is(err, test.is) || (err == nil) != (test.is == nil) {
			t.Errorf("%s: %v, want %v", test.name, err, test.is)
		}
	}
	// That its cross-signed certificate is revoked is nothing to the new root.
	cross, err := x509.ParseCertificate(after.Cert.Certificate[2])
	if err != nil {
		t.Fatal(err)
	}
	list := old.CRLs(t, pkitest.List{ByRoot: true, Revoked: []*big.Int{cross.SerialNumber}})
	both := loaded(t, old, list, old.Root, next.Root)
	if err := both.Accepts(peerOf(t, after, old.Root), time.Now()); err != nil {
		t.Errorf("cross-signed once: %v", err)
	}
	if err := loaded(t, old, list, old.Root).Accepts(peerOf(t, after, old.Root), time.Now()); !errors.Is(err, live.ErrRevoked) {
		t.Errorf("the only way up is revoked: %v", err)
	}
	var none *live.Loaded
	if none.Accepts(peerOf(t, before, old.Root), time.Now()) == nil || both.Accepts(nil, time.Now()) == nil || both.Accepts(&live.Peer{}, time.Now()) == nil {
		t.Error("nothing is accepted")
	}
}

// One good chain is enough; where there is none, it is told what is wrong with one
// that would be trusted.
func TestAcceptsOneOfTwoChains(t *testing.T) {
	ca, other := pkitest.New(t), pkitest.New(t)
	alice := ca.Client(t, "alice")
	chains := append(chainsOf(t, alice, ca.Root), chainsOf(t, other.Client(t, "alice"), other.Root)...)
	good, revoked := loaded(t, ca, nil, ca.Root), loaded(t, ca, ca.CRL(t, alice.Leaf.SerialNumber), ca.Root)
	for range chains {
		slices.Reverse(chains)
		if err := good.Accepts(newPeer(t, chains), time.Now()); err != nil {
			t.Error(err)
		}
		if err := revoked.Accepts(newPeer(t, chains), time.Now()); !errors.Is(err, live.ErrRevoked) {
			t.Error(err)
		}
	}
}

func TestNewPeerRefuses(t *testing.T) {
	ca := pkitest.New(t)
	chain := chainsOf(t, ca.Client(t, "alice"), ca.Root)[0]
	long := *chain[0]
	long.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 160)
	for name, chains := range map[string][][]*x509.Certificate{
		"no chain":                     nil,
		"a leaf that is trusted":       {chain[:1]},
		"a CA's":                       chainsOf(t, ca.Client(t, "alice", func(c *x509.Certificate) { c.IsCA = true }), ca.Root),
		"a serial number of 21 octets": {{&long, chain[1], chain[2]}},
	} {
		if peer, err := live.NewPeer(tls.ConnectionState{VerifiedChains: chains}); err == nil || peer != nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// The handshakes of one server, before and after a client is revoked.
func TestRevokedClientIsRefusedInTheHandshake(t *testing.T) {
	ca := pkitest.New(t)
	files := ca.Server(t, "127.0.0.1").WriteFiles(t, t.TempDir(), ca)
	var current atomic.Pointer[live.Loaded]
	current.Store(load(t, files, live.Server))
	server := live.ServerConfig(current.Load, time.Now)
	stolen, good := ca.Client(t, "stolen"), ca.Client(t, "good")
	config := ca.ClientConfig(stolen)
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	if _, err := dial(t, server, config); err != nil {
		t.Fatal(err)
	}
	put(t, files.CRL, ca.CRL(t, stolen.Leaf.SerialNumber))
	current.Store(load(t, files, live.Server))
	if _, err := dial(t, server, config); err == nil {
		t.Error("a revoked client was accepted")
	}
	state, err := dial(t, server, ca.ClientConfig(good))
	if err != nil || state.DidResume {
		t.Errorf("another client: %v", err)
	}
	// A new certificate and another bundle count from the next handshake on.
	next := pkitest.New(t)
	current.Store(load(t, next.Server(t, "127.0.0.1").WriteFiles(t, t.TempDir(), next), live.Server))
	if _, err := dial(t, server, next.ClientConfig(next.Client(t, "new"))); err != nil {
		t.Errorf("a client of the new CA: %v", err)
	}
	current.Store(nil)
	if _, err := dial(t, server, next.ClientConfig(next.Client(t, "new"))); err == nil {
		t.Error("accepted without anything to go by")
	}
}

// A handshake takes time, in which the client may be revoked.
func TestRevokedDuringTheHandshake(t *testing.T) {
	ca := pkitest.New(t)
	files := ca.Server(t, "127.0.0.1").WriteFiles(t, t.TempDir(), ca)
	alice := ca.Client(t, "alice")
	before := load(t, files, live.Server)
	put(t, files.CRL, ca.CRL(t, alice.Leaf.SerialNumber))
	after := load(t, files, live.Server)
	asked := 0
	server := live.ServerConfig(func() *live.Loaded {
		if asked++; asked == 1 {
			return before
		}
		return after
	}, time.Now)
	if _, err := dial(t, server, ca.ClientConfig(alice)); err == nil {
		t.Error("accepted")
	}
}

func TestServerGoesByItsClock(t *testing.T) {
	ca := pkitest.New(t)
	l := loaded(t, ca, nil, ca.Root)
	alice := ca.Client(t, "alice")
	for at, ok := range map[time.Time]bool{
		alice.Leaf.NotBefore.Add(-time.Second): false,
		alice.Leaf.NotAfter.Add(-time.Second):  true,
		alice.Leaf.NotAfter.Add(time.Second):   false,
	} {
		server := live.ServerConfig(func() *live.Loaded { return l }, func() time.Time { return at })
		if _, err := dial(t, server, ca.ClientConfig(alice)); (err == nil) != ok {
			t.Errorf("at %s: %v", at, err)
		}
	}
}

func TestClientRefusesARevokedServer(t *testing.T) {
	ca := pkitest.New(t)
	pair := ca.Server(t, "127.0.0.1")
	config, err := pair.WriteFiles(t, t.TempDir(), ca).ServerConfig()
	if err != nil {
		t.Fatal(err)
	}
	serial := []*big.Int{pair.Leaf.SerialNumber}
	old := time.Now().Add(-time.Hour)
	for _, test := range []struct {
		name string
		crls []byte
		is   error
	}{
		{"nobody is revoked", ca.CRL(t), nil},
		{"revoked", ca.CRL(t, serial...), live.ErrRevoked},
		// It could fetch no newer one.
		{"out of date", ca.CRLs(t, pkitest.List{ThisUpdate: old, NextUpdate: old.Add(time.Minute)}), nil},
		{"out of date, revoked", ca.CRLs(t, pkitest.List{Revoked: serial, ThisUpdate: old, NextUpdate: old.Add(time.Minute)}), live.ErrRevoked},
		{"badly signed", ca.CRLs(t, pkitest.List{BadlySigned: true}), live.ErrStale},
		{"the intermediate is revoked", ca.CRLs(t, pkitest.List{ByRoot: true, Revoked: []*big.Int{ca.Intermediate.SerialNumber}}), live.ErrRevoked},
	} {
		files := clientFiles(t, ca, "alice")
		put(t, files.CRL, test.crls)
		client, err := files.ClientConfig()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := dial(t, config, client); !errors.Is(err, test.is) || (err == nil) != (test.is == nil) {
			t.Errorf("%s: %v, want %v", test.name, err, test.is)
		}
	}
}

func TestCheckSaysThatOursIsRevoked(t *testing.T) {
	ca := pkitest.New(t)
	pair := ca.Client(t, "alice")
	files := pair.WriteFiles(t, t.TempDir(), ca)
	old := time.Now().Add(-time.Hour)
	put(t, files.CRL, ca.CRLs(t, pkitest.List{Revoked: []*big.Int{pair.Leaf.SerialNumber}, Reason: 4, RevokedAt: old, ThisUpdate: old, NextUpdate: old}))
	want := files.Cert + ` of "alice" was revoked on ` + old.UTC().Format("2006-01-02 15:04 UTC") + " (superseded)"
	if err := files.Check(live.Client, time.Now()); !errors.Is(err, live.ErrRevoked) || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	put(t, files.CRL, ca.CRLs(t, pkitest.List{BadlySigned: true}))
	if err := files.Check(live.Client, time.Now()); err != nil {
		t.Errorf("a list that says nothing: %v", err)
	}
}

// A list that is good for as long as its issuer: who has expired since is on none.
func TestListOfAnExpiredIntermediate(t *testing.T) {
	ca := pkitest.New(t)
	crls := live.ParseCRLs(ca.CRL(t), []*x509.Certificate{ca.Root}, ca.Intermediate.NotAfter.Add(time.Hour))
	if problems := crls.Problems(time.Now()); len(problems) > 0 {
		t.Error(problems)
	}
}

// The decision is made on every call.
func TestAcceptsAllocatesNothing(t *testing.T) {
	ca := pkitest.New(t)
	l := loaded(t, ca, ca.CRLs(t, pkitest.List{Revoked: serials(1000)}, pkitest.List{ByRoot: true}), ca.Root)
	peer, now := peerOf(t, ca.Client(t, "alice"), ca.Root), time.Now()
	if n := testing.AllocsPerRun(1000, func() {
		if err := l.Accepts(peer, now); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// With 10,000 revoked certificates, by the intermediate, and the root's list.
func BenchmarkAccepts(b *testing.B) {
	ca := pkitest.New(b)
	l := loaded(b, ca, ca.CRLs(b, pkitest.List{Revoked: serials(10_000)}, pkitest.List{ByRoot: true}), ca.Root)
	peer, now := peerOf(b, ca.Client(b, "alice"), ca.Root), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if err := l.Accepts(peer, now); err != nil {
			b.Fatal(err)
		}
	}
}

// What a reload takes with 10,000 revoked certificates.
func BenchmarkParseCRLs(b *testing.B) {
	ca := pkitest.New(b)
	data, roots, now := ca.CRL(b, serials(10_000)...), []*x509.Certificate{ca.Root}, time.Now()
	for b.Loop() {
		if problems := live.ParseCRLs(data, roots, now).Problems(now); len(problems) > 0 {
			b.Fatal(problems)
		}
	}
}

// Whatever else the file holds, a good list in it counts, or everything is closed.
// The CA is always the same, so that what is found once is found again.
func FuzzParseCRLs(f *testing.F) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	roots, err := live.ReadCertificates(filepath.Join("testdata", "root.pem"))
	if err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join("testdata", "crl.pem"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(""))
	f.Add(good)
	f.Add(good[:200])
	f.Add([]byte("-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		lists := live.ParseCRLs(append(bytes.Clone(good), data...), roots, now)
		all := lists.Lists(now)
		if broken := len(all) == 0 && len(lists.Problems(now)) == 1; broken {
			return
		}
		if len(all) == 0 || all[0].Problem != nil || all[0].Revoked != 2 {
			t.Errorf("the good list is %+v", all)
		}
	})
}
