package client_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/daemon/config"
	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/incusx/incustest"
	"github.com/footprintai/containarium/pki/pkitest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// scripted answers the calls with the errors of a list, one after the other, and
// those behind its end with success.
type scripted struct {
	pb.UnimplementedContainerServiceServer
	mu      sync.Mutex
	answers []error
	calls   []string // the user names that were asked for
	at      []time.Time
}

func (s *scripted) next(username string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.calls)
	s.calls, s.at = append(s.calls, username), append(s.at, time.Now())
	if n < len(s.answers) {
		return s.answers[n]
	}
	return nil
}

func (s *scripted) GetContainer(_ context.Context, r *pb.GetContainerRequest) (*pb.GetContainerResponse, error) {
	return &pb.GetContainerResponse{Container: &pb.Container{Username: r.GetUsername()}}, s.next(r.GetUsername())
}

func (s *scripted) DeleteContainer(_ context.Context, r *pb.DeleteContainerRequest) (*pb.DeleteContainerResponse, error) {
	return &pb.DeleteContainerResponse{}, s.next(r.GetUsername())
}

func (s *scripted) CreateContainerStream(r *pb.CreateContainerStreamRequest, stream grpc.ServerStreamingServer[pb.CreateContainerStreamResponse]) error {
	if err := s.next(r.GetCreate().GetUsername()); err != nil {
		return err
	}
	return stream.Send(&pb.CreateContainerStreamResponse{Stage: pb.CreateStage_CREATE_STAGE_IMAGE})
}

// WatchContainers sends a message before the error where the caller resumes from
// "late".
func (s *scripted) WatchContainers(r *pb.WatchContainersRequest, stream grpc.ServerStreamingServer[pb.WatchContainersResponse]) error {
	err := s.next(r.GetVersion())
	if err != nil && r.GetVersion() != "late" {
		return err
	}
	if err := stream.Send(&pb.WatchContainersResponse{Version: "1"}); err != nil {
		return err
	}
	return err
}

// answer makes an error of the daemon; after is what it asks to wait, if anything.
func answer(t testing.TB, code codes.Code, reason string, after time.Duration) error {
	t.Helper()
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: reason, Domain: "containarium"}}
	if after > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(after)})
	}
	st, err := status.New(code, "no").WithDetails(details...)
	if err != nil {
		t.Fatal(err)
	}
	return st.Err()
}

