package daemon_test

import (
	"context"
	"encoding/hex"
	"net"
	"net/http"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/contrib/test/freeport"
	"github.com/footprintai/containarium/daemon/config"
	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/pki/live"
	"github.com/footprintai/containarium/pki/pkitest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// spans is a collector that keeps what it is sent.
type spans struct {
	collector.UnimplementedTraceServiceServer
	mu   sync.Mutex
	kept []*tracepb.Span
}

func (s *spans) Export(_ context.Context, request *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range request.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			s.kept = append(s.kept, scope.GetSpans()...)
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// collect runs a collector that takes clients of the CA alone, and returns its address.
func collect(t *testing.T, ca *pkitest.CA) (*spans, string) {
	t.Helper()
	loaded, err := ca.Server(t, "127.0.0.1").WriteFiles(t, t.TempDir(), ca).Load(live.Server, ca.Now())
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, kept := grpc.NewServer(grpc.Creds(credentials.NewTLS(live.ServerConfig(func() *live.Loaded { return loaded }, ca.Now)))), new(spans)
	collector.RegisterTraceServiceServer(server, kept)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return kept, listener.Addr().String()
}

func traced(endpoint string, files live.Files) func(*config.File) {
	return func(c *config.File) {
		c.Traces = config.Traces{Endpoint: endpoint, CA: files.CA, Cert: files.Cert, Key: files.Key, Sample: 1}
	}
}

// TestTraces: each call is a span, over gRPC and HTTP alike, in the trace of its caller.
func TestTraces(t *testing.T) {
	ca := pkitest.New(t)
	kept, address := collect(t, ca)
	files := ca.Client(t, "jump-1").WriteFiles(t, t.TempDir(), ca)
	d := daemontest.StartWith(t, daemontest.Options{CA: ca, Change: traced(address, files)})
	const trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	traceparent := "00-" + trace + "-" + parent + "-01"
	if _, err := pb.NewAuthServiceClient(d.Dial(t, "alice")).WhoAmI(withMetadata(t.Context(), "traceparent", traceparent), &pb.WhoAmIRequest{}); err != nil {
		t.Fatal(err)
	}
	client := d.HTTPClient(t, d.CA.Client(t, "alice"), true)
	d.Ask(t, client, http.MethodGet, "/v1/whoami", "", with("traceparent", traceparent))
	d.Ask(t, client, http.MethodGet, "/v1/system", "") // denied, and in no trace yet
	d.Ask(t, client, http.MethodGet, "/made-up", "")
	// One span that is no UTF-8 would take the others of its batch with it.
	if err := d.Dial(t, "alice").Invoke(t.Context(), "/made.Up/\xff", &pb.WhoAmIRequest{}, &pb.WhoAmIResponse{}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a made up method: %v", err)
	}
	if err := d.Stop(); err != nil { // which sends what there is
		t.Fatal(err)
	}
	names := map[string]int{}
	for _, span := range kept.kept {
		names[span.GetName()]++
		of := map[string]string{}
		for _, a := range span.GetAttributes() {
			of[a.GetKey()] = a.GetValue().GetStringValue()
		}
		if span.GetKind() != tracepb.Span_SPAN_KIND_SERVER || of["enduser.id"] != "alice" || of["containarium.request_id"] == "" {
			t.Errorf("a span: %v", span)
		}
		switch span.GetName() {
		case "containarium.v1.AuthService/WhoAmI":
			if hex.EncodeToString(span.GetTraceId()) != trace || hex.EncodeToString(span.GetParentSpanId()) != parent || of["enduser.role"] != "tenant" || of["rpc.method"] != "WhoAmI" {
				t.Errorf("a call in a trace: %v", span)
			}
		case "containarium.v1.ContainerService/GetSystemInfo":
			if len(span.GetParentSpanId()) > 0 || of["containarium.decision"] != "deny" || span.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR {
				t.Errorf("a denied call: %v", span)
			}
		}
	}
	if len(kept.kept) != 5 || names["containarium.v1.AuthService/WhoAmI"] != 2 || names["containarium.v1.ContainerService/GetSystemInfo"] != 1 || names["unknown"] != 2 {
		t.Errorf("spans: %v", names)
	}
}

// TestTracesOfAnAbsentCollector: nobody waits for one that is away.
func TestTracesOfAnAbsentCollector(t *testing.T) {
	ca := pkitest.New(t)
	nobody, err := freeport.Address("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	files := ca.Client(t, "jump-1").WriteFiles(t, t.TempDir(), ca)
	d := daemontest.StartWith(t, daemontest.Options{CA: ca, Change: traced(nobody, live.Files{CA: files.CA})})
	auth := pb.NewAuthServiceClient(d.Dial(t, "alice"))
	for range 100 {
		if _, err := auth.WhoAmI(t.Context(), &pb.WhoAmIRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Stop(); err != nil {
		t.Error(err)
	}
}
