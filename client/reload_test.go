package client_test

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/pki/identity"
	"github.com/footprintai/containarium/pki/live"
	"github.com/footprintai/containarium/pki/pkitest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// clock is what a test sets forward.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

func (c *clock) add(d time.Duration) { c.set(c.Now().Add(d)) }

// guarded is a server that does what the daemon does: it closes a connection when
// the certificate that it was made with expires, here when told that time went on.
type guarded struct {
	credentials.TransportCredentials
	pb.UnimplementedContainerServiceServer
	address string
	clock   *clock
	// hold ends the streams.
	hold chan struct{}

	mu      sync.Mutex
	open    map[*guardedConn]bool
	opened  int
	served  string        // the certificate that the last unary call came with
	changed chan struct{} // closed when a connection was opened or closed
}

type guardedConn struct {
	net.Conn
	server *guarded
	id     identity.Identity
}

func serveGuarded(t *testing.T, ca *pkitest.CA, clock *clock) *guarded {
	t.Helper()
	return serveFiles(t, serverFiles(t, ca), clock, func(*grpc.Server) {})
}

func serverFiles(t *testing.T, ca *pkitest.CA) live.Files {
	t.Helper()
	template := ca.ServerTemplate("127.0.0.1")
	pkitest.Lifetime(20 * time.Hour)(template) // whatever the clients' are
	return ca.Issue(t, template).WriteFiles(t, t.TempDir(), ca)
}

func serveFiles(t *testing.T, files live.Files, clock *clock, register func(*grpc.Server)) *guarded {
	t.Helper()
	loaded, err := files.Load(live.Server, clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &guarded{
		TransportCredentials: credentials.NewTLS(live.ServerConfig(func() *live.Loaded { return loaded }, clock.Now)),
		address:              listener.Addr().String(), clock: clock, hold: make(chan struct{}),
		open: map[*guardedConn]bool{}, changed: make(chan struct{}),
	}
	server := grpc.NewServer(grpc.Creds(g))
	pb.RegisterContainerServiceServer(server, g)
	register(server)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Errorf("the server: %v", err)
		}
	})
	return g
}

func (g *guarded) Clone() credentials.TransportCredentials { return g }

func (g *guarded) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := g.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	tlsInfo, ok := info.(credentials.TLSInfo)
	if !ok {
		return nil, nil, errors.New("not TLS")
	}
	id, err := identity.FromVerified(tlsInfo.State)
	if err != nil {
		return nil, nil, err
	}
	c := &guardedConn{Conn: conn, server: g, id: id}
	g.note(func() { g.open[c] = true; g.opened++ })
	return c, info, nil
}

func (c *guardedConn) Close() error {
	c.server.note(func() { delete(c.server.open, c) })
	return c.Conn.Close()
}

func (g *guarded) note(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
	close(g.changed)
	g.changed = make(chan struct{})
}

// serials are the certificates of the connections that are open.
func (g *guarded) serials() (map[string]int, chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := map[string]int{}
	for c := range g.open {
		all[c.id.Serial]++
	}
	return all, g.changed
}

// until waits for connections with that certificate, and no other.
func (g *guarded) until(t *testing.T, want *x509.Certificate, then func()) {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		open, changed := g.serials()
		if len(open) == 1 && open[identity.Serial(want)] > 0 {
			return
		}
		then()
		select {
		case <-changed:
		case <-time.After(time.Millisecond): // what is missing may be another call
		case <-late:
			t.Fatalf("open are connections of %v, want %s alone", open, identity.Serial(want))
		}
	}
}

// serves calls until a call comes with that certificate.
func (g *guarded) serves(t *testing.T, c *client.Client, want *x509.Certificate) {
	t.Helper()
	for late := time.Now().Add(20 * time.Second); ; {
		if err := get(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		g.mu.Lock()
		served := g.served
		g.mu.Unlock()
		if served == identity.Serial(want) {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("calls still come with %s", served)
		}
	}
}

// closeConnections closes those that expired, or all.
func (g *guarded) closeConnections(all bool) {
	g.mu.Lock()
	var over []*guardedConn
	for c := range g.open {
		if all || g.clock.Now().After(c.id.NotAfter) {
			over = append(over, c)
		}
	}
	g.mu.Unlock()
	for _, c := range over {
		_ = c.Close()
	}
}

func (g *guarded) GetContainer(ctx context.Context, _ *pb.GetContainerRequest) (*pb.GetContainerResponse, error) {
	p, _ := peer.FromContext(ctx)
	if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
		g.mu.Lock()
		g.served = identity.Serial(info.State.PeerCertificates[0])
		g.mu.Unlock()
	}
	return &pb.GetContainerResponse{Container: &pb.Container{Username: "alice"}}, nil
}

