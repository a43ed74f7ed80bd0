package gateway

import (
	"context"
	"net/http"
	"net/url"

	"google.golang.org/grpc/metadata"
)

// exchange is what is known of one HTTP request while it is served.
type exchange struct {
	// called says that there was an RPC or a page, which is audited.
	called bool
	query  url.Values
	header metadata.MD
}

type exchangeKey struct{}

// exchangeOf returns the exchange that a context belongs to.
func exchangeOf(ctx context.Context) *exchange {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		return x
	}
	return &exchange{}
}

// called is exchangeOf for what makes a call.
func called(ctx context.Context) *exchange {
	x := exchangeOf(ctx)
	x.called = true
	return x
}

// SetHeader adds to what the answer begins with.
func (x *exchange) SetHeader(md metadata.MD) error {
	x.header = metadata.Join(x.header, md)
	return nil
}

// begin writes the headers that the interceptors gave, as HTTP spells them:
// X-Request-Id, Containarium-Version, Containarium-Time.
func (x *exchange) begin(w http.ResponseWriter) {
	for key, values := range x.header {
		for _, value := range values {
			w.Header().Add(key, value)
		}
	}
	x.header = nil
}
