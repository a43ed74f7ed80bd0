package gateway

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/daemon/intercept"
)

// problem is an error that HTTP has a better word for than gRPC.
func problem(httpStatus int, code codes.Code, format string, args ...any) error {
	return &runtime.HTTPStatusError{HTTPStatus: httpStatus, Err: status.Errorf(code, format, args...)}
}

// fail answers with an error, as the JSON of a google.rpc.Status. A request that came
// to no RPC is audited first.
func (g *gateway) fail(ctx context.Context, mux *runtime.ServeMux, m runtime.Marshaler, w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(ctx)
	if !x.called {
		x.called = true
		err = g.refuse(ctx, r, err)
	}
	x.begin(w)
	for _, detail := range status.Convert(unwrapped(err)).Details() {
		switch detail := detail.(type) {
		case *errdetails.RetryInfo:
			seconds := math.Ceil(detail.GetRetryDelay().AsDuration().Seconds())
			w.Header().Set("Retry-After", strconv.Itoa(int(max(seconds, 1))))
		case *errdetails.RequestInfo: // of a call that ended before it had headers
			w.Header().Set(intercept.RequestIDHeader, detail.GetRequestId())
		}
	}
	// It writes what the runtime writes for any error; the body of one is never a stream.
	runtime.DefaultHTTPErrorHandler(ctx, mux, m, w, r, err)
}

// refuse has a request audited, which may have more to say against it, and
// keeps the HTTP status where it has not.
func (g *gateway) refuse(ctx context.Context, r *http.Request, err error) error {
	method, ok := runtime.RPCMethod(ctx)
	if !ok {
		method = r.Method + " " + r.URL.EscapedPath()
	}
	inner := unwrapped(err)
	told := g.calls.Refuse(ctx, method, inner)
	var better *runtime.HTTPStatusError
	if errors.As(err, &better) && status.Code(told) == status.Code(inner) {
		return &runtime.HTTPStatusError{HTTPStatus: better.HTTPStatus, Err: told}
	}
	return told
}

// unwrapped is the gRPC error in one that has an HTTP status.
func unwrapped(err error) error {
	var better *runtime.HTTPStatusError
	if errors.As(err, &better) {
		return better.Err
	}
	return err
}

// noRoute answers a request that no rule of proto/http.yaml is about.
func (g *gateway) noRoute(ctx context.Context, mux *runtime.ServeMux, m runtime.Marshaler, w http.ResponseWriter, r *http.Request, httpStatus int) {
	err := problem(http.StatusNotFound, codes.NotFound, "there is nothing at %s; /openapi.json has what there is", r.URL.EscapedPath())
	switch httpStatus {
	case http.StatusMethodNotAllowed:
		err = problem(httpStatus, codes.Unimplemented, "%s takes no %s; /openapi.json has what it takes", r.URL.EscapedPath(), r.Method)
	case http.StatusBadRequest:
		err = problem(httpStatus, codes.InvalidArgument, "%s is no path", r.URL.EscapedPath())
	}
	g.fail(ctx, mux, m, w, r, err)
}
