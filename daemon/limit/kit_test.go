package limit

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
)

// network is a listener whose connections and failures a test makes up.
type network struct {
	accepts chan accepted
	closed  chan struct{}
	once    sync.Once
}

type accepted struct {
	conn net.Conn
	err  error
}

func newNetwork() *network {
	return &network{accepts: make(chan accepted), closed: make(chan struct{})}
}

func (n *network) Accept() (net.Conn, error) {
	select {
	case a := <-n.accepts:
		return a.conn, a.err
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

func (n *network) Close() error {
	n.once.Do(func() { close(n.closed) })
	return nil
}

func (n *network) Addr() net.Addr { return &net.TCPAddr{} }

// peerConn is the daemon's end of a connection from an address.
type peerConn struct {
	net.Conn
	peer   net.Addr
	mu     sync.Mutex
	closed bool
}

func from(address string) *peerConn {
	near, far := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, far) }() // ends with near
	return &peerConn{Conn: near, peer: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 1))}
}

func (c *peerConn) RemoteAddr() net.Addr { return c.peer }

func (c *peerConn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	return c.Conn.Close()
}

func (c *peerConn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// kit is a Listener with a clock, whose connections are made by enter.
type kit struct {
	*Listener
	*clock
	t    *testing.T
	logs *logtest.Hook
}

func newKit(t *testing.T, config Config) *kit {
	log, hook := logtest.NewNullLogger()
	c := newClock()
	config.Log, config.Now = log, c.now
	return &kit{Listener: NewListener(newNetwork(), config), clock: c, t: t, logs: hook}
}

// connect is one connection from the address; nil if it was refused, and then
// closed.
func (k *kit) connect(address string) *Conn {
	k.t.Helper()
	raw := from(address)
	admitted := k.admit(raw)
	if admitted == nil {
		if !raw.isClosed() {
			k.t.Errorf("a connection from %s was refused and left open", address)
		}
		return nil
	}
	conn, ok := admitted.(*Conn)
	if !ok || raw.isClosed() {
		k.t.Fatalf("admitted from %s: a %T, closed: %v", address, admitted, raw.isClosed())
	}
	return conn
}

// known is a connection whose handshake is over.
func (k *kit) known(address string) *Conn {
	conn := k.connect(address)
	if conn != nil {
		conn.Done()
	}
	return conn
}

func (k *kit) want(want Counts) {
	k.t.Helper()
	if got := k.Counts(); got != want {
		k.t.Errorf("counts\n got %+v\nwant %+v", got, want)
	}
}

// drain closes the connections, some of which may be nil, and sees that nothing
// is counted any more.
func (k *kit) drain(conns ...*Conn) {
	k.t.Helper()
	for _, conn := range conns {
		if conn != nil {
			_ = conn.Close()
			_ = conn.Close() // counts once
			conn.Done()      // counts never
		}
	}
	k.empty()
}

func (k *kit) empty() {
	k.t.Helper()
	if c := k.Counts(); c.Open != 0 || c.Handshaking != 0 || len(k.addresses) != 0 {
		k.t.Errorf("at the end %d are open, %d in their handshake, from %d addresses; want none", c.Open, c.Handshaking, len(k.addresses))
	}
}

func warnings(hook *logtest.Hook) (lines []string) {
	for _, e := range hook.AllEntries() {
		if e.Level == logrus.WarnLevel {
			lines = append(lines, e.Message)
		}
	}
	return lines
}
