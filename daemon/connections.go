package daemon

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"google.golang.org/grpc/credentials"

	"github.com/footprintai/containarium/daemon/audit"
	"github.com/footprintai/containarium/daemon/intercept"
	"github.com/footprintai/containarium/daemon/limit"
	"github.com/footprintai/containarium/pki/live"
)

// cutGrace is how long a connection that is no longer accepted stays open, so that
// the words why its streams ended still reach the client. No call begins on it and
// no stream sends on it any more: the interceptors see to that.
const cutGrace = 100 * time.Millisecond

// connections are TLS credentials that know every connection that they let in,
// and close those whose certificate is no longer accepted.
type connections struct {
	credentials.TransportCredentials
	*registry
}

// registry holds the open connections. It is safe for concurrent use.
type registry struct {
	current func() *intercept.Generation
	audit   *audit.Log
	now     func() time.Time
	log     logrus.FieldLogger
	// observe is told what came of each handshake.
	observe func(error)

	mu   sync.Mutex
	open map[*connection]struct{}
}

// connection is one that a client made, after its handshake: above TLS where gRPC
// serves it, and below where HTTP does, which asks for TLS itself.
type connection struct {
	net.Conn
	raw      net.Conn        // below TLS
	fd       syscall.RawConn // of raw; nil where it has none
	peer     *live.Peer
	auth     intercept.AuthInfo
	registry *registry
	cut      bool // guarded by the registry
	// held is until when nothing is read, in nanoseconds since 1970; 0: no matter.
	held atomic.Int64
}

func newConnections(current func() *intercept.Generation, trail *audit.Log, observe func(error), now func() time.Time, log logrus.FieldLogger) connections {
	trust := func() *live.Loaded { return current().Trust }
	return connections{
		credentials.NewTLS(live.ServerConfig(trust, now)),
		&registry{current: current, audit: trail, observe: observe, now: now, log: log, open: map[*connection]struct{}{}},
	}
}

// ServerHandshake does the handshake of a connection that gRPC serves.
func (c connections) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.handshake(raw)
	c.tell(raw, err)
	return conn, info, err
}

func (c connections) handshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, info, err := c.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	conn := &connection{Conn: secured, raw: raw}
	tlsInfo, ok := info.(credentials.TLSInfo)
	if !ok {
		err = errors.New("the handshake was not one of TLS")
	} else {
		err = c.admit(conn, tlsInfo)
	}
	if err != nil { // whoever fails a handshake closes it
		return nil, nil, errors.Join(err, secured.Close())
	}
	return conn, conn.auth, nil
}

// tell counts a handshake, and logs and audits a connection that is refused: TLS tells
// the client next to nothing, so the daemon's logs are where an operator finds the
// reason.
func (r *registry) tell(raw net.Conn, err error) {
	r.observe(err)
	switch log := r.log.WithField("peer", raw.RemoteAddr().String()).WithError(err); {
	case errors.Is(err, io.EOF): // a probe that says nothing, as of a load balancer
		log.Debug("a connection ended before it said anything")
	case err != nil:
		log.Warn("refused a connection")
		r.refused(raw.RemoteAddr().String(), err)
	}
}

func (r *registry) refused(peer string, reason error) {
	err := r.audit.Write(audit.Record{Time: r.now().UTC(), Event: audit.EventHandshake, Peer: peer, Decision: "deny", Reason: reason.Error()})
	if err != nil {
		r.log.WithError(err).Error("the audit line of a refused connection is lost")
	}
}

// admit lets a connection in after its handshake. It fails closed: a certificate that
// is no longer accepted, or names nobody, is refused.
func (r *registry) admit(conn *connection, info credentials.TLSInfo) (err error) {
	if conn.peer, err = live.NewPeer(info.State); err != nil {
		return err
	}
	conn.registry = r
	conn.auth = intercept.AuthInfo{TLSInfo: info, Peer: conn.peer, Hold: conn.hold}
	if socket, ok := conn.raw.(syscall.Conn); ok {
		if conn.fd, err = socket.SyscallConn(); err != nil {
			return err
		}
	}
	r.add(conn)
	// Looked at again now that a sweep can find it: one that ran since the handshake
	// has not.
	if err := r.current().Trust.Accepts(conn.peer, r.now()); err != nil {
		r.remove(conn)
		return err
	}
	if limited, ok := conn.raw.(*limit.Conn); ok {
		limited.Done()
	}
	return nil
}

// Clone returns credentials that share the registry.
func (c connections) Clone() credentials.TransportCredentials {
	return connections{c.TransportCredentials.Clone(), c.registry}
}

func (r *registry) add(c *connection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open[c] = struct{}{}
}

func (r *registry) remove(c *connection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, c)
}

// hold keeps what the peer sends from being read for a while. It does not wait
// itself, and what is written goes out.
func (c *connection) hold(d time.Duration) { c.held.Store(time.Now().Add(d).UnixNano()) }

// Read waits until the connection is no longer held.
func (c *connection) Read(p []byte) (int, error) {
	if held := c.held.Load(); held != 0 {
		<-time.After(time.Until(time.Unix(0, held)))
		c.held.CompareAndSwap(held, 0)
	}
	return c.Conn.Read(p)
}

// Close closes the connection and forgets it.
func (c *connection) Close() error {
	if c.registry != nil { // else it was not let in
		c.registry.remove(c)
	}
	return c.Conn.Close()
}

// gone reports whether the connection was closed below TLS: gRPC does that, and
// nothing else, where a client leaves right after its handshake.
func (c *connection) gone() bool {
	return c.fd != nil && c.fd.Control(func(uintptr) {}) != nil
}

// sweep closes the connections whose certificate is no longer accepted: revoked,
// expired, not to be checked, or of a root that is trusted no more. Nobody else
// notices. At 10,000 connections it takes some two milliseconds.
func (r *registry) sweep() {
	g, now := r.current(), r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.open {
		if c.gone() {
			delete(r.open, c)
			continue
		}
		if c.cut {
			continue
		}
		if err := g.Trust.Accepts(c.peer, now); err != nil {
			c.cut = true
			r.log.WithError(err).WithFields(logrus.Fields{
				"peer": c.raw.RemoteAddr().String(), "cn": c.peer.CommonName, "serial": c.peer.Serial,
			}).Warn("closing a connection")
			// The raw connection: TLS would wait for a client that reads nothing.
			time.AfterFunc(cutGrace, func() { _ = c.raw.Close() })
		}
	}
}
