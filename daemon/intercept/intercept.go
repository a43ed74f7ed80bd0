// Package intercept stands between the wire and the handlers: it names, audits,
// identifies and authorizes every call, in this order:
//
//	request id, audit, recover, identity, rate, authorize, audit of the decision, handler
//
// so that denials and panics are audited like everything else, and a flood of
// calls that are denied is held back like any other. The part up to the rate runs
// as soon as the headers of a call are there (tap.go), before its message is read.
package intercept

import (
	"context"
	"crypto/rand"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/daemon/audit"
	"github.com/footprintai/containarium/daemon/limit"
	"github.com/footprintai/containarium/daemon/policy"
	"github.com/footprintai/containarium/pki/live"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// RequestIDHeader is the response header that carries the request id, which the
// audit line and the log have too.
const RequestIDHeader = "x-request-id"

// VersionHeader is the response header with the daemon's version. The client has
// the same name (client.Client.ServerVersion).
const VersionHeader = "containarium-version"

// TimeHeader is the response header with the daemon's clock when the call came, in
// RFC 3339, for who looks for a clock that is wrong.
const TimeHeader = "containarium-time"

// Config is what an Interceptor works with.
type Config struct {
	// Current returns the generation to decide by. A call keeps the one that it
	// began with.
	Current func() *Generation
	Audit   *audit.Log
	// MustAudit refuses a call that would change something while its decision can
	// not be written.
	MustAudit bool
	// Rate bounds the calls of an identity, and Turns how many of those that change
	// nothing run at once; nil means no bound.
	Rate  *limit.Bucket[string]
	Turns *limit.Turns
	Log   logrus.FieldLogger
	Now   func() time.Time
	// Version is the daemon's, for VersionHeader.
	Version string
	// Observe is told of each call that is over: its audit record, whether there is such
	// a method, and whether it answers with a stream. Nil where nobody counts.
	Observe func(record *audit.Record, known, streams bool)
	// Tracer makes a span of each call; nil makes none.
	Tracer trace.Tracer
}

// Interceptor holds what every call is decided by.
type Interceptor struct {
	Config
	methods known
	// draining ends when the daemon stops: streams that only read end with it.
	draining context.Context
	streams  streams
}

// New returns an Interceptor. Streams that change nothing end with ctx.
func New(ctx context.Context, config Config) (*Interceptor, error) {
	methods, err := methodsOf(pb.File_containarium_v1_service_proto)
	if err != nil {
		return nil, err
	}
	return &Interceptor{
		Config:   config,
		methods:  methods,
		draining: ctx,
		streams:  streams{open: map[*checkedStream]struct{}{}},
	}, nil
}

// Covers reports the first registered method that has no access option. The
// daemon does not start then.
func (i *Interceptor) Covers(services map[string]grpc.ServiceInfo) error {
	for service, info := range services {
		for _, rpc := range info.Methods {
			if _, ok := i.methods["/"+service+"/"+rpc.Name]; !ok {
				return fmt.Errorf("%s/%s is registered and has no access option", service, rpc.Name)
			}
		}
	}
	return nil
}

// Options returns the interceptors as options of a gRPC server. Methods that it
// does not know are denied like any other.
func (i *Interceptor) Options() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.InTapHandle(i.tap),
		// Each frame is read by itself, so that a connection can be held between two;
		// TLS has a buffer of its own.
		grpc.ReadBufferSize(0),
		grpc.UnaryInterceptor(i.Unary),
		grpc.StreamInterceptor(i.Stream),
		grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error {
			return status.Error(codes.Unimplemented, "unknown method") // not reached: no policy allows it
		}),
	}
}

// header is what every answer begins with.
func (i *Interceptor) header(c *call) metadata.MD {
	return metadata.Pairs(RequestIDHeader, c.record.RequestID, VersionHeader, i.Version, TimeHeader, c.record.Time.Format(time.RFC3339Nano))
}

// Unary is a grpc.UnaryServerInterceptor.
func (i *Interceptor) Unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (response any, err error) {
	c, admit := i.begun(ctx, info.FullMethod)
	defer func() { c.end(err) }()
	defer c.recover(&err)
	_ = grpc.SetHeader(ctx, i.header(c))
	if admit {
		if ctx, err = c.admit(ctx); err != nil {
			return nil, err
		}
	}
	if err := c.authorize(request); err != nil {
		return nil, err
	}
	if err := c.decided(); err != nil {
		return nil, err
	}
	done, err := c.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	return handler(ctx, request)
}

// Stream is a grpc.StreamServerInterceptor.
func (i *Interceptor) Stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	ctx := stream.Context()
	c, admit := i.begun(ctx, info.FullMethod)
	defer func() { c.end(err) }()
	defer c.recover(&err)
	_ = stream.SetHeader(i.header(c))
	if admit {
		if ctx, err = c.admit(ctx); err != nil {
			return err
		}
	}
	// Before anything is read: who may not do it at all is sent away now; the
	// container is decided on with the first message.
	if err := c.authorize(nil); err != nil {
		return err
	}
	checked := i.newStream(stream, ctx, c)
	defer func() { err = checked.close(err) }()
	if !c.method.mutates {
		defer context.AfterFunc(i.draining, func() { checked.cancel(errDraining) })()
	}
	return handler(server, checked)
}

