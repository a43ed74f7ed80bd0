package client

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/footprintai/containarium/pki/live"
)

// lookEvery is how often, at most, a call looks whether the files have changed.
const lookEvery = time.Second

// channel makes calls over a connection that was made with what the files hold
// now. A connection lasts as long as the certificate that it was made with, since
// the daemon closes it then; so new calls go over a new one once the files have
// changed and the server has taken what is in them. The old one is closed when
// its calls have ended.
type channel struct {
	source *source
	dial   func() (*grpc.ClientConn, error)

	mu      sync.Mutex
	current *connection
	next    *connection // nil unless the files have changed
	looked  time.Time
	closed  bool
	// retired are those whose calls have not ended.
	retired map[*connection]bool
	closing sync.WaitGroup
}

// connection is made with what was loaded or, if it broke since, with something
// newer.
type connection struct {
	*grpc.ClientConn
	loaded *live.Loaded
	calls  int
}

func newChannel(source *source, dial func() (*grpc.ClientConn, error)) (*channel, error) {
	conn, err := dial()
	if err != nil {
		return nil, err
	}
	return &channel{
		source: source, dial: dial,
		current: &connection{ClientConn: conn, loaded: source.loaded},
		looked:  source.now(),
		retired: map[*connection]bool{},
	}, nil
}

// Invoke makes a unary call.
func (c *channel) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	conn := c.acquire()
	defer c.release(conn)
	return conn.Invoke(ctx, method, args, reply, opts...)
}

// NewStream begins a streaming call.
func (c *channel) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	conn := c.acquire()
	release := sync.OnceFunc(func() { c.release(conn) })
	// Runs when the call ends, in whatever way, the caller's context included.
	stream, err := conn.NewStream(ctx, desc, method, append(opts[:len(opts):len(opts)], grpc.OnFinish(func(error) { release() }))...)
	if err != nil {
		release()
	}
	return stream, err
}

func (c *channel) acquire() *connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.look()
	}
	c.current.calls++
	return c.current
}

func (c *channel) release(conn *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	conn.calls--
	if c.retired[conn] && conn.calls == 0 {
		c.end(conn)
	}
}

// look takes the next connection where it is time to.
func (c *channel) look() {
	now := c.source.now()
	over := now.After(c.current.loaded.Pair.Leaf.NotAfter)
	if age := now.Sub(c.looked); over || age < 0 || age >= lookEvery {
		c.looked = now
		c.prepare()
	}
	if c.next == nil {
		return
	}
	// A server that refuses the new certificate may still take the old one, until it
	// is over; READY means that it took the new one.
	switch state := c.next.GetState(); {
	case over || state == connectivity.Ready:
		c.retire(c.current)
		c.current, c.next = c.next, nil
	case state == connectivity.Idle:
		c.next.Connect()
	}
}

// prepare begins the next connection where the files hold something new.
func (c *channel) prepare() {
	loaded := c.source.get()
	newest := c.current
	if c.next != nil {
		newest = c.next
	}
	if newest.loaded == loaded {
		return
	}
	conn, err := c.dial()
	if err != nil {
		return // as good as files that are bad: the next look tries again
	}
	if c.next != nil {
		c.retire(c.next)
	}
	c.next = &connection{ClientConn: conn, loaded: loaded}
	c.next.Connect()
}

func (c *channel) retire(conn *connection) {
	c.retired[conn] = true
	if conn.calls == 0 {
		c.end(conn)
	}
}

// end closes a retired connection, not in the way of the call that was its last.
func (c *channel) end(conn *connection) {
	delete(c.retired, conn)
	c.closing.Go(func() { _ = conn.Close() })
}

// Close ends all connections and the calls on them. It reports how the one went
// that new calls would have used.
func (c *channel) Close() error {
	c.mu.Lock()
	c.closed = true
	if c.next != nil {
		c.end(c.next)
		c.next = nil
	}
	for conn := range c.retired {
		c.end(conn)
	}
	c.mu.Unlock()
	err := c.current.Close() // stays the current one: calls on it fail
	c.closing.Wait()
	return err
}
