package client_test

import (
	"context"
	"errors"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/daemon/config"
	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/incusx/incustest"
	"github.com/footprintai/containarium/pki/pkitest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// words is what a watch says up to its next SYNCED, cut or end, in short.
func words(t *testing.T, next func() (client.WatchEvent, error, bool)) string {
	t.Helper()
	var all []string
	for {
		event, err, ok := next()
		switch {
		case !ok:
			return strings.Join(append(all, "left"), " ")
		case err != nil:
			return strings.Join(append(all, "over: "+status.Code(err).String()), " ")
		case event.CutOff != nil:
			if event.Retry <= 0 || event.Message != nil {
				t.Errorf("cut off: %+v", event)
			}
			return strings.Join(append(all, "cut"), " ")
		}
		change := strings.TrimPrefix(event.Message.GetChange().String(), "WATCH_CHANGE_")
		all = append(all, strings.TrimSuffix(change+" "+event.Message.GetUsername(), " "))
		if change == "SYNCED" {
			return strings.Join(all, " ")
		}
	}
}

// pull reads a watch event by event, and leaves it with the test.
func pull(t *testing.T, watch iter.Seq2[client.WatchEvent, error]) func() string {
	t.Helper()
	next, stop := iter.Pull2(watch)
	t.Cleanup(stop)
	return func() string { t.Helper(); return words(t, next) }
}

func wantWords(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Fatalf("the watch says %q, want %q", got, want)
	}
}

// watched is a server of which each watch is a script: messages, and an error.
type watched struct {
	pb.UnimplementedContainerServiceServer
	mu      sync.Mutex
	scripts []script
	asked   []*pb.WatchContainersRequest
	over    chan struct{} // a watch that its caller left
}

type script struct {
	messages []*pb.WatchContainersResponse
	err      error // nil holds the watch open until its caller leaves
}

func (w *watched) WatchContainers(r *pb.WatchContainersRequest, stream grpc.ServerStreamingServer[pb.WatchContainersResponse]) error {
	w.mu.Lock()
	n := len(w.asked)
	w.asked = append(w.asked, r)
	w.mu.Unlock()
	if n >= len(w.scripts) {
		return status.Error(codes.Internal, "the test asks too often")
	}
	for _, message := range w.scripts[n].messages {
		if err := stream.Send(message); err != nil {
			return err
		}
	}
	if err := w.scripts[n].err; err != nil {
		return err
	}
	<-stream.Context().Done()
	close(w.over)
	return stream.Context().Err()
}

func startWatched(t *testing.T, scripts ...script) (*watched, *client.Client) {
	t.Helper()
	w := &watched{scripts: scripts, over: make(chan struct{})}
	ca := pkitest.New(t)
	address := serveWith(t, ca, func(s *grpc.Server) { pb.RegisterContainerServiceServer(s, w) })
	// A retry of calls must not hide from the watch that it was cut off.
	return w, dialWith(t, with(client.Server{Name: "jump-1", Address: address}, ca.Client(t, "alice").WriteFiles(t, t.TempDir(), ca)),
		client.WithRetry(client.Retry{}))
}

func reset() *pb.WatchContainersResponse {
	return &pb.WatchContainersResponse{Change: pb.WatchChange_WATCH_CHANGE_RESET}
}

func present(username string) *pb.WatchContainersResponse {
	return &pb.WatchContainersResponse{Change: pb.WatchChange_WATCH_CHANGE_PRESENT, Username: username}
}

func synced(version string) *pb.WatchContainersResponse {
	return &pb.WatchContainersResponse{Change: pb.WatchChange_WATCH_CHANGE_SYNCED, Version: version}
}

type messages = []*pb.WatchContainersResponse