// call is one RPC on its way through.
type call struct {
	*Interceptor
	method method
	known  bool
	record audit.Record
	// generation is what the call is decided by, and peer who made it.
	generation *Generation
	peer       *live.Peer
	caller     caller
	// hold keeps the connection from being read from for a while; nil where nobody
	// can.
	hold func(time.Duration)
	// span is nil where calls have none.
	span trace.Span
}

// callKey is the context key of the call that was let in.
type callKey struct{}

func (i *Interceptor) begin(ctx context.Context, fullMethod string) *call {
	c := &call{Interceptor: i}
	c.method, c.known = i.methods[fullMethod]
	c.record = audit.Record{
		Time:      i.Now().UTC(),
		RequestID: rand.Text(),
		Method:    strings.ToValidUTF8(fullMethod, "\uFFFD"), // no span and no answer can hold what is not
		Action:    c.method.Action,
		Decision:  "deny", // until authorize says otherwise
	}
	if p, ok := peer.FromContext(ctx); ok {
		c.record.Peer = p.Addr.String()
	}
	return c
}

// log is the daemon's own log, about this call.
func (c *call) log() logrus.FieldLogger {
	return c.Log.WithFields(logrus.Fields{"request_id": c.record.RequestID, "method": c.method.Name})
}

// end writes the audit line, whatever became of the call.
func (c *call) end(err error) {
	code := status.Code(err)
	c.record.Code = code.String()
	c.record.DurationMS = float64(c.Now().Sub(c.record.Time).Microseconds()) / 1000
	if c.Observe != nil {
		c.Observe(&c.record, c.known, c.method.streams)
	}
	c.endSpan(code)
	if err := c.Audit.Write(c.record); err != nil {
		c.log().WithError(err).Error("the audit line of a call is lost")
	}
}

// decided writes what was decided about a call that changes something, before it
// acts. It fails closed where MustAudit says so: what can not be recorded is not
// done.
func (c *call) decided() error {
	if !c.method.mutates {
		return nil
	}
	record := c.record
	record.Event = audit.EventDecision
	err := c.Audit.Write(record)
	if err == nil {
		return nil
	}
	c.log().WithError(err).Error("the decision on a call can not be written to the audit log")
	if !c.MustAudit {
		return nil
	}
	c.record.Decision, c.record.Rule = "deny", "audit.on_error refuse"
	return refusal(codes.Unavailable, "NOT_AUDITED", "the audit log can not be written, and nothing is changed without it")
}

// recover turns a panic into Internal with the request id; the stack goes into
// the log, since it may hold what a caller must not see.
func (c *call) recover(err *error) {
	if cause := recover(); cause != nil {
		c.log().WithFields(logrus.Fields{"panic": cause, "stack": string(debug.Stack())}).Error("a handler panicked")
		*err = refusal(codes.Internal, "INTERNAL", "the daemon met an error of its own; its log has it under request id %s", c.record.RequestID)
	}
}

// admit finds out who calls, and whether their certificate is still good.
func (c *call) admit(ctx context.Context) (context.Context, error) {
	info, err := identify(ctx)
	if err != nil {
		return ctx, err
	}
	c.peer, c.generation, c.hold = info.Peer, c.Current(), info.Hold
	c.record.CN, c.record.Serial = info.Peer.CommonName, info.Peer.Serial
	if err := c.accept(c.generation, info.Peer); err != nil {
		return ctx, err
	}
	if err := c.rate(); err != nil {
		return ctx, err
	}
	c.caller = caller{info.Peer.Identity, info.State.VerifiedChains[0][0], c.generation.Policy}
	return context.WithValue(ctx, callKey{}, c), nil
}

// authorize decides on the method and, where a request is given, on the
// container that it names. It fails closed: a method that it does not know, a
// caller without role and an action without rule are denied.
func (c *call) authorize(request any) error {
	c.record.Decision, c.record.Rule = "deny", ""
	if !c.known {
		return refusal(codes.PermissionDenied, "UNKNOWN_METHOD", "this daemon has no method %s", c.record.Method)
	}
	if request != nil {
		container, err := c.method.containerOf(request)
		if err != nil {
			return refusal(codes.Internal, "INTERNAL", "%v", err)
		}
		c.record.Container = container
	}
	d := c.generation.Policy.Decide(c.record.CN, c.method.Name, c.record.Container)
	c.record.Role, c.record.Rule = d.Role, d.Rule
	if d.Allow {
		c.record.Decision = "allow"
		return nil
	}
	return c.denial(d, c.record.Container)
}

// denial says which rule denies the call.
func (c *call) denial(d policy.Decision, container string) error {
	cn := c.peer.CommonName
	if d.Role == "" {
		return refusal(codes.PermissionDenied, "NO_ROLE", "the policy gives %s no role", cn)
	}
	message := fmt.Sprintf("the role %s of %s does not allow %s", d.Role, cn, c.method.Action)
	if d.Rule != "" && container != "" {
		message += fmt.Sprintf(" on %q", container)
	}
	if d.Rule != "" {
		message += " (" + d.Rule + ")"
	}
	return refusal(codes.PermissionDenied, "DENIED", "%s", message)
}

// refusal is a status with an ErrorInfo, so that programs need not read the
// message.
func refusal(code codes.Code, reason, format string, args ...any) error {
	st := status.Newf(code, format, args...)
	if detailed, err := st.WithDetails(&errdetails.ErrorInfo{Reason: reason, Domain: "containarium"}); err == nil {
		st = detailed
	}
	return st.Err()
}
