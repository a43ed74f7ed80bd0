package client_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/pki/live"
	"github.com/footprintai/containarium/pki/pkitest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// answering answers every GetContainer and every stream with one error.
type answering struct {
	pb.UnimplementedContainerServiceServer
	err error
}

func (a answering) GetContainer(context.Context, *pb.GetContainerRequest) (*pb.GetContainerResponse, error) {
	return &pb.GetContainerResponse{Container: &pb.Container{Username: "alice"}}, a.err
}

func (a answering) CreateContainerStream(_ *pb.CreateContainerStreamRequest, stream grpc.ServerStreamingServer[pb.CreateContainerStreamResponse]) error {
	if err := stream.Send(&pb.CreateContainerStreamResponse{Stage: pb.CreateStage_CREATE_STAGE_IMAGE}); err != nil {
		return err
	}
	return a.err
}

// serve runs a server with that configuration until the test ends and returns its
// address.
func serve(t *testing.T, config *tls.Config, answer error) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)))
	pb.RegisterContainerServiceServer(server, answering{err: answer})
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Errorf("the server: %v", err)
		}
	})
	return listener.Addr().String()
}

func serverConfig(t *testing.T, pair pkitest.Pair, ca *pkitest.CA) *tls.Config {
	t.Helper()
	config, err := pair.WriteFiles(t, t.TempDir(), ca).ServerConfig()
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func dial(t *testing.T, address string, files live.Files) *client.Client {
	t.Helper()
	return dialWith(t, with(client.Server{Name: "jump-1", Address: address}, files))
}

func get(ctx context.Context, c *client.Client) error {
	_, err := c.Containers.GetContainer(ctx, &pb.GetContainerRequest{Username: "alice"})
	return err
}

func asError(t *testing.T, err error) *client.Error {
	t.Helper()
	call, ok := errors.AsType[*client.Error](err)
	if !ok {
		t.Fatalf("%T is no *client.Error: %v", err, err)
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than one line: %v", err)
	}
	return call
}

func TestCall(t *testing.T) {
	ca := pkitest.New(t)
	address := serve(t, serverConfig(t, ca.Server(t, "127.0.0.1"), ca), nil)
	c := dial(t, address, ca.Client(t, "alice").WriteFiles(t, t.TempDir(), ca))
	if err := get(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if got := c.Server().Address; got != address {
		t.Errorf("address %s, want %s", got, address)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := get(t.Context(), c); err == nil {
		t.Error("a call on a closed client succeeded")
	}
}

func TestErrorsOfTheDaemon(t *testing.T) {
	st, err := status.New(codes.InvalidArgument, "username must match\nx").WithDetails(
		&errdetails.ErrorInfo{Reason: "BAD", Domain: "containarium"},
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "username", Description: "must match"}}},
		&errdetails.RetryInfo{RetryDelay: durationpb.New(2 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	ca := pkitest.New(t)
	c := dial(t, serve(t, serverConfig(t, ca.Server(t, "127.0.0.1"), ca), st.Err()), ca.Client(t, "alice").WriteFiles(t, t.TempDir(), ca))
	stream, err := c.Containers.CreateContainerStream(t.Context(), &pb.CreateContainerStreamRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	_, streamed := stream.Recv()
	for kind, err := range map[string]error{"unary": get(t.Context(), c), "stream": streamed} {
		call := asError(t, err)
		if status.Code(err) != codes.InvalidArgument || call.Reason() != "BAD" || call.RetryAfter() != 2*time.Second || !call.Answered() || call.Cause != nil {
			t.Errorf("%s: %#v", kind, call)
		}
		if diff := cmp.Diff([]client.Violation{{Field: "username", Description: "must match"}}, call.Violations()); diff != "" {
			t.Errorf("%s: %s", kind, diff)
		}
		if want := "jump-1: InvalidArgument: username must match x"; err.Error() != want {
			t.Errorf("%s: %s, want %s", kind, err, want)
		}
	}
}

func TestEndOfStreamIsBare(t *testing.T) {
	ca := pkitest.New(t)
	c := dial(t, serve(t, serverConfig(t, ca.Server(t, "127.0.0.1"), ca), nil), ca.Client(t, "alice").WriteFiles(t, t.TempDir(), ca))
	stream, err := c.Containers.CreateContainerStream(t.Context(), &pb.CreateContainerStreamRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Errorf("got %v, want EOF", err)
	}
}

// Why a server can not be reached is told by the error's type.
func TestCauses(t *testing.T) {
	ca, other := pkitest.New(t), pkitest.New(t)
	good := ca.Client(t, "alice").WriteFiles(t, t.TempDir(), ca)
	goodServer := serverConfig(t, ca.Server(t, "127.0.0.1"), ca)
	old := goodServer.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	otherServer := serverConfig(t, other.Server(t, "127.0.0.1"), other)
	elsewhere := serverConfig(t, ca.Server(t, "jump-2.example.org"), ca)
	refused := func(err error) bool {
		handshake, ok := errors.AsType[*client.HandshakeError](err)
		return ok && handshake.Refused
	}
	ours := func(err error) bool {
		handshake, ok := errors.AsType[*client.HandshakeError](err)
		return ok && !handshake.Refused
	}
	for name, test := range map[string]struct {
		address string
		files   live.Files
		want    func(error) bool
	}{
		"nothing listens": {closedPort(t), good, func(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }},
		// No name that the DNS could have, so that none is asked.
		"no such host": {"no-such..host", good, isType[*net.DNSError]},
		"server of another CA": {serve(t, otherServer, nil), good, func(err error) bool {
			return ours(err) && isType[x509.UnknownAuthorityError](err)
		}},
		"server of another name": {serve(t, elsewhere, nil), good, func(err error) bool {
			return ours(err) && isType[x509.HostnameError](err)
		}},
		"client of another CA": {serve(t, goodServer, nil), other.Client(t, "alice").WriteFiles(t, t.TempDir(), ca), refused},
		"client expired":       {serve(t, goodServer, nil), ca.Bad(t)["expired"].WriteFiles(t, t.TempDir(), ca), refused},
		"TLS 1.2":              {serve(t, old, nil), good, func(err error) bool { return strings.Contains(err.Error(), "protocol version") }},
		"not TLS":              {greets(t, "SSH-2.0-OpenSSH_9.9\r\n"), good, isType[tls.RecordHeaderError]},
		"hangs up":             {greets(t, ""), good, isType[*client.HandshakeError]},
	} {
		t.Run(name, func(t *testing.T) {
			err := get(t.Context(), dial(t, test.address, test.files))
			call := asError(t, err)
			if call.Code() != codes.Unavailable || call.Answered() || call.Cause == nil || !test.want(err) {
				t.Errorf("code %s, cause %#v: %v", call.Code(), call.Cause, err)
			}
			if !strings.HasPrefix(err.Error(), "jump-1: Unavailable: can not reach ") {
				t.Errorf("the error does not say whom: %v", err)
			}
		})
	}
}

func TestDeadlineAndCancel(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // accepts, in its backlog, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	ca := pkitest.New(t)
	c := dial(t, listener.Addr().String(), ca.Client(t, "alice").WriteFiles(t, t.TempDir(), ca))
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := get(ctx, c); !errors.Is(err, context.DeadlineExceeded) || status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("deadline: %v", err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := get(canceled, c); !errors.Is(err, context.Canceled) || status.Code(err) != codes.Canceled {
		t.Errorf("cancel: %v", err)
	}
}

// What the daemon says with a code that gRPC makes itself is the daemon's: our
// own context is not over.
func TestDeadlineOfTheDaemon(t *testing.T) {
	st, err := status.New(codes.DeadlineExceeded, "it did not stop").WithDetails(&errdetails.ErrorInfo{Reason: "STOP_TIMEOUT"})
	if err != nil {
		t.Fatal(err)
	}
	ca := pkitest.New(t)
	c := dial(t, serve(t, serverConfig(t, ca.Server(t, "127.0.0.1"), ca), st.Err()), ca.Client(t, "alice").WriteFiles(t, t.TempDir(), ca))
	err = get(t.Context(), c)
	if call := asError(t, err); !call.Answered() || call.Cause != nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("taken for our own: %#v", call)
	}
}

// lateContext is one whose deadline has passed once its call was answered, and that
// has not noticed yet, as on a busy machine.
type lateContext struct {
	context.Context
	answered *atomic.Bool
}

func (c lateContext) Deadline() (time.Time, bool) {
	if c.answered.Load() {
		return time.Now(), true
	}
	return time.Now().Add(time.Hour), true
}

// A daemon that answers by the deadline that it was told of says no more than that
// our time is over.
func TestDeadlineMetByTheDaemon(t *testing.T) {
	late := answer(t, codes.DeadlineExceeded, "TIMEOUT", 0)
	var answered atomic.Bool
	ca := pkitest.New(t)
	address := serveWith(t, ca, func(*grpc.Server) {}, grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error {
		answered.Store(true)
		return late
	}))
	c := dial(t, address, ca.Client(t, "alice").WriteFiles(t, t.TempDir(), ca))
	err := get(lateContext{t.Context(), &answered}, c)
	if call := asError(t, err); call.Answered() || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%#v", call)
	}
}

func TestDialRefuses(t *testing.T) {
	ca := pkitest.New(t)
	good := ca.Client(t, "alice").WriteFiles(t, t.TempDir(), ca)
	server := func(change func(*client.Server)) client.Server {
		s := client.Server{Name: "jump-1", Address: "127.0.0.1:1", Cert: good.Cert, Key: good.Key, CA: good.CA}
		change(&s)
		return s
	}
	open := ca.Client(t, "alice").WriteFiles(t, t.TempDir(), ca)
	if err := os.Chmod(open.Key, 0o640); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]client.Server{
		"no certificate":     server(func(s *client.Server) { s.Cert = "" }),
		"no key":             server(func(s *client.Server) { s.Key = "" }),
		"no CA":              server(func(s *client.Server) { s.CA = "" }), // never the system's roots
		"missing file":       server(func(s *client.Server) { s.CA = filepath.Join(t.TempDir(), "none") }),
		"bad address":        server(func(s *client.Server) { s.Address = "https://127.0.0.1" }),
		"key of another":     server(func(s *client.Server) { s.Key = ca.Client(t, "bob").WriteFiles(t, t.TempDir(), ca).Key }),
		"key others read":    server(func(s *client.Server) { s.Cert, s.Key = open.Cert, open.Key }),
		"server certificate": server(func(s *client.Server) { *s = with(*s, ca.Server(t, "127.0.0.1").WriteFiles(t, t.TempDir(), ca)) }),
	} {
		c, err := client.Dial(s)
		if err == nil {
			t.Errorf("%s: dialled", name)
			_ = c.Close()
		} else if strings.HasPrefix(name, "no ") && err.Error() != "jump-1 has "+name+" file" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func with(s client.Server, files live.Files) client.Server {
	s.Cert, s.Key, s.CA = files.Cert, files.Key, files.CA
	return s
}

func isType[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

// closedPort returns an address where nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return listener.Addr().String()
}

// greets runs a server that sends the words to whoever connects, and hangs up.
func greets(t *testing.T, words string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, words)
			_, _ = conn.Read(make([]byte, 1)) // the client's hello, so that it gets the words
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	return listener.Addr().String()
}
