package client

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/footprintai/containarium/pki/live"
)

// Credentials are what a server's files hold, in memory.
type Credentials = live.PEM

// source gives what the server's files or the caller's memory hold now. Where that
// is bad, or half written, it gives what they held when they were good last: a
// renewal that went wrong ends no connection before the old certificate does.
type source struct {
	// read returns nil without an error where there is nothing new. It is not called
	// twice at once.
	read func() (*live.Loaded, error)
	now  func() time.Time

	mu     sync.Mutex
	loaded *live.Loaded
}

// newSource fails closed: at first there is nothing to fall back to.
func newSource(read func() (*live.Loaded, error), now func() time.Time) (*source, error) {
	loaded, err := read()
	return &source{read: read, now: now, loaded: loaded}, err
}

// fromFiles reads the files where their signature is another than when they were
// good last.
func fromFiles(files live.Files, now func() time.Time) func() (*live.Loaded, error) {
	last := ""
	return func() (*live.Loaded, error) {
		// Taken before the files are read: what changes meanwhile is seen next time.
		signature := files.Signature()
		if signature == last {
			return nil, nil //nolint:nilnil // as before
		}
		loaded, err := files.Load(live.Client, now())
		if err == nil {
			last = signature
		}
		return loaded, err
	}
}

// fromMemory asks get, once in lookEvery at most.
func fromMemory(get func() (Credentials, error), now func() time.Time) func() (*live.Loaded, error) {
	var asked time.Time
	var last *Credentials
	return func() (*live.Loaded, error) {
		if age := now().Sub(asked); age >= 0 && age < lookEvery {
			return nil, nil //nolint:nilnil // as before
		}
		asked = now()
		got, err := get()
		if err != nil {
			return nil, fmt.Errorf("get the credentials: %w", err)
		}
		// Whoever gave them may overwrite them.
		got = Credentials{Cert: bytes.Clone(got.Cert), Key: bytes.Clone(got.Key), CA: bytes.Clone(got.CA), CRL: bytes.Clone(got.CRL)}
		if last != nil && equal(got, *last) {
			return nil, nil //nolint:nilnil // as before
		}
		loaded, err := got.Parse(live.Client, now())
		if err != nil {
			return nil, fmt.Errorf("the credentials: %w", err)
		}
		last = &got
		return loaded, nil
	}
}

func equal(a, b Credentials) bool {
	return bytes.Equal(a.Cert, b.Cert) && bytes.Equal(a.Key, b.Key) && bytes.Equal(a.CA, b.CA) && bytes.Equal(a.CRL, b.CRL) && (a.CRL == nil) == (b.CRL == nil)
}

// get returns the same value until there is something else.
func (s *source) get() *live.Loaded {
	s.mu.Lock()
	defer s.mu.Unlock()
	if loaded, err := s.read(); err == nil && loaded != nil && !same(loaded, s.loaded) {
		s.loaded = loaded
	}
	return s.loaded
}

func same(a, b *live.Loaded) bool {
	return bytes.Equal(bytes.Join(a.Pair.Certificate, nil), bytes.Join(b.Pair.Certificate, nil)) &&
		bytes.Equal(a.RootsPEM, b.RootsPEM) && bytes.Equal(a.CRLsPEM, b.CRLsPEM) && (a.CRLs == nil) == (b.CRLs == nil)
}

// sourceCredentials make each handshake with what the source gives then.
type sourceCredentials struct {
	credentials.TransportCredentials
	source *source
}

func (s *source) credentials() credentials.TransportCredentials {
	return &sourceCredentials{credentials.NewTLS(s.loaded.ClientConfig(s.now)), s}
}

func (c *sourceCredentials) Clone() credentials.TransportCredentials {
	return &sourceCredentials{c.TransportCredentials.Clone(), c.source}
}

func (c *sourceCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return credentials.NewTLS(c.source.get().ClientConfig(c.source.now)).ClientHandshake(ctx, authority, raw)
}
