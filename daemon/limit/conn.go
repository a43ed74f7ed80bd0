package limit

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"
)

// Conn is a connection that a Listener let in. Whoever does the handshake calls
// Done when it is over.
type Conn struct {
	net.Conn
	listener *Listener
	from     netip.Addr
	since    time.Time
	// deadline is what was set for writes from outside, or nil.
	deadline atomic.Pointer[time.Time]
	// until is the deadline for writes that is in force, in nanoseconds since 1970.
	until atomic.Int64

	// Guarded by the listener's lock.
	pending, gone bool
}

// Done says that the peer has proved who it is: the handshake is over, and the
// connection is no longer closed to make room for others. After a handshake that
// failed, Close alone is due.
func (c *Conn) Done() {
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	c.listener.finish(c)
}

// SyscallConn is the socket, for whoever looks at it below.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	if socket, ok := c.Conn.(syscall.Conn); ok {
		return socket.SyscallConn()
	}
	return nil, errors.New("the connection is no socket")
}

// Write bounds how long the peer takes to take what is written, within the
// deadline if there is one. Without a bound, a peer that never reads holds what
// it asked for until the end of time: it may answer pings all the while.
//
// The bound is moved on when half of it is over, since moving it costs as much as
// a small write: so a write has between half of it and all of it.
func (c *Conn) Write(p []byte) (int, error) {
	sending := c.listener.config.sending
	if now := time.Now(); now.Add(sending/2).UnixNano() > c.until.Load() {
		deadline := now.Add(sending)
		if set := c.deadline.Load(); set != nil && set.Before(deadline) {
			deadline = *set
		}
		if err := c.Conn.SetWriteDeadline(deadline); err != nil {
			return 0, err
		}
		c.until.Store(deadline.UnixNano())
	}
	return c.Conn.Write(p)
}

// SetWriteDeadline bounds writes besides; the zero time ends that.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.note(t)
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline is SetWriteDeadline, and bounds reads.
func (c *Conn) SetDeadline(t time.Time) error {
	c.note(t)
	return c.Conn.SetDeadline(t)
}

func (c *Conn) note(t time.Time) {
	c.until.Store(0)
	if t.IsZero() {
		c.deadline.Store(nil)
		return
	}
	c.deadline.Store(&t)
}

// Close closes the connection and counts it out.
func (c *Conn) Close() error {
	c.listener.mu.Lock()
	c.listener.leave(c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}

// reset closes a connection without goodbye: a refused one leaves nothing in the
// kernel, where a flood of orderly ends would lie for a minute each.
func reset(conn net.Conn) {
	if tcp, ok := conn.(interface{ SetLinger(seconds int) error }); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
