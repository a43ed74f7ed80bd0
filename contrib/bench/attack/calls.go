package main

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// clients are n connections with the attacker's certificate.
func (a *attacker) clients(ctx context.Context, n int, use func([]*grpc.ClientConn)) {
	var conns []*grpc.ClientConn
	for range n {
		conn, err := grpc.NewClient("passthrough:///"+a.target,
			grpc.WithTransportCredentials(credentials.NewTLS(a.tls)),
			grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return a.dial(ctx) }))
		if err != nil {
			a.count("no client")
			continue
		}
		conns = append(conns, conn)
	}
	use(conns)
	for _, conn := range conns {
		_ = conn.Close()
	}
}

func (a *attacker) answered(ctx context.Context, err error) bool {
	// gRPC may notice the end of ctx before we do.
	if code := status.Code(err); ctx.Err() == nil && code != codes.DeadlineExceeded {
		a.count(code.String())
	}
	return true
}

// denied makes calls that are denied.
func (a *attacker) denied(ctx context.Context) {
	a.clients(ctx, 4, func(conns []*grpc.ClientConn) {
		var all sync.WaitGroup
		for _, conn := range conns {
			all.Go(func() {
				workers(ctx, 16, func() bool {
					_, err := pb.NewContainerServiceClient(conn).ListContainers(ctx, &pb.ListContainersRequest{})
					return a.answered(ctx, err)
				})
			})
		}
		all.Wait()
	})
}

// giantMessages sends more than anybody has to say.
func (a *attacker) giantMessages(ctx context.Context) {
	long := strings.Repeat("A", 8<<20)
	a.clients(ctx, 8, func(conns []*grpc.ClientConn) {
		var all sync.WaitGroup
		for i, conn := range conns {
			request := &pb.AddSSHKeyRequest{Username: "user-1", SshKey: long}
			if i%2 == 0 {
				request.SshKey = long[:200<<10]
			}
			all.Go(func() {
				workers(ctx, 4, func() bool {
					a.count("sent")
					_, err := pb.NewContainerServiceClient(conn).AddSSHKey(ctx, request)
					return a.answered(ctx, err)
				})
			})
		}
		all.Wait()
	})
}

// The frames of HTTP/2 that a well-behaved library would not send (RFC 9113).
const (
	frameData         = 0
	frameHeaders      = 1
	frameSettings     = 4
	frameContinuation = 9

	flagAck        = 1
	flagEndStream  = 1
	flagEndHeaders = 4

	settingInitialWindow = 4

	preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
)

func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	// 24 bits of length, kind, flags, stream.
	header := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind)) //nolint:gosec // at most 16 KiB
	header = append(header, flags)
	header = binary.BigEndian.AppendUint32(header, stream)
	return append(header, payload...)
}

// field is a header in HPACK, literal and without Huffman's code (RFC 7541, 6.2.2).
// It holds at most 126 bytes each.
func field(name, value string) []byte {
	encoded := []byte{0}
	for _, text := range []string{name, value} {
		encoded = append(encoded, byte(len(text))) //nolint:gosec // at most 126
		encoded = append(encoded, text...)
	}
	return encoded
}

func callHeaders(path string) (block []byte) {
	for _, f := range [][2]string{
		{":method", "POST"}, {":scheme", "https"}, {":path", path}, {":authority", "127.0.0.1"},
		{"content-type", "application/grpc"}, {"te", "trailers"},
	} {
		block = append(block, field(f[0], f[1])...)
	}
	return block
}

// giantHeaders sends calls whose headers have no end.
func (a *attacker) giantHeaders(ctx context.Context) {
	var more []byte
	for range 16 << 10 / 128 {
		more = append(more, field("x-filler", strings.Repeat("f", 116))...)
	}
	workers(ctx, 8, func() bool {
		conn, err := a.secure(ctx, a.tls)
		if err != nil {
			a.count("refused")
			return false
		}
		defer conn.Close()                                          //nolint:errcheck // the attacker's end
		defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // ends a write that waits
		a.count("connections")
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = io.Copy(io.Discard, conn)
		}()
		block := callHeaders(pb.AuthService_WhoAmI_FullMethodName)
		_, err = conn.Write(append([]byte(preface), append(frame(frameSettings, 0, 0, nil), frame(frameHeaders, flagEndStream, 1, block)...)...))
		for sent := 0; err == nil && sent < 64<<20; sent += len(more) {
			_, err = conn.Write(frame(frameContinuation, 0, 1, more))
			a.count("frames of 16 KiB")
		}
		_ = conn.Close()
		<-ended
		return err == nil
	})
}

// slowReads asks for lists on many connections, and never takes the answers: on half
// of them the window of HTTP/2 stays shut, on the others nothing is read at all.
func (a *attacker) slowReads(ctx context.Context) {
	shut := make([]byte, 6) // 0 bytes at a time
	binary.BigEndian.PutUint16(shut, settingInitialWindow)
	block := callHeaders(pb.ContainerService_ListContainers_FullMethodName)
	var all sync.WaitGroup
	for i := range min(64, a.connections/100) {
		all.Go(func() {
			workers(ctx, 1, func() bool {
				conn, err := a.secure(ctx, a.tls)
				if err != nil {
					a.count("refused")
					return false
				}
				defer conn.Close() //nolint:errcheck // the attacker's end
				a.count("connections")
				settings := shut
				if i%2 == 0 {
					settings = nil
				}
				_, err = conn.Write(append([]byte(preface), append(frame(frameSettings, 0, 0, settings), frame(frameSettings, flagAck, 0, nil)...)...))
				for stream := uint32(1); err == nil && stream < 2*200; stream += 2 {
					call := append(frame(frameHeaders, flagEndHeaders, stream, block), frame(frameData, flagEndStream, stream, make([]byte, 5))...)
					_ = conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
					_, err = conn.Write(call)
					a.count("calls")
				}
				if err == nil {
					if i%2 == 0 {
						<-ctx.Done()
					} else {
						stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
						_, _ = io.Copy(io.Discard, conn)
						stop()
					}
				}
				return false
			})
		})
	}
	all.Wait()
}
