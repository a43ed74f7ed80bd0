// Package traces sends a span for each call to a collector, by OTLP over TLS.
package traces

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"github.com/sirupsen/logrus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/credentials"

	"github.com/footprintai/containarium/pki/live"
)

// Config is where the spans go. The files are read once, at the start.
type Config struct {
	// Endpoint is the collector, HOST:PORT.
	Endpoint string
	// CA holds the roots that its certificate must come from. Cert and Key are who this
	// daemon is to it; both may be empty.
	CA, Cert, Key string
	// Sample is the share of calls that have a span, above 0 to 1; a call that belongs
	// to a trace already goes by that.
	Sample  float64
	Version string
	Log     logrus.FieldLogger
}

const (
	// exportTimeout bounds an attempt to send spans, and the last one at the end.
	exportTimeout = 5 * time.Second
	// complainEvery is how often a collector that is away is spoken of.
	complainEvery = time.Minute
)

// Traces sends spans in the background: no call waits for it, and what a collector that
// is away does not take is dropped.
type Traces struct{ provider *sdktrace.TracerProvider }

// New returns Traces. It does not connect. It fails closed: without roots there is no
// connection, and without TLS neither.
func New(ctx context.Context, c Config) (*Traces, error) {
	config, err := c.tls()
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	exporter, err := otlptracegrpc.New(ctx,
		otlptracegrpc.WithEndpoint(c.Endpoint),
		otlptracegrpc.WithTLSCredentials(credentials.NewTLS(config)),
		otlptracegrpc.WithTimeout(exportTimeout),
	)
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	hostname, _ := os.Hostname()
	return &Traces{sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(&complainer{SpanExporter: exporter, log: c.Log}),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(c.Sample))),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "containarium"), attribute.String("service.version", c.Version), attribute.String("host.name", hostname),
		)),
	)}, nil
}

// Tracer makes the spans of the daemon; that of no Traces is nil.
func (t *Traces) Tracer() trace.Tracer {
	if t == nil {
		return nil
	}
	return t.provider.Tracer("github.com/footprintai/containarium")
}

// Close sends what there is, within a bound.
func (t *Traces) Close() error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), exportTimeout)
	defer cancel()
	return t.provider.Shutdown(ctx)
}

func (c Config) tls() (*tls.Config, error) {
	if c.Cert != "" {
		return live.Files{Cert: c.Cert, Key: c.Key, CA: c.CA}.ClientConfig()
	}
	certs, err := live.ReadCertificates(c.CA)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	for _, cert := range certs {
		roots.AddCert(cert)
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots}, nil
}

// complainer is an exporter that logs what goes wrong with spans, not each time. The
// SDK would tell a handler that the whole process shares.
type complainer struct {
	sdktrace.SpanExporter
	log  logrus.FieldLogger
	last time.Time // nobody exports two batches at once
}

// ExportSpans implements sdktrace.SpanExporter.
func (c *complainer) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := c.SpanExporter.ExportSpans(ctx, spans)
	if now := time.Now(); err != nil && now.Sub(c.last) >= complainEvery {
		c.last = now
		c.log.WithError(err).Warn("traces are lost: the collector does not take them")
	}
	return nil
}