// A watch that is cut off goes on from the last version at which what it had said
// was whole, and from none where it had begun anew since.
func TestWatchResumes(t *testing.T) {
	away := status.Error(codes.Unavailable, "away")
	server, c := startWatched(t,
		script{messages{reset(), present("alice"), synced("1"), present("bob")}, away},
		script{messages{present("bob"), synced("2"), reset(), present("alice")}, away},
		script{nil, away},
		script{messages{reset(), present("carol"), synced("3")}, away},
		script{messages{synced("4")}, status.Error(codes.PermissionDenied, "no more")})
	request := &pb.WatchContainersRequest{Version: "0", States: []pb.ContainerState{pb.ContainerState_CONTAINER_STATE_RUNNING}}
	next := pull(t, client.Watch(t.Context(), c, request))
	for _, want := range []string{
		"RESET PRESENT alice SYNCED", "PRESENT bob cut", "PRESENT bob SYNCED", "RESET PRESENT alice cut", "cut",
		"RESET PRESENT carol SYNCED", "cut", "SYNCED", "over: PermissionDenied", "left",
	} {
		wantWords(t, next(), want)
	}
	var versions []string
	for _, r := range server.asked {
		versions = append(versions, r.GetVersion())
		if len(r.GetStates()) != 1 {
			t.Errorf("the filter is lost: %v", r)
		}
	}
	if got := strings.Join(versions, ","); got != "0,1,,,3" {
		t.Errorf("resumed from %q", got)
	}
	if request.GetVersion() != "0" {
		t.Errorf("the caller's request was changed: %v", request)
	}
}

// What another attempt does not mend ends the watch, with the error.
func TestWatchEnds(t *testing.T) {
	for code, ends := range map[codes.Code]bool{
		codes.PermissionDenied: true, codes.Unauthenticated: true, codes.InvalidArgument: true, codes.Unimplemented: true,
		codes.Internal: true, codes.ResourceExhausted: true, codes.Unavailable: false,
	} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			_, c := startWatched(t, script{nil, answer(t, code, "WHY", 0)}, script{messages{synced("1")}, nil})
			next := pull(t, client.Watch(t.Context(), c, nil))
			if ends {
				wantWords(t, next(), "over: "+code.String())
				wantWords(t, next(), "left")
			} else {
				wantWords(t, next(), "cut")
				wantWords(t, next(), "SYNCED")
			}
		})
	}
	t.Run("too many calls", func(t *testing.T) { // says when to come again
		t.Parallel()
		_, c := startWatched(t, script{nil, answer(t, codes.ResourceExhausted, "TOO_MANY_CALLS", time.Millisecond)}, script{messages{synced("1")}, nil})
		next := pull(t, client.Watch(t.Context(), c, nil))
		wantWords(t, next(), "cut")
		wantWords(t, next(), "SYNCED")
	})
	t.Run("another CA", func(t *testing.T) {
		t.Parallel()
		ca, other := pkitest.New(t), pkitest.New(t)
		address := serveWith(t, other, func(*grpc.Server) {})
		c := dial(t, address, ca.Client(t, "alice").WriteFiles(t, t.TempDir(), ca))
		wantWords(t, pull(t, client.Watch(t.Context(), c, nil))(), "over: Unavailable")
	})
}

// The wait is at least what the daemon asks for, and grows while nothing comes.
func TestWatchWaits(t *testing.T) {
	_, c := startWatched(t, script{nil, answer(t, codes.Unavailable, "INCUS_UNAVAILABLE", time.Hour)})
	next, stop := iter.Pull2(client.Watch(t.Context(), c, nil))
	defer stop()
	if event, err, _ := next(); err != nil || event.CutOff == nil || event.Retry < time.Hour {
		t.Errorf("%+v, %v", event, err)
	}
	stop()

	away := script{nil, status.Error(codes.Unavailable, "away")}
	_, c = startWatched(t, away, away, away, script{messages{synced("1")}, away.err})
	var waits []time.Duration
	for event, err := range client.Watch(t.Context(), c, nil) {
		if err != nil {
			t.Fatal(err)
		}
		if event.CutOff != nil {
			waits = append(waits, event.Retry)
		}
		if len(waits) == 4 {
			break
		}
	}
	for n, least := range []time.Duration{200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond, 200 * time.Millisecond} {
		if waits[n] < least || waits[n] > least+least/4 {
			t.Errorf("wait %d is %s, want %s or a quarter more", n+1, waits[n], least)
		}
	}
}

