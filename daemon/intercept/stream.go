package intercept

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/footprintai/containarium/daemon/policy"
)

// streams are the streams that are open now.
type streams struct {
	mu   sync.Mutex
	open map[*checkedStream]struct{}
	// renewed is closed when there is another generation than number; nil where
	// nobody asked.
	renewed chan struct{}
	number  uint64
}

func (s *streams) newer() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.renewed == nil {
		s.renewed = make(chan struct{})
	}
	return s.renewed
}

// checkedStream authorizes the messages of a stream as they come in, and ends
// when its caller may no longer have it.
type checkedStream struct {
	grpc.ServerStream
	ctx    context.Context
	cancel context.CancelCauseFunc
	call   *call
	// audited says that the decision was written, with the first message.
	audited bool

	mu sync.Mutex
	// container is what the stream was let in for; decided is false until the
	// message that names it is there, and nothing is decided anew before that.
	decided   bool
	container string
	decision  policy.Decision
	refusal   error
}

func (i *Interceptor) newStream(stream grpc.ServerStream, ctx context.Context, c *call) *checkedStream { //nolint:revive // the context is the caller's, not the stream's own
	s := &checkedStream{ServerStream: stream, call: c, decided: c.method.container == nil}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	i.streams.mu.Lock()
	defer i.streams.mu.Unlock()
	i.streams.open[s] = struct{}{}
	return s
}

// close ends the watch over the stream and returns what its caller is told: the
// handler's own error, unless the stream was ended over its head.
func (s *checkedStream) close(err error) error {
	i := s.call.Interceptor
	i.streams.mu.Lock()
	delete(i.streams.open, s)
	i.streams.mu.Unlock()
	s.cancel(nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusal == nil {
		return err
	}
	s.call.record.Decision, s.call.record.Role, s.call.record.Rule = "deny", s.decision.Role, s.decision.Rule
	return s.refusal
}

func (s *checkedStream) Context() context.Context { return s.ctx }

// SendMsg sends nothing more once the stream was ended.
func (s *checkedStream) SendMsg(m any) error {
	s.mu.Lock()
	err := s.refusal
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.ServerStream.SendMsg(m)
}

// RecvMsg returns when there is a message, or when the context ends: gRPC's own
// waits for the connection alone.
func (s *checkedStream) RecvMsg(m any) error {
	type result struct {
		err   error
		cause any
	}
	received := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			r.cause = recover()
			received <- r
		}()
		r.err = s.ServerStream.RecvMsg(m)
	}()
	select {
	case r := <-received:
		if r.cause != nil {
			panic(r.cause) // where it is recovered from
		}
		if r.err != nil {
			return r.err
		}
	case <-s.ctx.Done(): // m is nobody's from here on
		return context.Cause(s.ctx)
	}
	if !s.call.method.mutates {
		s.call.generation = s.call.Current()
	}
	err := s.call.authorize(m)
	if err == nil && !s.audited {
		s.audited = true
		err = s.call.decided()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.decided, s.container = true, s.call.record.Container
	return err
}

// Recheck decides on every open stream again, by the current generation and the
// clock, and ends those whose caller may no longer have them: with
// Unauthenticated where the certificate is no longer accepted, else with
// PermissionDenied. A stream that changes something goes on to its end under the
// policy that it began with, as every call does.
func (i *Interceptor) Recheck() {
	g := i.Current()
	i.streams.mu.Lock()
	defer i.streams.mu.Unlock()
	for s := range i.streams.open {
		s.recheck(g)
	}
	if i.streams.number != g.Number && i.streams.renewed != nil {
		close(i.streams.renewed)
		i.streams.renewed = nil
	}
	i.streams.number = g.Number
}

func (s *checkedStream) recheck(g *Generation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusal != nil {
		return
	}
	c := s.call
	if err := c.accept(g, c.peer); err != nil {
		s.end(policy.Decision{}, err)
		return
	}
	if !s.decided || c.method.mutates {
		return
	}
	if d := g.Policy.Decide(c.peer.CommonName, c.method.Name, s.container); !d.Allow {
		s.end(d, c.denial(d, s.container))
	}
}

func (s *checkedStream) end(d policy.Decision, refusal error) {
	s.decision, s.refusal = d, refusal
	s.cancel(refusal)
}

// errDraining is the end of streams that only read when the daemon stops.
var errDraining = refusal(codes.Unavailable, "SHUTTING_DOWN", "the daemon is shutting down")
