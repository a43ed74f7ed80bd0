package service_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"
	"github.com/sirupsen/logrus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/daemon/service"
	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/incusx/incustest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// wire is the way from a daemon to Incus and to its host. Where it is cut, the
// daemon has no effect on anything any more: as if it had been killed.
type wire struct {
	*hop
	socket   string
	listener net.Listener

	mu    sync.Mutex
	dead  bool
	conns []net.Conn
}

var errKilled = errors.New("the daemon was killed")

func newWire(t *testing.T, s *site) *wire {
	t.Helper()
	w := &wire{hop: s.hop, socket: filepath.Join(t.TempDir(), "s")}
	var err error
	if w.listener, err = net.Listen("unix", w.socket); err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			from, err := w.listener.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("unix", s.sim.Socket())
			if err != nil {
				_ = from.Close()
				continue
			}
			if !w.add(from, to) {
				continue
			}
			for _, way := range [2][2]net.Conn{{from, to}, {to, from}} {
				running.Go(func() {
					_, _ = io.Copy(way[0], way[1])
					_ = from.Close()
					_ = to.Close()
				})
			}
		}
	})
	t.Cleanup(func() { w.cut(); running.Wait() })
	return w
}

func (w *wire) add(conns ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		for _, c := range conns {
			_ = c.Close()
		}
		return false
	}
	w.conns = append(w.conns, conns...)
	return true
}

// cut kills the daemon.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead = true
	_ = w.listener.Close()
	for _, c := range w.conns {
		_ = c.Close()
	}
}

func (w *wire) killed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		return errKilled
	}
	return nil
}

func (w *wire) Prepare(ctx context.Context, username string) (bool, error) {
	if err := w.killed(); err != nil {
		return false, err
	}
	return w.hop.Prepare(ctx, username)
}

func (w *wire) Ensure(ctx context.Context, username, address string, keys []string) error {
	if err := w.killed(); err != nil {
		return err
	}
	return w.hop.Ensure(ctx, username, address, keys)
}

func (w *wire) Remove(ctx context.Context, username string) error {
	if err := w.killed(); err != nil {
		return err
	}
	return w.hop.Remove(ctx, username)
}

// faults are what can go wrong with one request to Incus.
var faults = []struct {
	name  string
	fault func(*incustest.Server, *wire) incustest.Fault
}{
	{"refused", func(*incustest.Server, *wire) incustest.Fault {
		return incustest.Fault{Status: http.StatusInternalServerError, Message: "no"}
	}},
	{"dropped", func(*incustest.Server, *wire) incustest.Fault { return incustest.Fault{Drop: true} }},
	{"cut", func(*incustest.Server, *wire) incustest.Fault { return incustest.Fault{Cut: true} }},
	{"operation failed", func(*incustest.Server, *wire) incustest.Fault { return incustest.Fault{OperationError: "no"} }},
	{"operation lost", func(*incustest.Server, *wire) incustest.Fault { return incustest.Fault{OperationLost: true} }},
	{"daemon killed before", func(_ *incustest.Server, w *wire) incustest.Fault {
		return incustest.Fault{Meet: w.cut, Drop: true}
	}},
	{"daemon killed after", func(_ *incustest.Server, w *wire) incustest.Fault { return incustest.Fault{Meet: w.cut} }},
	{"Incus killed before", func(sim *incustest.Server, _ *wire) incustest.Fault {
		return incustest.Fault{Meet: sim.Down, Drop: true}
	}},
	{"Incus killed after", func(sim *incustest.Server, _ *wire) incustest.Fault {
		return incustest.Fault{Meet: sim.Down, Cut: true}
	}},
}

// works are what is done to alice's container while something goes wrong. All but
// the first begin with one that is whole.
var works = []struct {
	name string
	do   func(context.Context, *service.Service) error
}{
	{"create", func(ctx context.Context, s *service.Service) error {
		_, err := s.CreateContainer(ctx, &pb.CreateContainerRequest{Username: "alice", SshKeys: []string{key("alice")}})
		return err
	}},
	{"delete", func(ctx context.Context, s *service.Service) error {
		_, err := s.DeleteContainer(ctx, &pb.DeleteContainerRequest{Username: "alice", Force: true})
		return err
	}},
	{"key", func(ctx context.Context, s *service.Service) error {
		_, err := s.AddSSHKey(ctx, &pb.AddSSHKeyRequest{Username: "alice", SshKey: key("more")})
		return err
	}},
	{"restart", func(ctx context.Context, s *service.Service) error {
		_, err := s.RestartContainer(ctx, &pb.RestartContainerRequest{Username: "alice", Force: true})
		return err
	}},
}

