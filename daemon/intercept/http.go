package intercept

import (
	"context"

	"google.golang.org/grpc"
)

// Page serves what is no RPC (MetricsPage and the like) as one: whoever asks is
// identified, held to their rate, authorized and audited. The error is what they are
// to be told.
func (i *Interceptor) Page(ctx context.Context, method string, serve func(context.Context) error) error {
	ctx, err := i.Begin(ctx, method)
	if err != nil {
		return err
	}
	_, err = i.Unary(ctx, nil, &grpc.UnaryServerInfo{FullMethod: method}, func(ctx context.Context, _ any) (any, error) {
		return nil, serve(ctx)
	})
	return err
}

// Refuse audits a request over HTTP that comes to no RPC: its body can not be read, or
// it is about nothing that there is. The method is the RPC's, or another word for what
// was asked. It returns what the caller is to be told: err, or why they are heard no
// further.
func (i *Interceptor) Refuse(ctx context.Context, method string, err error) error {
	ctx, refused := i.Begin(ctx, method)
	if refused != nil {
		return refused
	}
	c, _ := ctx.Value(callKey{}).(*call) // Begin put it there
	if c.known {
		if denied := c.authorize(nil); denied != nil {
			err = denied
		}
	}
	c.end(err)
	return c.named(err)
}
