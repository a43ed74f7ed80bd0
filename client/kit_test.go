package client_test

import (
	"io"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/pki/pkitest"
)

// serveWith runs a server of the CA with what register registers, until the test
// ends, and returns its address.
func serveWith(t testing.TB, ca *pkitest.CA, register func(*grpc.Server), opts ...grpc.ServerOption) string {
	t.Helper()
	config, err := ca.Server(t, "127.0.0.1").WriteFiles(t, t.TempDir(), ca).ServerConfig()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(append(opts, grpc.Creds(credentials.NewTLS(config)))...)
	register(server)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Errorf("the server: %v", err)
		}
	})
	return listener.Addr().String()
}

// dialWith dials until the test ends.
func dialWith(t testing.TB, server client.Server, opts ...client.Option) *client.Client {
	t.Helper()
	c, err := client.Dial(server, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func dialDaemon(t testing.TB, d *daemontest.Daemon, cn string, opts ...client.Option) *client.Client {
	t.Helper()
	return dialWith(t, with(client.Server{Name: "jump-1", Address: d.Address}, d.ClientFiles(t, cn)), opts...)
}

// front stands before a server, as a host does whose daemon comes and goes: it has
// one address all the time, and hangs up while there is no server behind it.
type front struct {
	address string

	mu      sync.Mutex
	behind  string
	open    map[net.Conn]bool
	refused chan struct{} // one for each connection that met nobody
}

func newFront(t testing.TB) *front {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{address: listener.Addr().String(), open: map[net.Conn]bool{}, refused: make(chan struct{}, 1000)}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { f.carry(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		f.to("")
		f.cut()
		running.Wait()
	})
	return f
}

// to has new connections go to a server; "" is none.
func (f *front) to(server string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.behind = server
}

// cut breaks all connections.
func (f *front) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for conn := range f.open {
		_ = conn.Close()
	}
}

func (f *front) carry(conn net.Conn) {
	defer conn.Close() //nolint:errcheck // whatever becomes of it
	f.mu.Lock()
	server, err := net.Conn(nil), error(nil)
	if f.behind != "" {
		server, err = net.Dial("tcp", f.behind)
	}
	if server != nil && err == nil {
		f.open[conn], f.open[server] = true, true
	}
	f.mu.Unlock()
	if server == nil || err != nil {
		f.refused <- struct{}{}
		return
	}
	defer server.Close() //nolint:errcheck // whatever becomes of it
	back := make(chan struct{})
	go func() {
		_, _ = io.Copy(conn, server)
		_ = conn.Close()
		close(back)
	}()
	_, _ = io.Copy(server, conn)
	_ = server.Close()
	<-back
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, conn)
	delete(f.open, server)
}

// waitRefused waits for a connection that meets nobody.
func (f *front) waitRefused(t testing.TB) {
	t.Helper()
	select {
	case <-f.refused:
	case <-t.Context().Done():
		t.Fatal("nobody came")
	}
}
