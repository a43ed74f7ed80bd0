package traces

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/footprintai/containarium/pki/pkitest"
)

func logger(to *bytes.Buffer) logrus.FieldLogger {
	log := logrus.New()
	log.SetOutput(to)
	return log
}

func TestNoTraces(t *testing.T) {
	var none *Traces
	if tracer := none.Tracer(); tracer != nil {
		t.Errorf("a tracer: %v", tracer)
	}
	if err := none.Close(); err != nil {
		t.Error(err)
	}
}

// TestFilesThatAreRefused: there is no connection without roots, nor by a key that
// others may have.
func TestFilesThatAreRefused(t *testing.T) {
	ca := pkitest.New(t)
	files := ca.Client(t, "jump-1").WriteFiles(t, t.TempDir(), ca)
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	known := ca.Client(t, "jump-1").WriteFiles(t, t.TempDir(), ca).Key
	if err := os.Chmod(known, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]Config{
		"no roots":           {},
		"an empty file":      {CA: empty},
		"a missing file":     {CA: empty + "-not"},
		"a key for everyone": {CA: files.CA, Cert: files.Cert, Key: known},
		"another's key":      {CA: files.CA, Cert: files.Cert, Key: ca.Client(t, "x").WriteFiles(t, t.TempDir(), ca).Key},
	} {
		if _, err := c.tls(); err == nil {
			t.Errorf("%s: no error", name)
		}
		if _, err := New(t.Context(), c); err == nil || !strings.HasPrefix(err.Error(), "traces: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCollectorsThatAreRefused: spans go over TLS 1.3 to a collector of the CA alone, by
// a certificate or without.
func TestCollectorsThatAreRefused(t *testing.T) {
	ca, other := pkitest.New(t), pkitest.New(t)
	files := ca.Client(t, "jump-1").WriteFiles(t, t.TempDir(), ca)
	for name, c := range map[string]struct {
		of   *pkitest.CA
		max  uint16
		want string // empty: it is a good one
	}{
		"good":          {ca, tls.VersionTLS13, ""},
		"of another CA": {other, tls.VersionTLS13, "unknown authority"},
		"TLS 1.2":       {ca, tls.VersionTLS12, "protocol version"},
	} {
		address := collector(t, &tls.Config{Certificates: []tls.Certificate{c.of.Server(t, "127.0.0.1").Cert}, MinVersion: tls.VersionTLS12, MaxVersion: c.max})
		for _, by := range []Config{{CA: files.CA}, {CA: files.CA, Cert: files.Cert, Key: files.Key}} {
			config, err := by.tls()
			if err != nil {
				t.Fatal(err)
			}
			conn, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", address)
			if err == nil {
				_ = conn.Close()
			}
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, certificate %q: %v, want %q", name, by.Cert, err, c.want)
			}
		}
	}
}

// TestPlainTextIsRefused, whatever the environment says.
func TestPlainTextIsRefused(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_INSECURE", "true")
	var log bytes.Buffer
	traces, err := New(t.Context(), Config{Endpoint: collector(t, nil), CA: roots(t, pkitest.New(t)), Sample: 1, Log: logger(&log)})
	if err != nil {
		t.Fatal(err)
	}
	_, span := traces.Tracer().Start(t.Context(), "call")
	span.End()
	flush(t, traces)
	if want := "does not look like a TLS handshake"; !strings.Contains(log.String(), want) {
		t.Errorf("the log has no %q: %s", want, log.String())
	}
}

// roots writes the roots of a CA.
func roots(t *testing.T, ca *pkitest.CA) string {
	t.Helper()
	return ca.Client(t, "any").WriteFiles(t, t.TempDir(), ca).CA
}

// collector answers in plain text, or makes the handshake, and no more than that.
func collector(t *testing.T, config *tls.Config) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				if config == nil {
					_, _ = conn.Write([]byte("220 plain text\r\n"))
					_, _ = conn.Read(make([]byte, 1024))
					return
				}
				_ = tls.Server(conn, config).Handshake()
			}()
		}
	}()
	return listener.Addr().String()
}

// flush exports what there is, and waits for what became of it.
func flush(t *testing.T, traces *Traces) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*exportTimeout)
	defer cancel()
	_ = traces.provider.ForceFlush(ctx)
	_ = traces.Close()
}

// TestSilentCollector: nobody waits for one that takes connections and says nothing,
// and what does not fit the queue is dropped.
func TestSilentCollector(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts, nobody else does
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	var log bytes.Buffer
	traces, err := New(t.Context(), Config{Endpoint: listener.Addr().String(), CA: roots(t, pkitest.New(t)), Sample: 1, Log: logger(&log)})
	if err != nil {
		t.Fatal(err)
	}
	tracer, start := traces.Tracer(), time.Now()
	for range 10 * sdktrace.DefaultMaxQueueSize {
		_, span := tracer.Start(t.Context(), "call")
		span.End()
	}
	// One export alone would take exportTimeout.
	if took := time.Since(start); took > exportTimeout/2 {
		t.Errorf("calls waited: %s", took)
	}
	start = time.Now()
	if err := traces.Close(); err == nil {
		t.Error("nothing is lost")
	}
	if took := time.Since(start); took > exportTimeout*3/2 {
		t.Errorf("the end took %s", took)
	}
}

// failing is an exporter whose collector is away.
type failing struct{ sdktrace.SpanExporter }

func (failing) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error {
	return errors.New("away")
}

func TestComplainsOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		c := &complainer{SpanExporter: failing{}, log: logger(&log)}
		export := func() {
			if err := c.ExportSpans(t.Context(), nil); err != nil {
				t.Error(err) // which the SDK would print
			}
		}
		for range 3 {
			export()
		}
		<-time.After(complainEvery)
		export()
		c.SpanExporter = tracetest.NewInMemoryExporter()
		<-time.After(complainEvery)
		export()
		if n := strings.Count(log.String(), "traces are lost"); n != 2 {
			t.Errorf("%d complaints, want one each minute that something failed:\n%s", n, log.String())
		}
	})
}