func (g *guarded) CreateContainerStream(_ *pb.CreateContainerStreamRequest, stream grpc.ServerStreamingServer[pb.CreateContainerStreamResponse]) error {
	if err := stream.Send(&pb.CreateContainerStreamResponse{}); err != nil {
		return err
	}
	select {
	case <-g.hold:
		return nil
	case <-stream.Context().Done():
		return stream.Context().Err()
	}
}

func dialAt(t *testing.T, address string, files live.Files, clock *clock) *client.Client {
	t.Helper()
	return dialWith(t, with(client.Server{Name: "jump-1", Address: address}, files), client.WithClock(clock.Now))
}

// renew puts a new key and certificate in the place of the old ones, one after
// the other, so that for a moment they do not fit together.
func renew(t *testing.T, files live.Files, pair pkitest.Pair, ca *pkitest.CA) {
	t.Helper()
	made := pair.WriteFiles(t, t.TempDir(), ca)
	for from, to := range map[string]string{made.Key: files.Key, made.Cert: files.Cert} {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		temp := filepath.Join(filepath.Dir(to), "temp")
		if err := os.WriteFile(temp, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(temp, to); err != nil {
			t.Fatal(err)
		}
	}
}

// Ten lifetimes of a client that calls all the time, at a server that closes
// connections when their certificate expires.
func TestRenewedFilesWithoutAFailedCall(t *testing.T) {
	clock := newClock()
	ca := pkitest.NewAt(t, clock.Now)
	issue := func() pkitest.Pair { return ca.Client(t, "alice", pkitest.Lifetime(5*time.Minute)) }
	server := serveGuarded(t, ca, clock)
	pair := issue()
	files := pair.WriteFiles(t, t.TempDir(), ca)
	c := dialAt(t, server.address, files, clock)

	var calls atomic.Int64
	stop := make(chan struct{})
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := get(t.Context(), c); err != nil {
					t.Errorf("after %d calls: %v", calls.Load(), err)
					return
				}
				calls.Add(1)
			}
		})
	}
	server.until(t, pair.Leaf, func() {})
	for range 10 {
		old := pair
		clock.set(old.Leaf.NotAfter.Add(-100 * time.Second)) // two thirds of five minutes
		pair = issue()
		renew(t, files, pair, ca)
		clock.add(2 * time.Second) // a look may have met the files half written
		server.until(t, pair.Leaf, func() {})
		if !clock.Now().Before(old.Leaf.NotAfter) {
			t.Fatal("the old certificate was used up to its end")
		}
		clock.set(old.Leaf.NotAfter.Add(time.Second))
		server.closeConnections(false)
		server.until(t, pair.Leaf, func() {})
	}
	close(stop)
	callers.Wait()
	t.Logf("%d calls", calls.Load())
}