// A retry is made where nothing can be done twice by it, and where it may help.
func TestRetry(t *testing.T) {
	unavailable := answer(t, codes.Unavailable, "INCUS_UNAVAILABLE", time.Millisecond)
	tooMany := answer(t, codes.ResourceExhausted, "TOO_MANY_CALLS", time.Millisecond)
	read := func(ctx context.Context, c *client.Client) error { return get(ctx, c) }
	change := func(ctx context.Context, c *client.Client) error {
		_, err := c.Containers.DeleteContainer(ctx, &pb.DeleteContainerRequest{Username: "alice"})
		return err
	}
	create := func(ctx context.Context, c *client.Client) error {
		stream, err := c.Containers.CreateContainerStream(ctx, &pb.CreateContainerStreamRequest{Create: &pb.CreateContainerRequest{Username: "alice"}})
		return drained(stream, err)
	}
	watch := func(version string) func(ctx context.Context, c *client.Client) error {
		return func(ctx context.Context, c *client.Client) error {
			stream, err := c.Containers.WatchContainers(ctx, &pb.WatchContainersRequest{Version: version})
			return drained(stream, err)
		}
	}
	unknown := func(ctx context.Context, c *client.Client) error {
		return c.Conn().Invoke(ctx, "/containarium.v1.NoService/Get", &pb.GetContainerRequest{Username: "alice"}, &pb.GetContainerResponse{})
	}
	for name, test := range map[string]struct {
		call    func(context.Context, *client.Client) error
		answers []error
		calls   int
		want    codes.Code
	}{
		"read":                     {read, []error{unavailable, unavailable}, 3, codes.OK},
		"read without details":     {read, []error{status.Error(codes.Unavailable, "no")}, 2, codes.OK},
		"read, to the bound":       {read, []error{unavailable, unavailable, unavailable, unavailable}, 3, codes.Unavailable},
		"read too often":           {read, []error{tooMany, tooMany}, 3, codes.OK},
		"read what is not there":   {read, []error{answer(t, codes.NotFound, "NOT_FOUND", time.Millisecond)}, 1, codes.NotFound},
		"read of a full server":    {read, []error{answer(t, codes.ResourceExhausted, "TOO_MANY_WATCHES", time.Millisecond)}, 1, codes.ResourceExhausted},
		"read, denied":             {read, []error{answer(t, codes.PermissionDenied, "DENIED", time.Millisecond)}, 1, codes.PermissionDenied},
		"read, asked to wait long": {read, []error{answer(t, codes.Unavailable, "INCUS_UNAVAILABLE", time.Hour)}, 1, codes.Unavailable},
		"change":                   {change, []error{unavailable}, 1, codes.Unavailable},
		"change too often":         {change, []error{tooMany, tooMany}, 3, codes.OK},
		"change, not told when":    {change, []error{answer(t, codes.ResourceExhausted, "TOO_MANY_CALLS", 0)}, 1, codes.ResourceExhausted},
		"change, otherwise full":   {change, []error{answer(t, codes.ResourceExhausted, "DISK_FULL", time.Millisecond)}, 1, codes.ResourceExhausted},
		"change, then broken":      {change, []error{tooMany, unavailable}, 2, codes.Unavailable},
		"create":                   {create, []error{unavailable}, 1, codes.Unavailable},
		"create too often":         {create, []error{tooMany, tooMany}, 3, codes.OK},
		"stream":                   {watch("1"), []error{unavailable, unavailable}, 3, codes.OK},
		"stream, to the bound":     {watch("1"), []error{unavailable, unavailable, unavailable, unavailable}, 3, codes.Unavailable},
		"stream, broken later":     {watch("late"), []error{unavailable}, 1, codes.Unavailable},
		"unknown method":           {unknown, []error{unavailable}, 1, codes.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := &scripted{answers: test.answers}
			c := dialScripted(t, server, client.WithRetry(client.Retry{Attempts: 3, First: time.Millisecond, Longest: 20 * time.Millisecond}))
			err := test.call(t.Context(), c)
			if status.Code(err) != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if err != nil {
				asError(t, err)
			}
			server.mu.Lock()
			defer server.mu.Unlock()
			if len(server.calls) != test.calls {
				t.Errorf("%d calls, want %d", len(server.calls), test.calls)
			}
			for _, username := range server.calls { // the request is whole each time
				if username != server.calls[0] || username == "" {
					t.Errorf("the calls were for %q", server.calls)
				}
			}
		})
	}
	t.Run("not asked for", func(t *testing.T) {
		server := &scripted{answers: []error{unavailable}}
		if err := get(t.Context(), dialScripted(t, server)); status.Code(err) != codes.Unavailable || len(server.calls) != 1 {
			t.Errorf("%d calls: %v", len(server.calls), err)
		}
	})
}

