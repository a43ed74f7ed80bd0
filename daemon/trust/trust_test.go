package trust

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/footprintai/containarium/pki/live"
	"github.com/footprintai/containarium/pki/pkitest"
)

// kit is a daemon's files under one CA, with a list of number 10 that revokes one.
type kit struct {
	ca      *pkitest.CA
	files   live.Files
	revoked *big.Int
	log     bytes.Buffer
	writes  int
}

func newKit(t *testing.T) *kit {
	t.Helper()
	k := &kit{ca: pkitest.New(t)}
	k.revoked = k.ca.Client(t, "alice").Leaf.SerialNumber
	dir := t.TempDir()
	k.files = k.ca.Server(t, "127.0.0.1").WriteFiles(t, dir, k.ca)
	k.files.CRL = filepath.Join(dir, "crl.pem")
	put(t, k.files.CRL, k.ca.CRLs(t, k.list(10)))
	return k
}

// list revokes one, under that number.
func (k *kit) list(number int64) pkitest.List {
	return pkitest.List{Number: big.NewInt(number), Revoked: []*big.Int{k.revoked}}
}

func put(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// follower takes bundles from a function.
func (k *kit) follower(source func() (Bundle, error)) *Follower {
	log := logrus.New()
	log.SetOutput(&k.log)
	return New(Config{
		From: "jump-1:50051", Source: func(context.Context) (Bundle, error) { return source() }, Files: k.files, Interval: time.Second,
		Publish: func(write func() error) error { k.writes++; return write() }, Now: time.Now, Log: log,
	})
}

// offer has a follower take a bundle.
func (k *kit) offer(t *testing.T, b Bundle) error {
	t.Helper()
	return k.follower(func() (Bundle, error) { return b, nil }).Sync(t.Context())
}

func TestNewerListsAndMoreRootsAreTaken(t *testing.T) {
	k := newKit(t)
	next := pkitest.New(t)
	b := Bundle{Roots: pkitest.PEM(k.ca.Root, next.Root), CRLs: append(k.ca.CRLs(t, k.list(11)), next.CRL(t)...)}
	if err := k.offer(t, b); err != nil {
		t.Fatal(err)
	}
	if get(t, k.files.CA) != string(b.Roots) || get(t, k.files.CRL) != string(b.CRLs) || k.writes != 1 {
		t.Errorf("the files are not what was offered, after %d writes", k.writes)
	}
	if info, err := os.Stat(k.files.CRL); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	// What is there already is not written again.
	if err := k.offer(t, b); err != nil || k.writes != 1 {
		t.Errorf("%v, %d writes", err, k.writes)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(k.files.CA), ".trust-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Whatever is wrong with a bundle, nothing of it is taken.
func TestBundlesThatAreRefused(t *testing.T) {
	k := newKit(t)
	other := pkitest.New(t)
	roots, lists := pkitest.PEM(k.ca.Root), k.ca.CRLs(t, k.list(11))
	for name, test := range map[string]struct {
		offered Bundle
		want    string
	}{
		"nothing":                      {Bundle{}, "holds no certificate"},
		"no PEM":                       {Bundle{Roots: []byte("x"), CRLs: lists}, "holds no certificate"},
		"too large":                    {Bundle{Roots: bytes.Repeat([]byte("x"), maxRoots+1)}, "larger than"},
		"a leaf among the roots":       {Bundle{Roots: append(bytes.Clone(roots), pkitest.PEM(k.ca.Client(t, "x").Leaf)...), CRLs: lists}, "not a CA's"},
		"an intermediate as root":      {Bundle{Roots: append(bytes.Clone(roots), pkitest.PEM(k.ca.Intermediate)...), CRLs: lists}, "is not signed by itself"},
		"roots that lock us out":       {Bundle{Roots: pkitest.PEM(other.Root), CRLs: other.CRL(t)}, "nobody would accept this daemon"},
		"roots that lock the CA out":   {Bundle{Roots: roots, CRLs: lists, Chain: chain(other.Server(t, "x"), other)}, "could not be asked again"},
		"no lists":                     {Bundle{Roots: roots}, "there are no revocation lists in it, and this daemon has some"},
		"a damaged list":               {Bundle{Roots: roots, CRLs: lists[:len(lists)/3]}, "damaged"},
		"a badly signed list":          {Bundle{Roots: roots, CRLs: k.ca.CRLs(t, pkitest.List{BadlySigned: true})}, "badly signed"},
		"another CA's list":            {Bundle{Roots: roots, CRLs: append(bytes.Clone(lists), other.CRL(t)...)}, "not trusted"},
		"an expired list":              {Bundle{Roots: roots, CRLs: k.ca.CRLs(t, pkitest.List{ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(-time.Minute)})}, "expired"},
		"a list of a lower number":     {Bundle{Roots: roots, CRLs: k.ca.CRLs(t, k.list(9))}, "is number 9 of"},
		"a list of an earlier instant": {Bundle{Roots: roots, CRLs: k.ca.CRLs(t, pkitest.List{Number: big.NewInt(11), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)})}, "older than ours"},
	} {
		t.Run(name, func(t *testing.T) {
			ca, crl := get(t, k.files.CA), get(t, k.files.CRL)
			err := k.offer(t, test.offered)
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %s", err, test.want)
			}
			if get(t, k.files.CA) != ca || get(t, k.files.CRL) != crl || k.writes > 0 {
				t.Error("something was written")
			}
		})
	}
}

func chain(pair pkitest.Pair, ca *pkitest.CA) []*x509.Certificate {
	return []*x509.Certificate{pair.Leaf, ca.Intermediate}
}

// An expired list of ours still says how far its issuer had come.
func TestRollbackBehindAnExpiredListIsRefused(t *testing.T) {
	k := newKit(t)
	old := k.list(10)
	old.ThisUpdate, old.NextUpdate = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	put(t, k.files.CRL, k.ca.CRLs(t, old))
	if err := k.offer(t, Bundle{Roots: pkitest.PEM(k.ca.Root), CRLs: k.ca.CRLs(t, k.list(9))}); !errors.Is(err, ErrRefused) {
		t.Errorf("a lower number: %v", err)
	}
	if err := k.offer(t, Bundle{Roots: pkitest.PEM(k.ca.Root), CRLs: k.ca.CRLs(t, k.list(11))}); err != nil {
		t.Errorf("a higher number: %v", err)
	}
}

// A daemon whose own certificate has expired still hears who is revoked.
func TestListsAreTakenWithAnExpiredCertificate(t *testing.T) {
	k := newKit(t)
	template := k.ca.ServerTemplate("127.0.0.1")
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(-time.Minute)
	k.ca.Issue(t, template).WriteFiles(t, filepath.Dir(k.files.CA), k.ca)
	if err := k.offer(t, Bundle{Roots: pkitest.PEM(k.ca.Root), CRLs: k.ca.CRLs(t, k.list(11))}); err != nil {
		t.Error(err)
	}
	other := pkitest.New(t)
	if err := k.offer(t, Bundle{Roots: pkitest.PEM(other.Root), CRLs: other.CRL(t)}); !errors.Is(err, ErrRefused) {
		t.Errorf("roots that do not vouch for it: %v", err)
	}
}

// A bundle that lacks one of our lists brings nobody back, as long as that list is
// good and its issuer is trusted.
func TestAListThatTheBundleLacksStays(t *testing.T) {
	k := newKit(t)
	next := pkitest.New(t)
	stolen := next.Client(t, "bob").Leaf.SerialNumber
	both := pkitest.PEM(k.ca.Root, next.Root)
	put(t, k.files.CA, both)
	put(t, k.files.CRL, append(k.ca.CRLs(t, k.list(10)), next.CRL(t, stolen)...))
	for n := range int64(3) {
		if err := k.offer(t, Bundle{Roots: both, CRLs: k.ca.CRLs(t, k.list(11+n))}); err != nil {
			t.Fatal(err)
		}
		crls := live.ParseCRLs([]byte(get(t, k.files.CRL)), []*x509.Certificate{k.ca.Root, next.Root}, time.Now())
		if lists := crls.Lists(time.Now()); len(lists) != 2 || lists[1].Revoked != 1 || len(crls.Problems(time.Now())) > 0 {
			t.Errorf("lists %v", lists)
		}
	}
	// With its root, the list goes.
	if err := k.offer(t, Bundle{Roots: pkitest.PEM(k.ca.Root), CRLs: k.ca.CRLs(t, k.list(20))}); err != nil {
		t.Fatal(err)
	}
	if lists := live.ParseCRLs([]byte(get(t, k.files.CRL)), []*x509.Certificate{k.ca.Root}, time.Now()).Lists(time.Now()); len(lists) != 1 {
		t.Errorf("lists %v", lists)
	}
}

// Revocation turns on where it was off.
func TestTheFirstLists(t *testing.T) {
	k := newKit(t)
	if err := os.Remove(k.files.CRL); err != nil {
		t.Fatal(err)
	}
	if err := k.offer(t, Bundle{Roots: pkitest.PEM(k.ca.Root)}); err != nil || k.writes > 0 {
		t.Errorf("no lists on either side: %v, %d writes", err, k.writes)
	}
	lists := k.ca.CRL(t)
	if err := k.offer(t, Bundle{Roots: pkitest.PEM(k.ca.Root), CRLs: lists}); err != nil || get(t, k.files.CRL) != string(lists) {
		t.Errorf("%v", err)
	}
}

// What is the source's own is not written, however old what was read of it.
func TestTheSourcesOwnFilesAreNotWritten(t *testing.T) {
	k := newKit(t)
	more, lists := pkitest.PEM(k.ca.Root, pkitest.New(t).Root), k.ca.CRLs(t, k.list(11))
	f := k.follower(func() (Bundle, error) { return Bundle{Roots: more, CRLs: lists}, nil })
	f.KeepRoots, f.KeepCRLs = true, true
	ca, crl := get(t, k.files.CA), get(t, k.files.CRL)
	if err := f.Sync(t.Context()); err != nil || get(t, k.files.CA) != ca || get(t, k.files.CRL) != crl || k.writes > 0 {
		t.Errorf("%v, %d writes", err, k.writes)
	}
	f.KeepRoots = false
	if err := f.Sync(t.Context()); err != nil || get(t, k.files.CA) != string(more) || get(t, k.files.CRL) != crl {
		t.Errorf("the roots alone: %v", err)
	}
}

// A file that is a link stays one.
func TestALinkStaysALink(t *testing.T) {
	k := newKit(t)
	target := filepath.Join(t.TempDir(), "lists")
	if err := errors.Join(os.Rename(k.files.CRL, target), os.Symlink(target, k.files.CRL)); err != nil {
		t.Fatal(err)
	}
	lists := k.ca.CRLs(t, k.list(11))
	if err := k.offer(t, Bundle{Roots: pkitest.PEM(k.ca.Root), CRLs: lists}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(k.files.CRL); err != nil || info.Mode().Type() != os.ModeSymlink || get(t, target) != string(lists) {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// The log has a change once, and no repeats.
func TestTheLogSaysEachChangeOnce(t *testing.T) {
	k := newKit(t)
	var answer error
	f := k.follower(func() (Bundle, error) {
		return Bundle{Roots: pkitest.PEM(k.ca.Root), CRLs: k.ca.CRLs(t, k.list(10))}, answer
	})
	for range 3 {
		_ = f.Sync(t.Context())
	}
	fetched := f.State().FetchedAt
	answer = errors.New("ask jump-1:50051: no answer")
	for range 3 {
		if err := f.Sync(t.Context()); err == nil {
			t.Error("no error")
		}
	}
	if s := f.State(); s.Err == nil || !s.FetchedAt.Equal(fetched) || s.From != "jump-1:50051" {
		t.Errorf("state %+v", s)
	}
	answer = nil
	for range 3 {
		_ = f.Sync(t.Context())
	}
	if s := f.State(); s.Err != nil || !s.FetchedAt.After(fetched) {
		t.Errorf("state %+v", s)
	}
	for text, want := range map[string]int{"level=warning": 1, "up to date again": 1, "level=error": 0} {
		if n := strings.Count(k.log.String(), text); n != want {
			t.Errorf("%q is %d times in the log, want %d:\n%s", text, n, want, k.log.String())
		}
	}
}

// A CA that is away is asked less and less often, and never quite at once by all.
func TestWaits(t *testing.T) {
	for _, test := range []struct {
		interval time.Duration
		failures int
		want     time.Duration
	}{
		{10 * time.Second, 0, 10 * time.Second},
		{10 * time.Second, 1, 20 * time.Second},
		{10 * time.Second, 2, 40 * time.Second},
		{10 * time.Second, 3, time.Minute},
		{10 * time.Second, 1000, time.Minute},
		{time.Hour, 5, time.Hour},
	} {
		f := New(Config{Interval: test.interval})
		seen := map[time.Duration]bool{}
		for range 100 {
			wait := f.wait(test.failures)
			seen[wait] = true
			if wait < test.want*9/10 || wait > test.want*11/10 {
				t.Errorf("%s after %d failures: %s", test.interval, test.failures, wait)
			}
		}
		if len(seen) < 50 {
			t.Errorf("%d different waits of 100", len(seen))
		}
	}
}
