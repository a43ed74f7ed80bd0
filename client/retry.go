package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// The waits of Retry and of Watch, and how often a call is made, unless something
// else is asked for: a server that is restarted in three seconds is met again.
const (
	retryAttempts = 5
	firstWait     = 200 * time.Millisecond
	longestWait   = 10 * time.Second
)

// Retry says how often to make a call that failed again. The zero value will do.
type Retry struct {
	// Attempts bounds how often a call is made, the first time included; 0 is 5.
	Attempts int
	// First is the wait before the second attempt; 0 is 200 ms. It doubles from
	// attempt to attempt, and up to a quarter is added at random.
	First time.Duration
	// Longest bounds the wait; 0 is 10 seconds. Where the daemon asks for a longer
	// one, the call is not made again.
	Longest time.Duration
}

// WithRetry has calls made again that failed of what passes. Without it each is
// made once.
//
// Calls that only read are made again where the server is Unavailable. A call
// that changes something may have done so before it failed, and is never made
// again on that: look first what became of it. The one exception is a daemon that
// refused the call before it looked at it, since its caller makes too many. A
// method of which it is not known that it only reads counts as one that changes
// something. A stream begins again only as long as no message of it has come.
//
// The wait is at least what the daemon asks for. Where the call's deadline would
// end before it, or its context does, the call returns what the last attempt did.
func WithRetry(r Retry) Option {
	if r.Attempts <= 0 {
		r.Attempts = retryAttempts
	}
	if r.First <= 0 {
		r.First = firstWait
	}
	if r.Longest <= 0 {
		r.Longest = longestWait
	}
	return func(o *options) { o.retry = &r }
}

// retrying makes calls again over the connection below.
type retrying struct {
	Retry
	below grpc.ClientConnInterface
}

// Invoke makes a unary call.
func (r *retrying) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	failed := 0
	for {
		err := r.below.Invoke(ctx, method, args, reply, opts...)
		if err == nil || !r.waitAfter(ctx, &failed, err) {
			return err
		}
	}
}

// NewStream begins a streaming call. One whose caller sends more than a request is
// left alone.
func (r *retrying) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s := &retryingStream{retrying: r, ctx: ctx, begin: func() (grpc.ClientStream, error) {
		return r.below.NewStream(ctx, desc, method, opts...)
	}}
	if desc.ClientStreams {
		return s.begin()
	}
	for {
		stream, err := s.begin()
		if err == nil {
			s.set(stream)
			return s, nil
		}
		if !r.waitAfter(ctx, &s.failed, err) {
			return nil, err
		}
	}
}

// waitAfter waits for the next attempt and reports whether there is to be one.
func (r *retrying) waitAfter(ctx context.Context, failed *int, err error) bool {
	call, ok := errors.AsType[*Error](err)
	if !ok || !call.mayRepeat() {
		return false
	}
	*failed++
	wait := backOff(*failed, r.First, r.Longest, call.RetryAfter())
	if *failed >= r.Attempts || call.RetryAfter() > r.Longest {
		return false
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < wait {
		return false
	}
	return sleep(ctx, wait) == nil
}

// retryingStream is a stream of messages from the server that begins again where
// it fails before the first.
type retryingStream struct {
	*retrying
	ctx      context.Context
	begin    func() (grpc.ClientStream, error)
	failed   int
	request  any
	received bool

	mu      sync.Mutex
	attempt grpc.ClientStream // the one that goes on
}

func (s *retryingStream) set(attempt grpc.ClientStream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempt = attempt
}

func (s *retryingStream) current() grpc.ClientStream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.attempt
}

func (s *retryingStream) Header() (metadata.MD, error) { return s.current().Header() }
func (s *retryingStream) Trailer() metadata.MD         { return s.current().Trailer() }
func (s *retryingStream) CloseSend() error             { return s.current().CloseSend() }
func (s *retryingStream) Context() context.Context     { return s.current().Context() }

func (s *retryingStream) SendMsg(m any) error {
	s.request = m
	return s.current().SendMsg(m)
}

func (s *retryingStream) RecvMsg(m any) error {
	err := s.current().RecvMsg(m)
	for err != nil && !s.received && s.waitAfter(s.ctx, &s.failed, err) {
		err = s.again(m)
	}
	s.received = s.received || err == nil
	return err
}

// again makes another attempt, up to its first message.
func (s *retryingStream) again(m any) error {
	attempt, err := s.begin()
	if err != nil {
		return err
	}
	s.set(attempt)
	if err := attempt.SendMsg(s.request); err != nil {
		return err
	}
	if err := attempt.CloseSend(); err != nil {
		return err
	}
	return attempt.RecvMsg(m)
}

// mayRepeat reports whether a call that failed so can be made again without doing
// anything twice. It fails closed.
func (e *Error) mayRepeat() bool {
	// The daemon counts calls before it reads their messages.
	if e.Code() == codes.ResourceExhausted && e.Reason() == "TOO_MANY_CALLS" && e.RetryAfter() > 0 {
		return true
	}
	return e.Transient() && onlyReads(e.Method)
}

// onlyReads goes by the access option of a method, "/package.Service/Method". One
// that is not known, or has none, counts as one that changes something.
func onlyReads(method string) bool {
	name := protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", "."))
	found, _ := protoregistry.GlobalFiles.FindDescriptorByName(name)
	rpc, ok := found.(protoreflect.MethodDescriptor)
	if !ok {
		return false
	}
	access, _ := proto.GetExtension(rpc.Options(), pb.E_Access).(*pb.Access)
	return access.GetAction() != "" && !access.GetMutates()
}

// backOff is the wait after so many failures: first, doubled each time up to
// longest, but atLeast what the daemon asks for. Up to a quarter is added at
// random, so that callers that failed together do not come back together.
func backOff(failures int, first, longest, atLeast time.Duration) time.Duration {
	wait := first
	for n := 1; n < failures && wait < longest; n++ {
		wait *= 2
	}
	wait = max(min(wait, longest), atLeast)
	return wait + time.Duration(rand.Float64()*float64(wait)/4) //nolint:gosec // spreads load, keeps no secret
}

// sleep returns after that time, or an error where ctx ends before.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