// drained reads a stream to its end.
func drained[T any](stream grpc.ServerStreamingClient[T], err error) error {
	for err == nil {
		_, err = stream.Recv()
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func dialScripted(t testing.TB, server *scripted, opts ...client.Option) *client.Client {
	t.Helper()
	ca := pkitest.New(t)
	address := serveWith(t, ca, func(s *grpc.Server) { pb.RegisterContainerServiceServer(s, server) },
		grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error { return server.next("alice") }))
	return dialWith(t, with(client.Server{Name: "jump-1", Address: address}, ca.Client(t, "alice").WriteFiles(t, t.TempDir(), ca)), opts...)
}

// The waits are those that were asked for, the daemon's where it asks for longer.
func TestRetryWaits(t *testing.T) {
	const after = 100 * time.Millisecond
	server := &scripted{answers: []error{
		answer(t, codes.Unavailable, "INCUS_UNAVAILABLE", 0), answer(t, codes.Unavailable, "INCUS_UNAVAILABLE", 0), answer(t, codes.Unavailable, "INCUS_UNAVAILABLE", after),
	}}
	c := dialScripted(t, server, client.WithRetry(client.Retry{First: 20 * time.Millisecond}))
	if err := get(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for n, least := range []time.Duration{20 * time.Millisecond, 40 * time.Millisecond, after} {
		if waited := server.at[n+1].Sub(server.at[n]); waited < least {
			t.Errorf("wait %d: %s, want %s at least", n+1, waited, least)
		}
	}
}

// A retry ends with its caller, and does not begin a wait that its caller will not
// see the end of: what the server said is worth more than that time is over.
func TestRetryEndsWithItsCaller(t *testing.T) {
	unavailable := answer(t, codes.Unavailable, "INCUS_UNAVAILABLE", 0)
	server := &scripted{answers: []error{unavailable, unavailable, unavailable, unavailable}}
	c := dialScripted(t, server, client.WithRetry(client.Retry{First: time.Hour, Longest: time.Hour}))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	if err := get(ctx, c); status.Code(err) != codes.Unavailable {
		t.Errorf("deadline before the next attempt: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- get(ctx, c) }()
	daemontest.Wait(t, "the second call", func() bool {
		server.mu.Lock()
		defer server.mu.Unlock()
		return len(server.calls) == 2
	})
	cancel()
	if err := <-done; err == nil || len(server.calls) != 2 {
		t.Errorf("%d calls: %v", len(server.calls), err)
	}
}

// A server that comes up is met, one whose certificate we do not take is not asked
// again.
func TestRetryOfAServerThatIsAway(t *testing.T) {
	ca := pkitest.New(t)
	files := ca.Client(t, "alice").WriteFiles(t, t.TempDir(), ca)
	front := newFront(t)
	retry := client.WithRetry(client.Retry{Attempts: 1000, Longest: 100 * time.Millisecond})
	done := make(chan error, 1)
	c := dialWith(t, with(client.Server{Name: "jump-1", Address: front.address}, files), retry)
	go func() { done <- get(t.Context(), c) }()
	front.waitRefused(t)
	server := &scripted{}
	front.to(serveWith(t, ca, func(s *grpc.Server) { pb.RegisterContainerServiceServer(s, server) }))
	if err := <-done; err != nil {
		t.Error(err)
	}

	other := pkitest.New(t)
	stranger := serveWith(t, other, func(s *grpc.Server) { pb.RegisterContainerServiceServer(s, server) })
	err := get(t.Context(), dialWith(t, with(client.Server{Name: "jump-1", Address: stranger}, files), retry))
	if call := asError(t, err); call.Transient() || call.Code() != codes.Unavailable {
		t.Errorf("a server of another CA: %v", err)
	}
}

// A daemon that refuses a change since there are too many calls has done nothing of
// it: made again, it is done once.
func TestRetryOfAChangeAtTheDaemon(t *testing.T) {
	sim := incustest.Start(t)
	d := daemontest.StartOn(t, sim, func(c *config.File) { c.Limits.Rate, c.Limits.Burst = 5, 10 })
	once := dialDaemon(t, d, "admin")
	create := &pb.CreateContainerRequest{Username: "alice", NoWait: true}
	daemontest.Wait(t, "admin has made too many calls", func() bool {
		_, err := once.Auth.WhoAmI(t.Context(), &pb.WhoAmIRequest{})
		return status.Code(err) == codes.ResourceExhausted
	})
	retrying := dialDaemon(t, d, "admin", client.WithRetry(client.Retry{First: time.Millisecond, Attempts: 100}))
	response, err := retrying.Containers.CreateContainer(t.Context(), create)
	if err != nil || response.GetContainer().GetUsername() != "alice" {
		t.Fatalf("%v, %v", response, err)
	}
	daemontest.Wait(t, "the create in the audit log", func() bool {
		done := 0
		for _, r := range d.Audit(t) {
			if r.Method != pb.ContainerService_CreateContainer_FullMethodName {
				continue
			}
			switch r.Code {
			case codes.OK.String():
				done++
			case codes.ResourceExhausted.String():
				if r.Decision != "deny" || r.Rule != "limits.rate" {
					t.Fatalf("refused, and yet %+v", r)
				}
			default:
				t.Fatalf("a create that ended otherwise: %+v", r)
			}
		}
		return done == 1
	})
}
