package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"google.golang.org/grpc/credentials"
)

// transport remembers why the last attempt to connect failed. gRPC hands on the
// text of such an error alone; whoever explains it needs the error itself.
type transport struct {
	mu  sync.Mutex
	err error
}

func (t *transport) note(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
}

func (t *transport) last() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

func (t *transport) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		t.note(err)
	}
	return conn, err
}

// HandshakeError is a TLS handshake that failed, on our side or, once ours was
// done, on the server's.
type HandshakeError struct {
	// Refused says that the server ended it. TLS tells at most one word about why,
	// and a reset of the connection can overtake that word.
	Refused bool
	Err     error
}

func (e *HandshakeError) Error() string {
	if e.Refused {
		return fmt.Sprintf("the server ended the TLS handshake: %v", e.Err)
	}
	return fmt.Sprintf("TLS handshake: %v", e.Err)
}

func (e *HandshakeError) Unwrap() error { return e.Err }

// cut reports whether the connection broke, and nobody said a word about a
// certificate.
func (e *HandshakeError) cut() bool {
	for _, broke := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, context.DeadlineExceeded, context.Canceled, os.ErrDeadlineExceeded} {
		if errors.Is(e.Err, broke) {
			return true
		}
	}
	return false
}

// watchedCredentials note how handshakes end.
type watchedCredentials struct {
	credentials.TransportCredentials
	seen *transport
}

func (w *watchedCredentials) Clone() credentials.TransportCredentials {
	return &watchedCredentials{w.TransportCredentials.Clone(), w.seen}
}

func (w *watchedCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := w.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		remote := new(net.OpError)
		w.seen.note(&HandshakeError{Refused: errors.As(err, &remote) && remote.Op == "remote error", Err: err})
		return nil, nil, err
	}
	return &watchedConn{Conn: conn, seen: w.seen}, info, nil
}

// watchedConn notes how a connection ends before its first read brought anything:
// in TLS 1.3 the client's handshake is done before the server has looked at its
// certificate, so that a refusal comes in place of the first data. Where the reset
// of the connection overtakes it, it meets a write.
type watchedConn struct {
	net.Conn
	seen *transport
	up   atomic.Bool
}

func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.up.Swap(true) {
		c.seen.note(nil)
	}
	if errors.Is(err, io.EOF) {
		c.ended(io.ErrUnexpectedEOF)
	} else {
		c.ended(err)
	}
	return n, err
}

func (c *watchedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.ended(err)
	return n, err
}

func (c *watchedConn) ended(err error) {
	if err != nil && !c.up.Load() && !errors.Is(err, net.ErrClosed) { // closed: by us
		c.seen.note(&HandshakeError{Refused: true, Err: err})
	}
}
