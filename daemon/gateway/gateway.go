// Package gateway serves the RPCs as HTTP and JSON, by the rules of proto/http.yaml,
// and what else is asked for over HTTP: the numbers for Prometheus, the description of
// the API, and whether the daemon is well. Whoever asks goes through the interceptors
// as a caller over gRPC does.
package gateway

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	containariumv1 "github.com/footprintai/containarium/daemon/gateway/containarium/v1"
	"github.com/footprintai/containarium/daemon/intercept"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// Config is what a gateway serves.
type Config struct {
	// Conn has the services.
	Conn *Conn
	// Metrics is the page for Prometheus.
	Metrics http.Handler
	// Ready says what keeps the daemon from serving well, by what was looked at; nil
	// for what is well.
	Ready func() map[string]error
	// MaxBody bounds the body of a request, in bytes.
	MaxBody int64
}

type gateway struct {
	Config
	calls *intercept.Interceptor
	mux   *runtime.ServeMux
}

// traceHeaders are the headers of a request that handlers get to see: the trace that it
// belongs to (W3C Trace Context).
var traceHeaders = []string{"traceparent", "tracestate"}

// New returns the handler of the HTTP port. It takes who calls from the gRPC peer in a
// request's context, which the server puts there for each connection.
func New(config Config) (http.Handler, error) {
	g := &gateway{Config: config, calls: config.Conn.calls}
	g.mux = runtime.NewServeMux(
		// Each of these closes a way in which a form of another site reaches a method.
		runtime.WithDisablePathLengthFallback(),
		runtime.WithDisableHTTPMethodOverride(),
		runtime.WithMarshalerOption(runtime.MIMEWildcard, asJSON),
		runtime.WithMarshalerOption(typeEvents, events{asJSON}),
		runtime.WithIncomingHeaderMatcher(func(header string) (string, bool) {
			for _, name := range traceHeaders {
				if strings.EqualFold(header, name) {
					return name, true
				}
			}
			return "", false
		}),
		// The headers of an answer are the exchange's; see exchange.begin.
		runtime.WithOutgoingHeaderMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithForwardResponseOption(begin),
		runtime.WithErrorHandler(g.fail),
		runtime.WithRoutingErrorHandler(g.noRoute),
	)
	if err := errors.Join(
		containariumv1.RegisterContainerServiceHandlerClient(context.Background(), g.mux, pb.NewContainerServiceClient(config.Conn)),
		containariumv1.RegisterImageServiceHandlerClient(context.Background(), g.mux, pb.NewImageServiceClient(config.Conn)),
		containariumv1.RegisterAuthServiceHandlerClient(context.Background(), g.mux, pb.NewAuthServiceClient(config.Conn)),
	); err != nil {
		return nil, err
	}
	pages := map[string]http.Handler{
		"/metrics":      g.page(intercept.MetricsPage, config.Metrics),
		"/openapi.json": g.page(intercept.OpenAPIPage, OpenAPI()),
		"/docs":         g.page(intercept.DocsPage, http.RedirectHandler("/docs/", http.StatusMovedPermanently)),
		"/docs/":        g.page(intercept.DocsPage, Docs()),
		"/healthz":      g.page(intercept.HealthPage, http.HandlerFunc(alive)),
		"/readyz":       g.page(intercept.HealthPage, http.HandlerFunc(g.ready)),
	}
	rpcs := g.noQuery(resumed(g.mux))
	return g.guarded(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.Path
		if strings.HasPrefix(path, "/docs/") {
			path = "/docs/"
		}
		if page := pages[path]; page != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			page.ServeHTTP(w, r)
			return
		}
		rpcs.ServeHTTP(w, r)
	})), nil
}

// forPeople reports whether a request is for a page to look at, which a link may lead
// to.
func forPeople(r *http.Request) bool {
	return r.Method == http.MethodGet && (r.URL.Path == "/docs" || strings.HasPrefix(r.URL.Path, "/docs/"))
}

// begin writes the first headers of an answer.
func begin(ctx context.Context, w http.ResponseWriter, _ proto.Message) error {
	exchangeOf(ctx).begin(w)
	return nil
}

// failPlain is fail for what did not come to the runtime.
func (g *gateway) failPlain(w http.ResponseWriter, r *http.Request, err error) {
	g.fail(r.Context(), g.mux, asJSON, w, r, err)
}

// noQuery refuses a query where the body says everything. It fails closed: who writes
// one means something by it.
func (g *gateway) noQuery(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" && r.Method != http.MethodGet && r.Method != http.MethodDelete {
			g.failPlain(w, r, problem(http.StatusBadRequest, codes.InvalidArgument, "%s takes no query: put what it says into the body", r.Method))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// resumed makes the header by which a browser resumes a stream of events the query
// parameter that it is.
func resumed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if last := r.Header.Get("Last-Event-ID"); last != "" && strings.HasSuffix(r.URL.Path, ":watch") {
			query := r.URL.Query()
			query.Set("version", last)
			r.URL.RawQuery = query.Encode()
		}
		next.ServeHTTP(w, r)
	})
}

// page serves what is no RPC, under the checks of one.
func (g *gateway) page(method string, serve http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := called(r.Context())
		err := g.calls.Page(serverContext(r.Context(), method, x), method, func(ctx context.Context) error {
			x.begin(w)
			serve.ServeHTTP(w, r.WithContext(ctx))
			return nil
		})
		if err != nil {
			g.failPlain(w, r, err)
		}
	})
}
