package intercept

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/daemon/audit"
	"github.com/footprintai/containarium/daemon/limit"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

const startContainer = "/containarium.v1.ContainerService/StartContainer"

// TestTooManyCalls: an identity that made its calls is told when to try again,
// whether they were allowed or not, and another one notices nothing.
func TestTooManyCalls(t *testing.T) {
	k := newKit(t)
	k.Rate = limit.NewRate(limit.MinRate, limit.MinBurst, func() time.Time { return time.Unix(0, 0) })
	ctx := k.alice(t)
	for n := range limit.MinBurst {
		want, container := codes.OK, "alice"
		if n%2 == 1 {
			want, container = codes.PermissionDenied, "bob"
		}
		if err := k.get(ctx, container, nothing); status.Code(err) != want {
			t.Fatalf("call %d: %v, want %s", n, err, want)
		}
	}
	k.trail.Reset()
	err := k.get(ctx, "alice", nothing)
	st := status.Convert(err)
	var info *errdetails.ErrorInfo
	var retry *errdetails.RetryInfo
	for _, d := range st.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			info = d
		case *errdetails.RetryInfo:
			retry = d
		}
	}
	if st.Code() != codes.ResourceExhausted || info.GetReason() != "TOO_MANY_CALLS" || retry.GetRetryDelay().AsDuration() != time.Second {
		t.Errorf("got %v (%v), want ResourceExhausted and a second's wait", st, st.Details())
	}
	if r := k.last(t); r.Decision != "deny" || r.Rule != "limits.rate" || r.Code != "ResourceExhausted" || r.CN != "alice" {
		t.Errorf("audit %+v", r)
	}
}

// full is a disk that is full after so many bytes.
type full struct{ left int }

func (f *full) Write(p []byte) (int, error) {
	if len(p) > f.left {
		return 0, errors.New("no space left on device")
	}
	f.left -= len(p)
	return len(p), nil
}

// TestDecisionIsWrittenFirst: a call that changes something has its decision in
// the log before it acts; one that reads has its line at the end alone.
func TestDecisionIsWrittenFirst(t *testing.T) {
	k := newKit(t)
	ctx := k.alice(t)
	k.allow(t, "container.start")
	before := ""
	start := func() error {
		_, err := k.Unary(ctx, &pb.StartContainerRequest{Username: "alice"}, &grpc.UnaryServerInfo{FullMethod: startContainer}, func(context.Context, any) (any, error) {
			before = k.trail.String()
			return &pb.StartContainerResponse{}, nil
		})
		return err
	}
	if err := start(); err != nil {
		t.Fatal(err)
	}
	if strings.Count(before, "\n") != 1 || !strings.Contains(before, `"event":"decision"`) || !strings.Contains(before, `"decision":"allow"`) {
		t.Errorf("before the call acted the log had %q", before)
	}
	if got := strings.Count(k.trail.String(), "\n"); got != 2 {
		t.Errorf("%d lines of one call, want 2", got)
	}
	if err := k.get(ctx, "alice", nothing); err != nil || strings.Count(k.trail.String(), "\n") != 3 {
		t.Errorf("a call that reads: %v, and the log has %q", err, k.trail.String())
	}
}

// TestUnwritableAudit: what can not be recorded is not done, unless the operator
// would rather be warned.
func TestUnwritableAudit(t *testing.T) {
	for _, must := range []bool{true, false} {
		k := newKit(t)
		ctx := k.alice(t)
		k.allow(t, "container.start")
		k.Audit, k.MustAudit = audit.New(&full{}), must
		acted := false
		_, err := k.Unary(ctx, &pb.StartContainerRequest{Username: "alice"}, &grpc.UnaryServerInfo{FullMethod: startContainer}, func(context.Context, any) (any, error) {
			acted = true
			return &pb.StartContainerResponse{}, nil
		})
		if acted == must || (status.Code(err) == codes.Unavailable) != must {
			t.Errorf("refuse %v: acted %v, error %v", must, acted, err)
		}
		if !strings.Contains(k.log.String(), "no space left") {
			t.Errorf("refuse %v: the log does not say why: %s", must, k.log.String())
		}
		if err := k.get(ctx, "alice", nothing); err != nil {
			t.Errorf("refuse %v: a call that reads: %v", must, err)
		}
	}
}

// TestStreamDecisionIsWrittenFirst: the same for a stream, with its first message.
func TestStreamDecisionIsWrittenFirst(t *testing.T) {
	for _, must := range []bool{true, false} {
		k := newKit(t)
		ctx := k.alice(t)
		k.allow(t, "container.create")
		k.Audit, k.MustAudit = audit.New(&full{}), must
		acted := false
		err := k.Stream(nil, oneMessage{ctx}, &grpc.StreamServerInfo{FullMethod: "/containarium.v1.ContainerService/CreateContainerStream"}, func(_ any, s grpc.ServerStream) error {
			if err := s.RecvMsg(&pb.CreateContainerStreamRequest{}); err != nil {
				return err
			}
			acted = true
			return nil
		})
		if acted == must || (status.Code(err) == codes.Unavailable) != must {
			t.Errorf("refuse %v: acted %v, error %v", must, acted, err)
		}
	}
}

// oneMessage is a stream that asks for alice's container.
type oneMessage struct{ ctx context.Context }

func (o oneMessage) Context() context.Context     { return o.ctx }
func (o oneMessage) SetHeader(metadata.MD) error  { return nil }
func (o oneMessage) SendHeader(metadata.MD) error { return nil }
func (o oneMessage) SetTrailer(metadata.MD)       {}
func (o oneMessage) SendMsg(any) error            { return io.EOF }
func (o oneMessage) RecvMsg(m any) error {
	request, _ := m.(*pb.CreateContainerStreamRequest)
	request.Create = &pb.CreateContainerRequest{Username: "alice"}
	return nil
}

// TestTurnsOfReads: of the calls of one identity that change nothing, a few run at
// once and the others wait; one that changes something waits for none of them.
func TestTurnsOfReads(t *testing.T) {
	k := newKit(t)
	k.Turns = limit.NewTurns()
	ctx := k.alice(t)
	k.allow(t, "container.start")
	turns := max(4, runtime.GOMAXPROCS(0)) // those of limit.NewTurns
	calls := 4 * turns
	running, end := make(chan struct{}, calls), make(chan struct{})
	ended := make(chan error, calls)
	k.Audit = audit.New(io.Discard)
	for range calls {
		go func() {
			ended <- k.get(ctx, "alice", func(context.Context, any) (any, error) {
				running <- struct{}{}
				<-end
				return &pb.GetContainerResponse{}, nil
			})
		}()
	}
	for range turns {
		<-running
	}
	_, err := k.Unary(ctx, &pb.StartContainerRequest{Username: "alice"}, &grpc.UnaryServerInfo{FullMethod: startContainer}, func(context.Context, any) (any, error) {
		return &pb.StartContainerResponse{}, nil
	})
	if err != nil {
		t.Errorf("a call that changes something: %v", err)
	}
	given, cancel := context.WithCancel(ctx)
	cancel()
	if err := k.get(given, "alice", nothing); status.Code(err) != codes.Canceled {
		t.Errorf("one that was given up while all turns were taken: %v, want Canceled", err)
	}
	close(end)
	for range calls {
		if err := <-ended; err != nil {
			t.Errorf("a call that had to wait: %v", err)
		}
	}
}
