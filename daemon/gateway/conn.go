package gateway

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/footprintai/containarium/daemon/intercept"
)

// Conn calls the services of this process through the same interceptors as a call over
// the wire: it is a grpc.ServiceRegistrar for them and a grpc.ClientConnInterface for who
// calls. There is no other way to a handler here, so that none is without identity,
// authorization and audit. Streams of the client are not among what it can do.
type Conn struct {
	calls   *intercept.Interceptor
	methods map[string]unary
	streams map[string]streaming
}

type unary struct {
	server any
	desc   *grpc.MethodDesc
}

type streaming struct {
	server any
	desc   *grpc.StreamDesc
}

// NewConn returns a Conn without services.
func NewConn(calls *intercept.Interceptor) *Conn {
	return &Conn{calls: calls, methods: map[string]unary{}, streams: map[string]streaming{}}
}

// RegisterService implements grpc.ServiceRegistrar.
func (c *Conn) RegisterService(desc *grpc.ServiceDesc, server any) {
	for i := range desc.Methods {
		c.methods["/"+desc.ServiceName+"/"+desc.Methods[i].MethodName] = unary{server, &desc.Methods[i]}
	}
	for i := range desc.Streams {
		c.streams["/"+desc.ServiceName+"/"+desc.Streams[i].StreamName] = streaming{server, &desc.Streams[i]}
	}
}

// Invoke implements grpc.ClientConnInterface. Request and response are not copied: the
// handler's response must be nobody else's to write.
func (c *Conn) Invoke(ctx context.Context, method string, request, response any, _ ...grpc.CallOption) error {
	m, ok := c.methods[method]
	if !ok {
		return status.Errorf(codes.Unimplemented, "there is no method %s", method)
	}
	if message, ok := request.(proto.Message); ok {
		if err := checkQuery(ctx, exchangeOf(ctx).query, message.ProtoReflect().Descriptor()); err != nil {
			return err
		}
	}
	x := called(ctx)
	ctx, err := c.calls.Begin(serverContext(ctx, method, x), method)
	if err != nil {
		return err
	}
	decode := func(into any) error { return share(into, request) }
	answer, err := m.desc.Handler(m.server, ctx, decode, c.calls.Unary)
	if err != nil {
		return statusOf(err)
	}
	return share(response, answer)
}

// serverContext is what the handler of a call sees. Of what the caller wrote, the
// trace that it belongs to goes on, and nothing else.
func serverContext(ctx context.Context, method string, x *exchange) context.Context {
	incoming := metadata.MD{}
	if outgoing, ok := metadata.FromOutgoingContext(ctx); ok {
		for _, key := range traceHeaders {
			if values := outgoing.Get(key); len(values) > 0 {
				incoming[key] = values
			}
		}
	}
	ctx = metadata.NewIncomingContext(ctx, incoming)
	return grpc.NewContextWithServerTransportStream(ctx, transport{method, x})
}

// transport takes what a handler says beside its answer.
type transport struct {
	method string
	*exchange
}

func (t transport) Method() string                  { return t.method }
func (t transport) SendHeader(md metadata.MD) error { return t.SetHeader(md) }
func (transport) SetTrailer(metadata.MD) error      { return nil }

// share makes one message what another is, with all that is in it in common.
func share(into, from any) error {
	to, ok := into.(proto.Message)
	message, also := from.(proto.Message)
	if !ok || !also || to.ProtoReflect().Descriptor() != message.ProtoReflect().Descriptor() {
		return status.Errorf(codes.Internal, "%T is no %T", from, into)
	}
	message.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		to.ProtoReflect().Set(field, value)
		return true
	})
	return nil
}

// statusOf is what gRPC makes of a handler's error.
func statusOf(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.FromContextError(err).Err()
}
