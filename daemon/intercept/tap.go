package intercept

import (
	"context"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
)

// holdFor is how long a connection is not read from after a call on it was one too
// many: a flood waits in its own sockets then, instead of taking the processor from
// everybody else. Answers go out all the while.
const holdFor = 25 * time.Millisecond

// tap begins a call as soon as its headers are there, before it has a stream, a
// goroutine or a message: what is refused here costs next to nothing.
func (i *Interceptor) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	return i.Begin(ctx, info.FullMethodName)
}

// Begin begins a call of a method ("/package.Service/Method"): who calls, whether
// their certificate is still good, and whether they call too often. The context goes
// to Unary or Stream. It fails closed, a panic included, and what it refuses is audited
// like everything else.
func (i *Interceptor) Begin(ctx context.Context, fullMethod string) (_ context.Context, err error) {
	c := i.begin(ctx, fullMethod)
	ctx = c.startSpan(ctx)
	defer func() {
		if err != nil {
			c.end(err)
			err = c.named(err)
		}
	}()
	defer c.recover(&err)
	if ctx, err = c.admit(ctx); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil { // gRPC would end it without a word to anybody
		return nil, status.FromContextError(err).Err()
	}
	return ctx, nil
}

// named adds the request id to an error of a call that has no headers to carry it.
func (c *call) named(err error) error {
	st := status.Convert(err)
	if detailed, err := st.WithDetails(&errdetails.RequestInfo{RequestId: c.record.RequestID}); err == nil {
		st = detailed
	}
	return st.Err()
}

// Registrar registers services with the server. A unary call whose message can not
// be read, because it is too long or malformed, never comes to the interceptors: the
// registrar has it audited all the same.
func (i *Interceptor) Registrar(server grpc.ServiceRegistrar) grpc.ServiceRegistrar {
	return registrar{server}
}

type registrar struct{ grpc.ServiceRegistrar }

func (r registrar) RegisterService(desc *grpc.ServiceDesc, implementation any) {
	audited := *desc
	audited.Methods = make([]grpc.MethodDesc, len(desc.Methods))
	for n, method := range desc.Methods {
		serve := method.Handler
		method.Handler = func(server any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			return serve(server, ctx, func(message any) error {
				err := decode(message)
				if c, ok := ctx.Value(callKey{}).(*call); ok && err != nil {
					c.end(err)
				}
				return err
			}, interceptor)
		}
		audited.Methods[n] = method
	}
	r.ServiceRegistrar.RegisterService(&audited, implementation)
}

// begun returns the call that the tap began; one that came another way begins
// here.
func (i *Interceptor) begun(ctx context.Context, fullMethod string) (c *call, admit bool) {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		return c, false
	}
	return i.begin(ctx, fullMethod), true
}
