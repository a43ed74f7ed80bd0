package service_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/footprintai/containarium/daemon/service"
	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/incusx/incustest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// watcher is the caller of a watch.
type watcher struct {
	grpc.ServerStream
	ctx  context.Context
	got  chan *pb.WatchContainersResponse
	done chan error

	version string // of the last SYNCED
}

func (w *watcher) Context() context.Context { return w.ctx }

func (w *watcher) Send(message *pb.WatchContainersResponse) error {
	select {
	case w.got <- message:
		return nil
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
}

// watch begins one, which ends with the test or with the returned function.
func (s *site) watch(t *testing.T, request *pb.WatchContainersRequest) (*watcher, func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &watcher{ctx: ctx, got: make(chan *pb.WatchContainersResponse), done: make(chan error, 1)}
	go func() { w.done <- s.WatchContainers(request, w); close(w.done) }()
	stop := func() { cancel(); <-w.done }
	t.Cleanup(stop)
	return w, stop
}

// next reads up to the next SYNCED that says something new and returns it as
// "reset +alice -bob".
func (w *watcher) next(t *testing.T) string {
	t.Helper()
	words := []string{}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			t.Fatalf("nothing came after %q", words)
		case err := <-w.done:
			t.Fatalf("the watch ended: %v", err)
		case message := <-w.got:
			switch message.GetChange() {
			case pb.WatchChange_WATCH_CHANGE_RESET:
				words = append(words, "reset")
			case pb.WatchChange_WATCH_CHANGE_PRESENT:
				if message.GetContainer().GetUsername() != message.GetUsername() {
					t.Errorf("the message about %s has the container of %s", message.GetUsername(), message.GetContainer().GetUsername())
				}
				words = append(words, "+"+message.GetUsername())
			case pb.WatchChange_WATCH_CHANGE_GONE:
				words = append(words, "-"+message.GetUsername())
			case pb.WatchChange_WATCH_CHANGE_SYNCED:
				if message.GetVersion() == "" || message.GetFreshness() == nil {
					t.Errorf("synced without version or freshness: %v", message)
				}
				w.version = message.GetVersion()
				if len(words) > 0 {
					return strings.Join(words, " ")
				}
			case pb.WatchChange_WATCH_CHANGE_UNSPECIFIED:
				t.Errorf("message %v", message)
			}
		}
	}
}

// sees reads until what came is that, in whatever portions.
func (w *watcher) sees(t *testing.T, want string) {
	t.Helper()
	got := ""
	for got != want {
		if got != "" {
			got += " "
		}
		if got += w.next(t); !strings.HasPrefix(want, got) {
			t.Fatalf("the watch says %q, want %q", got, want)
		}
	}
}

func (s *site) stopped(t *testing.T, username string) {
	t.Helper()
	if _, err := s.StopContainer(t.Context(), &pb.StopContainerRequest{Username: username, Force: true}); err != nil {
		t.Fatal(err)
	}
}

func (s *site) deleted(t *testing.T, username string) {
	t.Helper()
	if _, err := s.DeleteContainer(t.Context(), &pb.DeleteContainerRequest{Username: username, Force: true}); err != nil {
		t.Fatal(err)
	}
}

func TestWatch(t *testing.T) {
	s := newSite(t, incustest.Options{})
	s.create(t, "bob")
	s.create(t, "alice")
	everything, _ := s.watch(t, &pb.WatchContainersRequest{})
	everything.sees(t, "reset +alice +bob")
	running, _ := s.watch(t, &pb.WatchContainersRequest{States: []pb.ContainerState{pb.ContainerState_CONTAINER_STATE_RUNNING}})
	running.sees(t, "reset +alice +bob")
	s.stopped(t, "bob")
	running.sees(t, "-bob")
	for got := ""; got != "+bob"; { // it may be told of steps of the stop
		got = everything.next(t)
		if got != "+bob" {
			t.Fatalf("the watch says %q", got)
		}
	}
	s.deleted(t, "bob") // nobody who watches those that run hears of it
	s.deleted(t, "alice")
	running.sees(t, "-alice")
	if info, err := s.GetSystemInfo(t.Context(), &pb.GetSystemInfoRequest{}); err != nil || info.GetCache().GetWatchers() != 2 || info.GetCache().GetEvents() == 0 ||
		info.GetCache().GetResyncs() == 0 || info.GetCache().GetBoundMilliseconds() == 0 || !info.GetCache().GetFreshness().GetLive() {
		t.Errorf("cache %v, %v", info.GetCache(), err)
	}
}

func TestWatchResumes(t *testing.T) {
	s := newSite(t, incustest.Options{})
	s.create(t, "alice")
	s.create(t, "bob")
	first, stop := s.watch(t, &pb.WatchContainersRequest{})
	first.sees(t, "reset +alice +bob")
	stop()
	s.deleted(t, "alice")
	again, stop := s.watch(t, &pb.WatchContainersRequest{Version: first.version})
	again.sees(t, "-alice")
	stop()
	for name, request := range map[string]*pb.WatchContainersRequest{
		"rubbish":        {Version: "x"},
		"another epoch":  {Version: "EPOCH" + again.version[strings.Index(again.version, "."):]},
		"another filter": {Version: again.version, States: []pb.ContainerState{pb.ContainerState_CONTAINER_STATE_RUNNING}},
	} {
		other, stop := s.watch(t, request)
		if got := other.next(t); got != "reset +bob" {
			t.Errorf("%s: %q, want a new beginning", name, got)
		}
		stop()
	}
	err := s.WatchContainers(&pb.WatchContainersRequest{Version: strings.Repeat("x", 200), States: make([]pb.ContainerState, 9)}, nil)
	if got := violatedFields(t, err); fmt.Sprint(got) != "[states version]" {
		t.Errorf("violations %q", got)
	}
}

