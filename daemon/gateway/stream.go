package gateway

import (
	"context"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// NewStream implements grpc.ClientConnInterface for streams of the server. The handler
// runs in a goroutine of its own, which ends with the context at the latest; a panic
// in it ends in the interceptors.
func (c *Conn) NewStream(ctx context.Context, _ *grpc.StreamDesc, method string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	m, ok := c.streams[method]
	if !ok || m.desc.ClientStreams {
		return nil, status.Errorf(codes.Unimplemented, "there is no method %s of one request and a stream", method)
	}
	x := called(ctx)
	ctx, cancel := context.WithCancel(ctx)
	started, err := c.calls.Begin(serverContext(ctx, method, x), method)
	if err != nil {
		cancel()
		return nil, err
	}
	p := &pipe{ctx: started, exchange: x, requests: make(chan any, 1), messages: make(chan any), ended: make(chan struct{})}
	go func() {
		defer cancel()
		defer close(p.ended)
		info := &grpc.StreamServerInfo{FullMethod: method, IsServerStream: true}
		p.err = statusOf(c.calls.Stream(m.server, (*serverEnd)(p), info, m.desc.Handler))
	}()
	return &clientEnd{pipe: p}, nil
}

// pipe carries the one request of a stream to its handler, and the messages back, each
// when it is asked for.
type pipe struct {
	ctx      context.Context
	exchange *exchange
	requests chan any // at most one; closed after it
	messages chan any
	ended    chan struct{}
	err      error // once ended
}

// serverEnd is the pipe for the handler.
type serverEnd pipe

func (s *serverEnd) Context() context.Context        { return s.ctx }
func (s *serverEnd) SetHeader(md metadata.MD) error  { return s.exchange.SetHeader(md) }
func (s *serverEnd) SendHeader(md metadata.MD) error { return s.exchange.SetHeader(md) }
func (*serverEnd) SetTrailer(metadata.MD)            {}

func (s *serverEnd) RecvMsg(into any) error {
	select {
	case request, ok := <-s.requests:
		if !ok {
			return io.EOF
		}
		return share(into, request)
	case <-s.ctx.Done():
		return status.FromContextError(s.ctx.Err()).Err()
	}
}

func (s *serverEnd) SendMsg(message any) error {
	select {
	case s.messages <- message:
		return nil
	case <-s.ctx.Done():
		return status.FromContextError(s.ctx.Err()).Err()
	}
}

// clientEnd is the pipe for who called.
type clientEnd struct {
	*pipe
	first sync.Once
	ahead any // a message that Header waited for
}

func (c *clientEnd) Context() context.Context { return c.ctx }
func (*clientEnd) Trailer() metadata.MD       { return nil }

func (c *clientEnd) SendMsg(request any) error {
	c.requests <- request // there is room for the one that there is
	return nil
}

func (c *clientEnd) CloseSend() error {
	close(c.requests)
	return nil
}

// Header waits for the first message or the end, so that a stream that is refused is
// refused as a call is, before its answer has begun.
func (c *clientEnd) Header() (md metadata.MD, err error) {
	c.first.Do(func() { c.ahead, err = c.next() })
	if err == io.EOF { //nolint:errorlint // next returns it itself: a stream without a message
		err = nil
	}
	return nil, err
}

func (c *clientEnd) RecvMsg(into any) error {
	message := c.ahead
	c.ahead = nil
	if message == nil {
		var err error
		if message, err = c.next(); err != nil {
			return err
		}
	}
	return share(into, message)
}

func (c *clientEnd) next() (any, error) {
	select {
	case message := <-c.messages:
		return message, nil
	case <-c.ended:
		if c.err != nil {
			return nil, c.err
		}
		return nil, io.EOF
	}
}
