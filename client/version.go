package client

import (
	"context"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// versionHeader is intercept.VersionHeader of the daemon, which is the source of
// truth.
const versionHeader = "containarium-version"

// maxVersion bounds what is kept of a version, in bytes: Go's for a commit after a
// release has some 50.
const maxVersion = 100

// heard keeps the version that a daemon tells with each answer.
type heard struct{ version atomic.Pointer[string] }

func (h *heard) last() string {
	if version := h.version.Load(); version != nil {
		return *version
	}
	return ""
}

func (h *heard) note(header metadata.MD) {
	values := header.Get(versionHeader)
	if len(values) == 0 || len(values[0]) > maxVersion || values[0] == h.last() {
		return
	}
	h.version.Store(&values[0])
}

func (h *heard) unary(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	var header metadata.MD
	err := invoke(ctx, method, request, reply, conn, append(opts[:len(opts):len(opts)], grpc.Header(&header))...)
	h.note(header)
	return err
}

func (h *heard) stream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := streamer(ctx, desc, conn, method, opts...)
	if err != nil {
		return nil, err
	}
	return &heardStream{ClientStream: stream, heard: h}, nil
}

// heardStream looks at the header when the first message is there.
type heardStream struct {
	grpc.ClientStream
	heard *heard
	asked atomic.Bool
}

func (s *heardStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if !s.asked.Swap(true) {
		if header, headerErr := s.Header(); headerErr == nil {
			s.heard.note(header)
		}
	}
	return err
}