// A stream stays on the connection that it began on, which is closed after it.
func TestStreamOutlivesARenewal(t *testing.T) {
	clock := newClock()
	ca := pkitest.NewAt(t, clock.Now)
	server := serveGuarded(t, ca, clock)
	old := ca.Client(t, "alice")
	files := old.WriteFiles(t, t.TempDir(), ca)
	c := dialAt(t, server.address, files, clock)
	for name, end := range map[string]func(cancel func(), stream pb.ContainerService_CreateContainerStreamClient) error{
		"by the server": func(_ func(), stream pb.ContainerService_CreateContainerStreamClient) error {
			server.hold <- struct{}{}
			_, err := stream.Recv()
			return err
		},
		// Whoever cancels need not read on.
		"by the caller": func(cancel func(), _ pb.ContainerService_CreateContainerStreamClient) error {
			cancel()
			return nil
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := c.Containers.CreateContainerStream(ctx, &pb.CreateContainerStreamRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		renewed := ca.Client(t, "alice")
		renew(t, files, renewed, ca)
		clock.add(time.Second)
		server.serves(t, c, renewed.Leaf)
		if open, _ := server.serials(); open[identity.Serial(old.Leaf)] != 1 {
			t.Fatalf("%s: the stream's connection was closed under it: %v", name, open)
		}
		if err := end(cancel, stream); err != nil && err.Error() != "EOF" {
			t.Errorf("%s: %v", name, err)
		}
		server.until(t, renewed.Leaf, func() {})
		cancel()
		old = renewed
	}
}

// What is in the files counts at the next look, a second after the last, and not
// before.
func TestFilesAreLookedAtOnceASecond(t *testing.T) {
	clock := newClock()
	ca := pkitest.NewAt(t, clock.Now)
	server := serveGuarded(t, ca, clock)
	old := ca.Client(t, "alice")
	files := old.WriteFiles(t, t.TempDir(), ca)
	c := dialAt(t, server.address, files, clock)
	renewed := ca.Client(t, "alice")
	call := func() {
		if err := get(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	call()
	renew(t, files, renewed, ca)
	for range 100 {
		call()
	}
	if open, _ := server.serials(); len(open) != 1 || open[identity.Serial(old.Leaf)] != 1 {
		t.Errorf("within the same second: %v", open)
	}
	clock.add(time.Second)
	server.serves(t, c, renewed.Leaf)
	// A touch brings nothing new, so no connection.
	if err := os.Chtimes(files.Cert, time.Now(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		clock.add(time.Second)
		call()
	}
	server.mu.Lock()
	defer server.mu.Unlock()
	if server.opened != 2 {
		t.Errorf("%d connections, want one for each certificate", server.opened)
	}
}

// A connection that breaks is made again with what the files hold then.
func TestHandshakeReadsTheFiles(t *testing.T) {
	clock := newClock()
	ca := pkitest.NewAt(t, clock.Now)
	server := serveGuarded(t, ca, clock)
	files := ca.Client(t, "alice").WriteFiles(t, t.TempDir(), ca)
	c := dialAt(t, server.address, files, clock)
	if err := get(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	renewed := ca.Client(t, "alice")
	renew(t, files, renewed, ca)
	server.closeConnections(true)
	server.until(t, renewed.Leaf, func() { _ = get(t.Context(), c) }) // in the second of the last look
}

// Files that are bad change nothing: neither calls nor new connections.
func TestBadFilesAreNotTaken(t *testing.T) {
	clock := newClock()
	ca := pkitest.NewAt(t, clock.Now)
	server := serveGuarded(t, ca, clock)
	pair := ca.Client(t, "alice")
	files := pair.WriteFiles(t, t.TempDir(), ca)
	c := dialAt(t, server.address, files, clock)
	call := func() {
		t.Helper()
		clock.add(time.Second)
		if err := get(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	call()
	for name, spoil := range map[string]func() error{
		"half a certificate": func() error { return os.Truncate(files.Cert, 100) },
		"no key":             func() error { return os.Remove(files.Key) },
		"open to others":     func() error { return os.Chmod(files.CA, 0o666) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		call()
		server.closeConnections(true)
		// A call that comes before the client notices fails.
		_, _ = c.Containers.GetContainer(t.Context(), &pb.GetContainerRequest{Username: "alice"}, grpc.WaitForReady(true))
		call()
		if open, _ := server.serials(); len(open) != 1 || open[identity.Serial(pair.Leaf)] == 0 {
			t.Errorf("%s: %v", name, open)
		}
		pair.WriteFiles(t, filepath.Dir(files.Cert), ca)
	}
}

// A new certificate that the server refuses keeps no call from the old
// connection, as long as the old certificate is good.
func TestRefusedRenewalKeepsTheOldConnection(t *testing.T) {
	clock := newClock()
	ca := pkitest.NewAt(t, clock.Now)
	server := serveGuarded(t, ca, clock)
	old := ca.Client(t, "alice")
	files := old.WriteFiles(t, t.TempDir(), ca)
	c := dialAt(t, server.address, files, clock)
	if err := get(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	renew(t, files, pkitest.NewAt(t, clock.Now).Client(t, "alice"), ca)
	for range 100 {
		clock.add(time.Second)
		if err := get(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	// Mended before it is too late.
	renewed := ca.Client(t, "alice", pkitest.Lifetime(3*time.Hour))
	renew(t, files, renewed, ca)
	clock.add(time.Second)
	server.serves(t, c, renewed.Leaf)
}

// A client that slept through the renewal of its files goes on with them.
func TestRenewedAfterTheOldExpired(t *testing.T) {
	clock := newClock()
	ca := pkitest.NewAt(t, clock.Now)
	server := serveGuarded(t, ca, clock)
	old := ca.Client(t, "alice", pkitest.Lifetime(5*time.Minute))
	files := old.WriteFiles(t, t.TempDir(), ca)
	c := dialAt(t, server.address, files, clock)
	if err := get(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	clock.add(time.Hour / 2)
	renewed := ca.Client(t, "alice")
	renew(t, files, renewed, ca)
	// The server has not closed the old connection yet, and would refuse the call.
	if err := get(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	server.until(t, renewed.Leaf, func() {})
}

func TestRevokedServerIsRefused(t *testing.T) {
	clock := newClock()
	ca := pkitest.NewAt(t, clock.Now)
	pair := ca.Server(t, "127.0.0.1")
	address := serve(t, serverConfig(t, pair, ca), nil)
	files := ca.Client(t, "alice").WriteFiles(t, t.TempDir(), ca)
	c := dialAt(t, address, files, clock)
	if err := get(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files.CRL, ca.CRL(t, pair.Leaf.SerialNumber), 0o600); err != nil {
		t.Fatal(err)
	}
	err := get(t.Context(), dialAt(t, address, files, clock))
	if handshake, ok := errors.AsType[*client.HandshakeError](err); !ok || handshake.Refused || !errors.Is(err, live.ErrRevoked) {
		t.Errorf("%v", err)
	}
}