// yard is a host on which things go wrong: carol's container and somebody else's
// instance are to stay as they are, whatever becomes of alice's.
type yard struct {
	*site
	raw   incus.InstanceServer
	carol string
	bob   *api.Instance
}

func newYard(t *testing.T) *yard {
	t.Helper()
	y := &yard{site: newSite(t, incustest.Options{})}
	y.unfollow() // faults are for the requests of the daemon that they are to hit
	y.create(t, "carol")
	y.carol, _ = y.hop.account("carol")
	var err error
	y.raw, err = incus.ConnectIncusUnixWithContext(t.Context(), y.sim.Socket(), &incus.ConnectionArgs{SkipGetEvents: true, SkipGetServer: true})
	if err != nil {
		t.Fatal(err)
	}
	op, err := y.raw.CreateInstance(api.InstancesPost{Name: "bob-container", Type: api.InstanceTypeContainer, Source: api.InstanceSource{Type: "image", Alias: image}})
	if err == nil {
		err = op.Wait()
	}
	if err != nil {
		t.Fatal(err)
	}
	y.bob = y.instance(t, "bob-container")
	y.hop.foreign["bob"] = true
	return y
}

func (y *yard) instance(t *testing.T, name string) *api.Instance {
	t.Helper()
	instance, _, err := y.raw.GetInstance(name)
	if err != nil && !api.StatusErrorCheck(err, http.StatusNotFound) {
		t.Fatal(err)
	}
	return instance
}

// daemon starts a daemon with a wire of its own.
func (y *yard) daemon(t *testing.T) (*service.Service, *wire, *journal) {
	t.Helper()
	w, log := newWire(t, y.site), &journal{}
	logger := logrus.New()
	logger.SetOutput(log)
	c := y.Config
	c.Incus = incusx.New(incusx.Config{Socket: w.socket, Project: "default", Profile: "default", SSHPort: y.sim.SSHPort(), HostRoot: t.TempDir()})
	c.Hop, c.Log, c.CreateTimeout = w, logger, 10*time.Second
	return service.New(t.Context(), c), w, log
}

// journal is a daemon's log.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// strike does a work while a fault hits its request number skip, counted from 0,
// lets another daemon clear up, and looks at what is left. It reports whether there
// was such a request.
func (y *yard) strike(t *testing.T, what string, work func(context.Context, *service.Service) error, fault func(*incustest.Server, *wire) incustest.Fault, skip int) bool {
	t.Helper()
	s, w, _ := y.daemon(t)
	hit := false
	f := fault(y.sim, w)
	meet := f.Meet
	f.Skip, f.Times, f.Meet = skip, 1, func() {
		hit = true
		if meet != nil {
			meet()
		}
	}
	clear := y.sim.Fail(f)
	err := work(t.Context(), s)
	clear()
	w.cut()
	if err := y.sim.Up(); err != nil {
		t.Fatal(err)
	}
	y.settle(t, what)
	switch _, there := y.hop.account("alice"); {
	case strings.HasPrefix(what, "create") && err == nil && !there, strings.HasPrefix(what, "delete") && err == nil && there:
		t.Errorf("%s: the call ended with %v, and alice's container is there: %t", what, err, there)
	}
	return hit
}

// settle lets a new daemon clear up after whatever was, and checks that each
// container is whole or not there at all.
func (y *yard) settle(t *testing.T, what string) {
	t.Helper()
	y.sim.Forget()
	s, w, log := y.daemon(t)
	defer w.cut()
	var err error
	eventually(t, func() bool { // as Supervise does, until Incus has ended what the other daemon began
		if err = s.Reconcile(t.Context()); err != nil {
			return false
		}
		containers, err := y.incus.List(t.Context())
		accounts, _ := y.hop.Usernames(t.Context())
		return err == nil && len(containers) == len(accounts)
	})
	instances, err := y.raw.GetInstances(api.InstanceTypeAny)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range instances {
		names = append(names, instances[i].Name)
	}
	containers, err := y.incus.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"bob-container"}
	for _, c := range containers {
		want = append(want, c.Name)
		account, _ := y.hop.account(c.Username)
		if c.State == incusx.StateCreating || c.State == incusx.StateError || account != c.Address+" "+strings.Join(c.SSHKeys, ", ") || (c.State == incusx.StateRunning && !c.KeysInGuest) {
			t.Errorf("%s: half there: %+v, account %q", what, c, account)
		}
	}
	slices.Sort(names)
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("%s: the instances %q are there, want %q", what, names, want)
	}
	accounts, _ := y.hop.Usernames(t.Context())
	if len(accounts) != len(containers) {
		t.Errorf("%s: the accounts %q are there for %d containers", what, accounts, len(containers))
	}
	if got, _ := y.hop.account("carol"); got != y.carol {
		t.Errorf("%s: carol's account is %q, was %q", what, got, y.carol)
	}
	if bob := y.instance(t, "bob-container"); bob == nil || bob.Config["volatile.uuid"] != y.bob.Config["volatile.uuid"] || bob.StatusCode != y.bob.StatusCode {
		t.Errorf("%s: somebody else's instance has changed", what)
	}
	if y.sim.Requests(http.MethodDelete, "/1.0/instances/*") > 0 && !strings.Contains(log.String(), "removed the container of a create that was cut off") {
		t.Errorf("%s: a container was removed without a word: %s", what, log)
	}
}