// What the caller may see is decided again with each policy; it hears of nothing
// else, not even that it goes.
func TestWatchFollowsThePolicy(t *testing.T) {
	var policy struct {
		sync.Mutex
		allowed string
		number  uint64
		newer   chan struct{}
	}
	policy.allowed, policy.newer = "alice bob", make(chan struct{})
	s := newSite(t, incustest.Options{}, func(c *service.Config) {
		c.Standing = func(context.Context) (func(rpc, username string) bool, uint64, <-chan struct{}) {
			policy.Lock()
			defer policy.Unlock()
			allowed := policy.allowed
			return func(rpc, username string) bool {
				return rpc == "ContainerService/WatchContainers" && strings.Contains(allowed, username)
			}, policy.number, policy.newer
		}
	})
	allow := func(users string) {
		policy.Lock()
		defer policy.Unlock()
		policy.allowed = users
		policy.number++
		close(policy.newer)
		policy.newer = make(chan struct{})
	}
	for _, username := range []string{"alice", "bob", "carol", "dave"} {
		s.create(t, username)
	}
	w, stop := s.watch(t, &pb.WatchContainersRequest{})
	w.sees(t, "reset +alice +bob")
	s.deleted(t, "dave") // which it never saw
	allow("bob carol")
	w.sees(t, "-alice +carol")
	s.deleted(t, "alice")
	allow("carol")
	w.sees(t, "-bob")
	old := w.version
	stop()
	allow("bob")
	// What it saw under another policy can not be told.
	w, _ = s.watch(t, &pb.WatchContainersRequest{Version: old})
	w.sees(t, "reset +bob")
}

// synced waits for the word that the watch is up to date, by a copy that is good
// or not.
func (w *watcher) synced(t *testing.T, live bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			t.Fatal("waited in vain")
		case message := <-w.got:
			if message.GetChange() != pb.WatchChange_WATCH_CHANGE_SYNCED {
				t.Fatalf("message %v", message)
			}
			if message.GetFreshness().GetLive() == live {
				return
			}
		}
	}
}

// A watch on which nothing happens says so.
func TestWatchBeats(t *testing.T) {
	s := newSite(t, incustest.Options{})
	s.create(t, "alice")
	s.SetHeartbeat(time.Millisecond)
	w, _ := s.watch(t, &pb.WatchContainersRequest{})
	w.sees(t, "reset +alice")
	for range 3 {
		w.synced(t, true)
	}
}

// A watch is told at once that Incus went away, and what happened until it was
// back; a new one is refused while it is away.
func TestWatchWhileIncusIsAway(t *testing.T) {
	s := newSite(t, incustest.Options{})
	s.create(t, "alice")
	s.SetHeartbeat(time.Hour)
	w, _ := s.watch(t, &pb.WatchContainersRequest{})
	w.sees(t, "reset +alice")
	s.sim.Down()
	w.synced(t, false)
	err := s.WatchContainers(&pb.WatchContainersRequest{}, &watcher{ctx: t.Context()})
	wantStatus(t, err, codes.Unavailable, "INCUS_UNAVAILABLE", "Incus on this host does not answer")
	if err := s.sim.Up(); err != nil {
		t.Fatal(err)
	}
	w.synced(t, true)
	if err := s.incus.Remove(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	w.sees(t, "-alice")
}

// One that does not read holds up nobody, and gets what it missed as one change
// for each container.
func TestSlowWatcher(t *testing.T) {
	s := newSite(t, incustest.Options{})
	s.create(t, "alice")
	slow, _ := s.watch(t, &pb.WatchContainersRequest{})
	slow.sees(t, "reset +alice")
	quick, _ := s.watch(t, &pb.WatchContainersRequest{})
	quick.sees(t, "reset +alice")
	for i := range 50 {
		username := fmt.Sprintf("u%d", i)
		if err := s.sim.Populate("default", 1, func(int) map[string]string {
			return map[string]string{"user.containarium.username": username, "user.containarium.phase": "ready"}
		}); err != nil {
			t.Fatal(err)
		}
		s.sim.Tell("default", incusx.InstanceName(username), "instance-created")
		quick.sees(t, "+"+username)
		if i < 49 {
			s.deleted(t, username)
			quick.sees(t, "-"+username)
		}
	}
	// It may have begun to be told of the first while it did not read.
	got := slow.next(t)
	if got == "+u0" {
		got += " " + slow.next(t)
	}
	if got != "+u49" && got != "+u0 -u0 +u49" {
		t.Errorf("the slow one gets %q", got)
	}
}
