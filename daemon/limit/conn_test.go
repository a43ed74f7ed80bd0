package limit

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	logtest "github.com/sirupsen/logrus/hooks/test"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/footprintai/containarium/pki/pkitest"
)

// told are credentials that tell the connection when its handshake is over.
type told struct {
	credentials.TransportCredentials
}

func (c told) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ServerHandshake(raw)
	if waiting, ok := raw.(*Conn); ok && err == nil {
		waiting.Done()
	}
	return conn, info, err
}

// serve runs a gRPC server behind a Listener, over TLS, until the test ends.
func serve(t *testing.T, handshakeTimeout time.Duration, config Config) (*Listener, *pkitest.CA) {
	t.Helper()
	ca := pkitest.New(t)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config.Log, _ = logtest.NewNullLogger()
	l := NewListener(inner, config)
	server := grpc.NewServer(
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.Creds(told{credentials.NewTLS(&tls.Config{
			MinVersion:   tls.VersionTLS13,
			Certificates: []tls.Certificate{ca.Server(t, "127.0.0.1").Cert},
			ClientCAs:    ca.Pool(),
			ClientAuth:   tls.RequireAndVerifyClientCert,
		})}))
	healthpb.RegisterHealthServer(server, health.NewServer())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if c := l.Counts(); c.Open != 0 || c.Handshaking != 0 || len(l.addresses) != 0 {
			t.Errorf("when the server has stopped: %+v", c)
		}
	})
	return l, ca
}

// check makes a call on a connection of its own.
func check(t *testing.T, l *Listener, ca *pkitest.CA) error {
	t.Helper()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(ca.ClientConfig(ca.Client(t, "alice")))))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	return err
}

// until waits for a condition on the counts.
func until(t *testing.T, l *Listener, what string, met func(Counts) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !met(l.Counts()) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waiting until %s: %+v", what, l.Counts())
		}
	}
}

// TestSlowHandshakes: connections that say nothing, or stop in the middle, end
// with the time-out of the handshake, and calls go through all the while.
func TestSlowHandshakes(t *testing.T) {
	const slow = 50
	l, ca := serve(t, time.Second, Config{})
	var strangers []net.Conn
	for i := range slow {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if i%2 == 0 {
			_, _ = conn.Write([]byte{22, 3, 1, 2, 0, 1}) // the begin of a ClientHello
		}
		strangers = append(strangers, conn)
	}
	until(t, l, "all are in", func(c Counts) bool { return c.Handshaking == slow })
	if err := check(t, l, ca); err != nil {
		t.Error(err)
	}
	for _, conn := range strangers {
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("a handshake without end")
		}
	}
	until(t, l, "all are gone", func(c Counts) bool { return c.Open == 0 })
	if c := l.Counts(); c.Accepted != slow+1 {
		t.Errorf("%+v", c)
	}
}

// TestHandshakeOver: who has proved who they are no longer counts as in the
// handshake, and who failed to is gone.
func TestHandshakeOver(t *testing.T) {
	l, ca := serve(t, 20*time.Second, Config{})
	config := ca.ClientConfig(ca.Client(t, "alice"))
	config.ServerName, config.NextProtos = "127.0.0.1", []string{"h2"}
	good, err := tls.Dial("tcp", l.Addr().String(), config)
	if err != nil {
		t.Fatal(err)
	}
	until(t, l, "the handshake is over", func(c Counts) bool { return c.Open == 1 && c.Handshaking == 0 })
	other := pkitest.New(t)
	foreign := ca.ClientConfig(other.Client(t, "alice"))
	foreign.ServerName, foreign.NextProtos = config.ServerName, config.NextProtos
	if bad, err := tls.Dial("tcp", l.Addr().String(), foreign); err == nil {
		t.Cleanup(func() { _ = bad.Close() })
	}
	until(t, l, "the bad one is gone", func(c Counts) bool { return c.Accepted == 2 && c.Open == 1 })
	_ = good.Close()
	until(t, l, "the good one is gone", func(c Counts) bool { return c.Open == 0 })
}

// TestSlowReader: a peer that reads nothing of what it asked for is let go of.
func TestSlowReader(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log, _ := logtest.NewNullLogger()
	l := NewListener(inner, Config{Log: log, sending: 200 * time.Millisecond})
	defer l.Close() //nolint:errcheck // the end of a test
	peer, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close() //nolint:errcheck // the end of a test
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(time.Hour)) // as that of a handshake, and it is cleared after it
	_ = conn.SetDeadline(time.Time{})
	wrote := make(chan error, 1)
	go func() {
		data := make([]byte, 64<<10)
		for {
			if _, err := conn.Write(data); err != nil {
				wrote <- err
				return
			}
		}
	}()
	select {
	case err := <-wrote:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("it is still written to")
	}
	_ = conn.Close()
}

// TestNearerDeadline: that of a handshake holds for writes, where it is nearer.
func TestNearerDeadline(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close() //nolint:errcheck // the end of a test
	k := newKit(t, Config{})
	conn, _, _ := k.enter(&peerConn{Conn: near, peer: &net.TCPAddr{}}, neighbourhood(nil))
	for _, set := range []func(time.Time) error{conn.SetDeadline, conn.SetWriteDeadline} {
		_ = set(time.Now().Add(50 * time.Millisecond))
		begin := time.Now()
		if _, err := conn.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) > sending/2 {
			t.Errorf("got %v after %v", err, time.Since(begin))
		}
	}
	k.drain(conn)
}

// TestReaderThatReads: the bound of a write moves on with the writes, so that a
// peer that takes them is never let go of.
func TestReaderThatReads(t *testing.T) {
	const bound = 100 * time.Millisecond
	near, far := net.Pipe()
	defer far.Close() //nolint:errcheck // the end of a test
	go func() { _, _ = io.Copy(io.Discard, far) }()
	k := newKit(t, Config{sending: bound})
	conn, _, _ := k.enter(&peerConn{Conn: near, peer: &net.TCPAddr{}}, neighbourhood(nil))
	pace := time.NewTicker(bound / 20)
	defer pace.Stop()
	for begin := time.Now(); time.Since(begin) < 4*bound; <-pace.C {
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatalf("after %v: %v", time.Since(begin), err)
		}
	}
	k.drain(conn)
}
