package client

import (
	"errors"
	"net"
	"testing"
)

// broken is a connection that the other end has reset.
type broken struct {
	net.Conn
	err error
}

func (b broken) Read(p []byte) (int, error)  { return 0, b.err }
func (b broken) Write(p []byte) (int, error) { return 0, b.err }

// A refusal by the server may meet a read or a write, whichever comes first.
func TestRefusalIsNoted(t *testing.T) {
	reset := errors.New("connection reset")
	for name, use := range map[string]func(c *watchedConn){
		"read":  func(c *watchedConn) { _, _ = c.Read(nil) },
		"write": func(c *watchedConn) { _, _ = c.Write(nil) },
	} {
		seen := &transport{}
		use(&watchedConn{Conn: broken{err: reset}, seen: seen})
		handshake, ok := errors.AsType[*HandshakeError](seen.last())
		if !ok || !handshake.Refused || !errors.Is(handshake, reset) {
			t.Errorf("%s: noted is %v", name, seen.last())
		}
		up := &transport{}
		conn := &watchedConn{Conn: broken{err: reset}, seen: up}
		conn.up.Store(true)
		use(conn)
		closed := &watchedConn{Conn: broken{err: net.ErrClosed}, seen: up}
		use(closed)
		if err := up.last(); err != nil {
			t.Errorf("%s: a connection that was up, or that we closed, counts as refused: %v", name, err)
		}
	}
}