// The call ends when the loop is left, and when the context ends.
func TestWatchIsLeft(t *testing.T) {
	server, c := startWatched(t, script{messages{synced("1")}, nil})
	for event, err := range client.Watch(t.Context(), c, nil) {
		if err != nil || event.Message.GetVersion() != "1" {
			t.Errorf("%+v, %v", event, err)
		}
		break
	}
	<-server.over

	server, c = startWatched(t, script{messages{synced("1")}, nil})
	ctx, cancel := context.WithCancel(t.Context())
	next := pull(t, client.Watch(ctx, c, nil))
	wantWords(t, next(), "SYNCED")
	cancel()
	wantWords(t, next(), "over: Canceled")
	<-server.over

	_, c = startWatched(t, script{nil, answer(t, codes.Unavailable, "INCUS_UNAVAILABLE", time.Hour)})
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	var last error
	for event, err := range client.Watch(ctx, c, nil) {
		if last = err; event.CutOff != nil {
			cancel() // in the wait for the next attempt
		}
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("the end is %v", last)
	}
}

// A watch outlives the connection and the daemon. Over a new connection it goes on
// where it was; a daemon that was started anew tells everything again.
func TestWatchSurvivesARestart(t *testing.T) {
	options := daemontest.Options{CA: pkitest.New(t), Sim: incustest.Start(t), Change: func(c *config.File) { c.Limits.Burst = 1000 }}
	d := daemontest.StartWith(t, options)
	front := newFront(t)
	front.to(d.Address)
	create := func(username string) {
		t.Helper()
		_, err := pb.NewContainerServiceClient(d.Dial(t, "admin")).CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: username, NoWait: true})
		if err != nil {
			t.Fatal(err)
		}
	}
	create("alice")
	c := dialWith(t, with(client.Server{Name: "jump-1", Address: front.address}, d.ClientFiles(t, "admin")))
	next, stop := iter.Pull2(client.Watch(t.Context(), c, nil))
	defer stop()
	// until reads up to a part that says want. Nothing begins anew before.
	until := func(want string) {
		t.Helper()
		for got := ""; !strings.Contains(got, want); {
			if got = words(t, next); strings.Contains(got, "RESET") || strings.Contains(got, "over") {
				t.Fatalf("the watch says %q, want %q", got, want)
			}
		}
	}
	wantWords(t, words(t, next), "RESET PRESENT alice SYNCED")
	front.cut()
	until("cut")
	create("bob") // while nobody listens, or as soon as somebody does
	until("PRESENT bob")
	front.to("")
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	until("cut")
	until("cut") // an attempt that met nobody
	d = daemontest.StartWith(t, options)
	create("carol")
	front.to(d.Address)
	got := "cut"
	for got == "cut" {
		got = words(t, next)
	}
	wantWords(t, got, "RESET PRESENT alice PRESENT bob PRESENT carol SYNCED")
}

// The daemon ends a watch with the certificate that it began with. With one that was
// renewed in time it goes on; without, it is over.
func TestWatchOutlivesACertificate(t *testing.T) {
	clock := newClock()
	ca := pkitest.NewAt(t, clock.Now)
	d := daemontest.StartWith(t, daemontest.Options{CA: ca})
	issue := func() pkitest.Pair { return ca.Client(t, "admin", pkitest.Lifetime(5*time.Minute)) }
	pair := issue()
	files := pair.WriteFiles(t, t.TempDir(), ca)
	c := dialAt(t, d.Address, files, clock)
	next := pull(t, client.Watch(t.Context(), c, nil))
	wantWords(t, next(), "RESET SYNCED")
	clock.add(4 * time.Minute)
	renew(t, files, issue(), ca)
	clock.set(pair.Leaf.NotAfter.Add(time.Second))
	// until skips what may come meanwhile.
	until := func(want, meanwhile string) {
		t.Helper()
		got := next()
		for got == meanwhile {
			got = next()
		}
		if !strings.HasPrefix(got, want) {
			t.Fatalf("the watch says %q, want %q", got, want)
		}
	}
	until("cut", "SYNCED")
	until("SYNCED", "cut")
	clock.add(4 * time.Minute)
	until("cut", "SYNCED")
	until("over", "cut") // a refusal may look like a break at first
}
