package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Error is a call that failed. status.FromError and status.Code understand it.
type Error struct {
	// Server is whom we called, as dialled.
	Server Server
	// Method is the full name of the RPC, "/package.Service/Method".
	Method string
	// Status is what the daemon answered, or what gRPC made of its silence.
	Status *status.Status
	// Cause is why the server could not be reached, nil where it answered. For
	// example a *net.OpError or a *HandshakeError.
	Cause error
}

// Violation is one wrong field of a request.
type Violation struct {
	// Field is its path in the request, for example "resources.memory".
	Field       string
	Description string
}

// Error names the server, the code and the reason, in one line.
func (e *Error) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("%s: %s: can not reach %s: %v", e.Server.Name, e.Code(), e.Server.Address, e.Cause)
	}
	return fmt.Sprintf("%s: %s: %s", e.Server.Name, e.Code(), strings.ReplaceAll(e.Status.Message(), "\n", " "))
}

// Answered reports whether the daemon sent the status. With the codes that gRPC
// makes itself, of a connection or a context that ended, a daemon sends details.
func (e *Error) Answered() bool {
	switch e.Code() {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return len(e.Status.Details()) > 0
	}
	return true
}

// Unwrap returns the Cause and, where the call's own context ended, its error.
func (e *Error) Unwrap() []error {
	var errs []error
	if e.Cause != nil {
		errs = append(errs, e.Cause)
	}
	switch {
	case e.Answered():
	case e.Code() == codes.Canceled:
		errs = append(errs, context.Canceled)
	case e.Code() == codes.DeadlineExceeded:
		errs = append(errs, context.DeadlineExceeded)
	}
	return errs
}

// GRPCStatus is for status.FromError.
func (e *Error) GRPCStatus() *status.Status { return e.Status }

// Code is the status code.
func (e *Error) Code() codes.Code { return e.Status.Code() }

// Reason is the daemon's machine-readable reason, for example "NOT_FOUND", or
// empty.
func (e *Error) Reason() string {
	if info := detail[*errdetails.ErrorInfo](e); info != nil {
		return info.GetReason()
	}
	return ""
}

// Violations are the wrong fields of the request, where there are any.
func (e *Error) Violations() []Violation {
	var violations []Violation
	for _, v := range detail[*errdetails.BadRequest](e).GetFieldViolations() {
		violations = append(violations, Violation{Field: v.GetField(), Description: v.GetDescription()})
	}
	return violations
}

// RetryAfter is how long the daemon asks to wait before another try; 0 where
// another try does not help.
func (e *Error) RetryAfter() time.Duration {
	return detail[*errdetails.RetryInfo](e).GetRetryDelay().AsDuration()
}

// Transient reports whether the same call may succeed a little later with nothing
// done about it: the server is Unavailable, and not since one end does not take
// the other's certificate. A call that was to change something may have done so
// all the same.
func (e *Error) Transient() bool {
	if e.Code() != codes.Unavailable {
		return false
	}
	handshake, ok := errors.AsType[*HandshakeError](e.Cause)
	return !ok || handshake.cut()
}

// detail returns the first detail of that type, or nil.
func detail[T any](e *Error) T {
	for _, d := range e.Status.Details() {
		if found, ok := d.(T); ok {
			return found
		}
	}
	var none T
	return none
}

// wrap makes an *Error of what gRPC returns. A daemon hears of the deadline, and may
// answer by it before gRPC here has looked at the clock: which of them was first
// makes no difference.
func wrap(ctx context.Context, server Server, method string, seen *transport, err error) error {
	if err == nil || err == io.EOF { //nolint:errorlint // gRPC returns it bare, as the end of a stream
		return err
	}
	e := &Error{Server: server, Method: method, Status: status.Convert(err)}
	if deadline, ok := ctx.Deadline(); ok && e.Code() == codes.DeadlineExceeded && !time.Now().Before(deadline) {
		e.Status = status.FromContextError(context.DeadlineExceeded)
	}
	if !e.Answered() && e.Code() != codes.Canceled {
		e.Cause = seen.last()
	}
	return e
}

func wrapUnary(server Server, seen *transport) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		return wrap(ctx, server, method, seen, invoke(ctx, method, request, reply, conn, opts...))
	}
}

func wrapStream(server Server, seen *transport) grpc.StreamClientInterceptor {
	return func(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		stream, err := streamer(ctx, desc, conn, method, opts...)
		if err != nil {
			return nil, wrap(ctx, server, method, seen, err)
		}
		return &wrappedStream{stream, func(err error) error { return wrap(ctx, server, method, seen, err) }}, nil
	}
}

// wrappedStream wraps the errors of a stream.
type wrappedStream struct {
	grpc.ClientStream
	wrap func(error) error
}

func (s *wrappedStream) SendMsg(m any) error { return s.wrap(s.ClientStream.SendMsg(m)) }
func (s *wrappedStream) RecvMsg(m any) error { return s.wrap(s.ClientStream.RecvMsg(m)) }
func (s *wrappedStream) CloseSend() error    { return s.wrap(s.ClientStream.CloseSend()) }
