package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/footprintai/containarium/daemon/gateway"
	"github.com/footprintai/containarium/daemon/limit"
	"github.com/footprintai/containarium/pki/live"
)

// idleTimeout is how long a connection over HTTP may be without a request; a program
// that asks every minute keeps its own.
const idleTimeout = 2 * time.Minute

// both registers services with gRPC and with who calls them in this process.
type both struct{ wire, inProcess grpc.ServiceRegistrar }

func (b both) RegisterService(desc *grpc.ServiceDesc, server any) {
	b.wire.RegisterService(desc, server)
	b.inProcess.RegisterService(desc, server)
}

// serveHTTP prepares the HTTP port, where there is to be one.
func (d *Daemon) serveHTTP(inProcess *gateway.Conn) error {
	if d.config.HTTP.Address == "" {
		return nil
	}
	serve, err := gateway.New(gateway.Config{
		Conn: inProcess, Metrics: d.metrics.Handler(), Ready: d.readiness.checks, MaxBody: maxMessage,
	})
	if err != nil {
		return err
	}
	d.https, err = newHTTPS(d.config.HTTP.Address, d.listener, d.connections.registry, serve, d.log)
	return err
}

// HTTPAddr is the address of the HTTP port; nil where it is off.
func (d *Daemon) HTTPAddr() net.Addr {
	if d.https == nil {
		return nil
	}
	return d.https.listener.Addr()
}

// httpsServer is the HTTP port. Its connections pass the same handshake, limits and
// sweeps as those of gRPC.
type httpsServer struct {
	server   *http.Server
	listener *handshakes
}

// newHTTPS listens. What serves is not called before a handshake has proved who asks:
// it finds them as the gRPC peer in the context of each request.
func newHTTPS(address string, beside *limit.Listener, r *registry, serve http.Handler, log logrus.FieldLogger) (*httpsServer, error) {
	inner, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for HTTP: %w", err)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	return &httpsServer{
		server: &http.Server{
			Handler:           serve,
			ReadHeaderTimeout: handshakeTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeaders,
			Protocols:         protocols,
			HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams, SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
			ConnContext:       connContext,
			ErrorLog:          stdlog.New(logWriter{log.WithField("port", "http")}, "", 0),
		},
		listener: newHandshakes(beside.Beside(inner), r),
	}, nil
}

// connContext puts who made a connection into the context of its requests. It fails
// closed: of a connection that no handshake has seen there is nobody.
func connContext(ctx context.Context, conn net.Conn) context.Context {
	secured, ok := conn.(*tls.Conn)
	if !ok {
		return ctx
	}
	below, ok := secured.NetConn().(*connection)
	if !ok {
		return ctx
	}
	return peer.NewContext(ctx, &peer.Peer{Addr: conn.RemoteAddr(), LocalAddr: conn.LocalAddr(), AuthInfo: below.auth})
}

// serve serves until stop; it returns nil then.
func (s *httpsServer) serve() error {
	go s.listener.run()
	if err := s.server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	return nil
}

// stop waits for the requests under way until ctx ends, and closes what is left.
func (s *httpsServer) stop(ctx context.Context) {
	if s.server.Shutdown(ctx) != nil {
		_ = s.server.Close()
	}
}

// handshakes is a listener whose connections have proved who they are.
type handshakes struct {
	net.Listener
	*registry
	config *tls.Config
	ready  chan net.Conn
	failed chan error
	closed chan struct{}
	end    sync.Once
}

func newHandshakes(inner net.Listener, r *registry) *handshakes {
	trust := func() *live.Loaded { return r.current().Trust }
	config := live.ServerConfig(trust, r.now, "h2", "http/1.1")
	return &handshakes{Listener: inner, registry: r, config: config, ready: make(chan net.Conn), failed: make(chan error, 1), closed: make(chan struct{})}
}

// run takes connections in, each with its handshake in a goroutine of its own, of
// which the listener below bounds the number.
func (h *handshakes) run() {
	for {
		raw, err := h.Listener.Accept()
		if err != nil {
			h.failed <- err
			return
		}
		go func() {
			conn, err := h.handshake(raw)
			h.tell(raw, err)
			if err != nil {
				return
			}
			select {
			case h.ready <- conn:
			case <-h.closed:
				_ = conn.Close()
			}
		}()
	}
}

func (h *handshakes) handshake(raw net.Conn) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	conn := &connection{Conn: raw, raw: raw}
	secured := tls.Server(conn, h.config)
	err := secured.HandshakeContext(ctx)
	if err == nil {
		info := credentials.TLSInfo{State: secured.ConnectionState(), CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}
		err = h.admit(conn, info)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return secured, nil
}

// Accept implements net.Listener.
func (h *handshakes) Accept() (net.Conn, error) {
	select {
	case conn := <-h.ready:
		return conn, nil
	case err := <-h.failed:
		return nil, err
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (h *handshakes) Close() error {
	h.end.Do(func() { close(h.closed) })
	return h.Listener.Close()
}

// logWriter takes what net/http has to say, a line at a time.
type logWriter struct{ logrus.FieldLogger }

func (l logWriter) Write(line []byte) (int, error) {
	l.Warn(strings.TrimSpace(string(line)))
	return len(line), nil
}
