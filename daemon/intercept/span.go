package intercept

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
)

// carrier reads what a caller says of the trace that its call belongs to: where in
// somebody's traces the span goes, and nothing that is decided by.
type carrier metadata.MD

func (c carrier) Get(key string) string {
	if values := metadata.MD(c).Get(key); len(values) > 0 {
		return values[0]
	}
	return ""
}
func (carrier) Set(string, string) {}
func (carrier) Keys() []string     { return nil }

// startSpan begins the span of a call, where calls have one.
func (c *call) startSpan(ctx context.Context) context.Context {
	if c.Tracer == nil {
		return ctx
	}
	md, _ := metadata.FromIncomingContext(ctx)
	ctx = propagation.TraceContext{}.Extract(ctx, carrier(md))
	name := strings.TrimPrefix(c.record.Method, "/")
	if !c.known { // what a caller makes up is no name
		name = "unknown"
	}
	ctx, c.span = c.Tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(c.record.Time))
	return ctx
}

// endSpan ends it with what the audit record has of the call.
func (c *call) endSpan(code grpccodes.Code) {
	if c.span == nil {
		return
	}
	service, method, _ := strings.Cut(strings.TrimPrefix(c.record.Method, "/"), "/")
	c.span.SetAttributes(
		attribute.String("rpc.system", "grpc"),
		attribute.String("rpc.service", service),
		attribute.String("rpc.method", method),
		attribute.Int("rpc.grpc.status_code", int(code)),
		attribute.String("enduser.id", c.record.CN),
		attribute.String("enduser.role", c.record.Role),
		attribute.String("containarium.request_id", c.record.RequestID),
		attribute.String("containarium.decision", c.record.Decision),
	)
	switch code {
	case grpccodes.Unknown, grpccodes.DeadlineExceeded, grpccodes.Unimplemented, grpccodes.Internal, grpccodes.Unavailable, grpccodes.DataLoss:
		c.span.SetStatus(codes.Error, code.String()) // the server's doing, not the caller's
	}
	c.span.End()
}
