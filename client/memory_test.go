package client_test

import (
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/pki/identity"
	"github.com/footprintai/containarium/pki/live"
	"github.com/footprintai/containarium/pki/pkitest"
)

// store is a secret store: what it hands out, and how often it was asked.
type store struct {
	mu    sync.Mutex
	holds client.Credentials
	fails error
	asked int
}

func (s *store) get() (client.Credentials, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return s.holds, s.fails
}

func (s *store) put(holds client.Credentials, fails error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holds, s.fails = holds, fails
}

// credentialsOf reads what the files of a pair would hold.
func credentialsOf(t testing.TB, pair pkitest.Pair, ca *pkitest.CA) client.Credentials {
	t.Helper()
	files := pair.WriteFiles(t, t.TempDir(), ca)
	read := func(path string) []byte {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	return client.Credentials{Cert: read(files.Cert), Key: read(files.Key), CA: read(files.CA)}
}

// Credentials in memory are followed as files are: new ones count from the next
// look on, a second after the last, and bad ones change nothing.
func TestCredentialsInMemory(t *testing.T) {
	clock := newClock()
	ca := pkitest.NewAt(t, clock.Now)
	server := serveGuarded(t, ca, clock)
	pair := ca.Client(t, "alice")
	s := &store{holds: credentialsOf(t, pair, ca)}
	// Files that are named as well are not looked at.
	c := dialWith(t, client.Server{Name: "jump-1", Address: server.address, Cert: "/none", Key: "/none", CA: "/none"},
		client.WithClock(clock.Now), client.WithCredentials(s.get))
	if got := c.Server(); got != (client.Server{Name: "jump-1", Address: server.address}) {
		t.Errorf("the server has files: %+v", got)
	}
	call := func() {
		t.Helper()
		if err := get(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	renewed := ca.Client(t, "alice")
	s.put(credentialsOf(t, renewed, ca), nil)
	for range 100 {
		call()
	}
	if open, _ := server.serials(); s.asked != 1 || len(open) != 1 || open[identity.Serial(pair.Leaf)] != 1 {
		t.Errorf("within one second asked %d times, and calls over %v", s.asked, open)
	}
	clock.add(time.Second)
	server.serves(t, c, renewed.Leaf)

	// A store may use its memory again.
	again := ca.Client(t, "alice")
	good := credentialsOf(t, again, ca)
	s.mu.Lock()
	s.holds.Cert = append(s.holds.Cert[:0], good.Cert...)
	s.holds.Key = append(s.holds.Key[:0], good.Key...)
	s.mu.Unlock()
	clock.add(time.Second)
	server.serves(t, c, again.Leaf)

	noKey, otherKey, cutOff := good, good, good
	noKey.Key, otherKey.Key, cutOff.CA = nil, credentialsOf(t, renewed, ca).Key, good.CA[:100]
	for name, bad := range map[string]client.Credentials{
		"no key": noKey, "key of another": otherKey, "roots cut off": cutOff, "nothing": {},
		"a server's": credentialsOf(t, ca.Server(t, "127.0.0.1"), ca),
	} {
		s.put(bad, nil)
		for range 3 {
			clock.add(time.Second)
			call()
		}
		server.closeConnections(true)
		server.until(t, again.Leaf, func() { _ = get(t.Context(), c) })
		if open, _ := server.serials(); len(open) != 1 {
			t.Errorf("%s: %v", name, open)
		}
	}
	s.put(client.Credentials{}, errors.New("the store is away"))
	clock.add(time.Second)
	server.serves(t, c, again.Leaf)
	s.put(credentialsOf(t, pair, ca), nil)
	clock.add(time.Second)
	server.serves(t, c, pair.Leaf)
}

// Dial fails closed, as with files, and says which part is wrong but not what is
// in it.
func TestCredentialsRefused(t *testing.T) {
	ca := pkitest.New(t)
	good := credentialsOf(t, ca.Client(t, "alice"), ca)
	change := func(f func(*client.Credentials)) client.Credentials {
		c := good
		f(&c)
		return c
	}
	for name, test := range map[string]struct {
		holds client.Credentials
		fails error
		want  string
	}{
		"store":              {fails: errors.New("sealed"), want: "jump-1: get the credentials: sealed"},
		"nothing":            {want: "jump-1: the credentials: Cert holds no certificate"},
		"no key":             {holds: change(func(c *client.Credentials) { c.Key = nil }), want: "jump-1: the credentials: Key is not the key of the certificate in Cert"},
		"no roots":           {holds: change(func(c *client.Credentials) { c.CA = nil }), want: "jump-1: the credentials: CA holds no certificate"}, // never the system's
		"leaf as root":       {holds: change(func(c *client.Credentials) { c.CA = c.Cert }), want: "jump-1: the credentials: CA has a certificate that is not a CA's: "},
		"key as root":        {holds: change(func(c *client.Credentials) { c.CA = c.Key }), want: `jump-1: the credentials: CA has a "PRIVATE KEY" among`},
		"server certificate": {holds: credentialsOf(t, ca.Server(t, "127.0.0.1"), ca), want: "jump-1: the credentials: Cert is a server certificate, not a client certificate"},
	} {
		s := &store{holds: test.holds, fails: test.fails}
		c, err := client.Dial(client.Server{Name: "jump-1", Address: "127.0.0.1:1"}, client.WithCredentials(s.get))
		if err == nil {
			t.Errorf("%s: dialled", name)
			_ = c.Close()
			continue
		}
		if !strings.HasPrefix(err.Error(), test.want) || strings.ContainsAny(err.Error(), "\n") || strings.Contains(err.Error(), "BEGIN") {
			t.Errorf("%s: %q, want %q", name, err, test.want)
		}
	}
}

// Revocation lists in memory count as those in a file do: a server on one is
// refused, and one that can not be read closes all.
func TestCredentialsWithLists(t *testing.T) {
	ca := pkitest.New(t)
	pair := ca.Server(t, "127.0.0.1")
	address := serve(t, serverConfig(t, pair, ca), nil)
	for name, test := range map[string]struct {
		crl  []byte
		want error
	}{
		"none":       {nil, nil},
		"of another": {ca.CRL(t, ca.Client(t, "bob").Leaf.SerialNumber), nil},
		"the server": {ca.CRL(t, pair.Leaf.SerialNumber), live.ErrRevoked},
		"an empty":   {[]byte{}, live.ErrStale},
	} {
		holds := credentialsOf(t, ca.Client(t, "alice"), ca)
		holds.CRL = test.crl
		c := dialWith(t, client.Server{Address: address}, client.WithCredentials((&store{holds: holds}).get))
		if err := get(t.Context(), c); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}