// fresh makes or removes alice's container by a daemon that nothing happens to.
func (y *yard) fresh(t *testing.T, there bool) {
	t.Helper()
	_, err := y.DeleteContainer(t.Context(), &pb.DeleteContainerRequest{Username: "alice", Force: true})
	if err != nil && status.Code(err) != codes.NotFound {
		t.Fatal(err)
	}
	if there {
		y.create(t, "alice")
	}
}

// TestEveryFaultAtEveryRequest: whatever goes wrong with whichever request to
// Incus, a container is whole afterwards or not there at all, with its account, and
// what is not ours is left alone.
func TestEveryFaultAtEveryRequest(t *testing.T) {
	y := newYard(t)
	total := 0
	for n, work := range works {
		for _, fault := range faults {
			strikes := 0
			for ; ; strikes++ {
				y.fresh(t, n > 0)
				if !y.strike(t, fmt.Sprintf("%s, %s at request %d", work.name, fault.name, strikes), work.do, fault.fault, strikes) {
					break
				}
				if strikes > 100 {
					t.Fatalf("%s makes more and more requests", work.name)
				}
			}
			total += strikes
			if strikes < 3 {
				t.Errorf("%s makes %d requests: are they seen?", work.name, strikes)
			}
		}
	}
	_, _ = fmt.Fprintf(os.Stdout, "figure: fault_every_request %d faults\n", total)
}

// TestRandomFaults does everything to one container at once while several things go
// wrong, 500 in all; the seed of a failure is in its text.
func TestRandomFaults(t *testing.T) {
	const wanted = 500
	y := newYard(t)
	hits := 0
	for seed := uint64(1); hits < wanted; seed++ {
		random := rand.New(rand.NewPCG(seed, 0))
		y.fresh(t, random.IntN(3) > 0)
		s, w, _ := y.daemon(t)
		var mu sync.Mutex
		var clears []func()
		for range 1 + random.IntN(3) {
			f := faults[random.IntN(len(faults))].fault(y.sim, w)
			meet := f.Meet
			f.Skip, f.Times, f.Meet = random.IntN(25), 1, func() {
				mu.Lock()
				hits++
				mu.Unlock()
				if meet != nil {
					meet()
				}
			}
			clears = append(clears, y.sim.Fail(f))
		}
		var at []string
		var running sync.WaitGroup
		for range 1 + random.IntN(3) {
			work := works[random.IntN(len(works))]
			at = append(at, work.name)
			running.Go(func() { _ = work.do(t.Context(), s) })
		}
		running.Wait()
		for _, clear := range clears {
			clear()
		}
		w.cut()
		if err := y.sim.Up(); err != nil {
			t.Fatal(err)
		}
		y.settle(t, fmt.Sprintf("seed %d, %s", seed, strings.Join(at, " and ")))
		if t.Failed() {
			break
		}
	}
	_, _ = fmt.Fprintf(os.Stdout, "figure: fault_random %d faults\n", hits)
}

// TestAFailedCreateIsClearedUpLater: what could not be rolled back is removed while
// the daemon runs, not at its next start.
func TestAFailedCreateIsClearedUpLater(t *testing.T) {
	s := newSite(t, incustest.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.Supervise(ctx) })
	defer running.Wait()
	defer cancel()
	s.create(t, "carol")
	for _, fault := range []incustest.Fault{
		{Method: http.MethodPost, Path: "/1.0/instances/*/exec", Status: http.StatusInternalServerError, Message: "no", Times: 1},
		{Method: http.MethodDelete, Path: "/1.0/instances/*", OperationError: "no", Times: 1},
	} {
		s.sim.Fail(fault)
	}
	_, err := s.CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: "alice"})
	wantStatus(t, err, codes.Internal, "INTERNAL", "what is left of it will be removed")
	eventually(t, func() bool {
		exists, err := s.incus.Exists(t.Context(), "alice")
		return err == nil && !exists
	})
	s.nothingLeft(t, "alice")
}
