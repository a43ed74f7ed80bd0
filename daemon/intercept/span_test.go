package intercept

import (
	"context"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/daemon/audit"
)

const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// TestTraceparent: a caller says which trace the call belongs to, once and by the
// standard, or the call begins one.
func TestTraceparent(t *testing.T) {
	for name, c := range map[string]struct {
		md     metadata.MD
		parent string // empty: none
		state  string
	}{
		"none":            {metadata.MD{}, "", ""},
		"one":             {metadata.Pairs("traceparent", traceparent), "00f067aa0ba902b7", ""},
		"with state":      {metadata.Pairs("traceparent", traceparent, "tracestate", "a=1"), "00f067aa0ba902b7", "a=1"},
		"state alone":     {metadata.Pairs("tracestate", "a=1"), "", ""},
		"bad state":       {metadata.Pairs("traceparent", traceparent, "tracestate", "\xff"), "00f067aa0ba902b7", ""},
		"no hexadecimals": {metadata.Pairs("traceparent", "00-x"+traceparent[4:]), "", ""},
		"nobody's":        {metadata.Pairs("traceparent", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"), "", ""},
		"too long":        {metadata.Pairs("traceparent", traceparent+"-more"), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			kept := tracetest.NewInMemoryExporter()
			made := begunWith(sdktrace.NewTracerProvider(sdktrace.WithSyncer(kept)).Tracer(""))
			ctx := made.startSpan(metadata.NewIncomingContext(t.Context(), c.md))
			if !trace.SpanContextFromContext(ctx).IsValid() {
				t.Error("the handlers' context has no span")
			}
			made.endSpan(codes.OK)
			spans := kept.GetSpans()
			if len(spans) != 1 {
				t.Fatalf("spans: %v", spans)
			}
			parent := ""
			if spans[0].Parent.IsValid() {
				parent = spans[0].Parent.SpanID().String()
			}
			if parent != c.parent || spans[0].SpanContext.TraceState().String() != c.state {
				t.Errorf("parent %q, state %q; want %q, %q", parent, spans[0].SpanContext.TraceState(), c.parent, c.state)
			}
		})
	}
}

// TestSpanStatus: an error is what the server is to blame for.
func TestSpanStatus(t *testing.T) {
	blame := map[codes.Code]bool{
		codes.Unknown: true, codes.DeadlineExceeded: true, codes.Unimplemented: true, codes.Internal: true, codes.Unavailable: true, codes.DataLoss: true,
	}
	for code := codes.OK; code <= codes.Unauthenticated; code++ {
		kept := tracetest.NewInMemoryExporter()
		c := begunWith(sdktrace.NewTracerProvider(sdktrace.WithSyncer(kept)).Tracer(""))
		c.startSpan(t.Context())
		c.endSpan(code)
		if got := kept.GetSpans()[0].Status.Code.String() == "Error"; got != blame[code] {
			t.Errorf("%s: an error is %v", code, got)
		}
	}
}

// TestNoTracer: where calls have no span, they cost nothing and know of none.
func TestNoTracer(t *testing.T) {
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("traceparent", traceparent))
	c := begunWith(nil)
	if allocs := testing.AllocsPerRun(100, func() {
		if c.startSpan(ctx) != ctx {
			t.Error("another context")
		}
		c.endSpan(codes.OK)
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// TestMethodIsUTF8: a method that is made up of other bytes is audited, and told to the
// caller, with those replaced: neither a span nor an answer can hold them.
func TestMethodIsUTF8(t *testing.T) {
	k := newKit(t)
	_, err := k.Unary(k.alice(t), nil, &grpc.UnaryServerInfo{FullMethod: "/made.Up/\xff"}, nil)
	if r := k.last(t); r.Method != "/made.Up/\uFFFD" || !strings.HasSuffix(status.Convert(err).Message(), r.Method) {
		t.Errorf("%v, %+v", err, r)
	}
}

func begunWith(tracer trace.Tracer) *call {
	return &call{
		Interceptor: &Interceptor{Config: Config{Tracer: tracer}}, known: true,
		record: audit.Record{Method: getContainer, CN: "alice", Role: "tenant", RequestID: "ABC", Decision: "allow"},
	}
}

// discarding is an exporter that keeps nothing.
type discarding struct{}

func (discarding) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (discarding) Shutdown(context.Context) error                             { return nil }

// BenchmarkSpan is what a span costs a call: without traces, and with them up to
// where the sending begins.
func BenchmarkSpan(b *testing.B) {
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(discarding{}))
	defer func() { _ = provider.Shutdown(context.Background()) }()
	ctx := metadata.NewIncomingContext(b.Context(), metadata.Pairs("traceparent", traceparent))
	for name, tracer := range map[string]trace.Tracer{"off": nil, "on": provider.Tracer("")} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			c := begunWith(tracer)
			for b.Loop() {
				c.startSpan(ctx)
				c.endSpan(codes.OK)
			}
		})
	}
}
