package incusx_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lxc/incus/v6/shared/api"

	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/incusx/incustest"
)

// verbs are all that a Client can do to alice's container.
func verbs(c *incusx.Client) map[string]func(context.Context) error {
	container := incusx.Container{Username: "alice"}
	return map[string]func(context.Context) error{
		"ping":   c.Ping,
		"list":   func(ctx context.Context) error { _, err := c.List(ctx); return err },
		"get":    func(ctx context.Context) error { _, err := c.Get(ctx, "alice"); return err },
		"exists": func(ctx context.Context) error { _, err := c.Exists(ctx, "alice"); return err },
		"find image": func(ctx context.Context) error {
			_, err := c.FindImage(ctx, incustest.DefaultImage)
			return err
		},
		"init": func(ctx context.Context) error {
			_, err := c.Init(ctx, incusx.Spec{Username: "bob", Limits: incusx.Limits{Disk: "1GiB"}}, incusx.Image{}, nil)
			return err
		},
		"start":          func(ctx context.Context) error { return c.Start(ctx, "alice") },
		"stop":           func(ctx context.Context) error { return c.Stop(ctx, "alice", true, 0) },
		"remove":         func(ctx context.Context) error { return c.Remove(ctx, "alice") },
		"ensure account": func(ctx context.Context) error { _, err := c.EnsureAccount(ctx, "alice", nil); return err },
		"wait address":   func(ctx context.Context) error { _, err := c.WaitAddress(ctx, "alice", ""); return err },
		"finish":         func(ctx context.Context) error { _, err := c.Finish(ctx, "alice", incusx.Result{}); return err },
		"set keys":       func(ctx context.Context) error { _, err := c.SetKeys(ctx, "alice", nil); return err },
		"sync keys":      func(ctx context.Context) error { return c.SyncKeys(ctx, container) },
		"usage":          func(ctx context.Context) error { _, err := c.Usage(ctx, "alice"); return err },
		"usage of all": func(ctx context.Context) error {
			_, err := c.UsageAll(ctx, []incusx.Container{{Name: "alice-container", Username: "alice", State: incusx.StateRunning}})
			return err
		},
		"usage of the host": func(ctx context.Context) error { _, err := c.HostUsage(ctx); return err },
		"set host key":      func(ctx context.Context) error { _, err := c.SetHostKey(ctx, "alice", "k"); return err },
		"system":            func(ctx context.Context) error { _, err := c.System(ctx); return err },
	}
}

// TestIncusDown: every verb says so while Incus is away, however it is away, and
// works again when it is back, with the same Client.
func TestIncusDown(t *testing.T) {
	r := newRig(t)
	r.runAlice(t)
	for name, verb := range verbs(r.Client) {
		r.sim.Down()
		wantErr(t, name+" while down", verb(within(t, 10*time.Second)), incusx.ErrUnavailable)
		must(t, "up", r.sim.Up())
		clear := r.sim.Fail(incustest.Fault{Drop: true})
		wantErr(t, name+" of a dropped connection", verb(within(t, 10*time.Second)), incusx.ErrUnavailable)
		clear()
	}
	must(t, "ping", r.Ping(t.Context()))
	never := incusx.New(incusx.Config{Socket: filepath.Join(t.TempDir(), "none")})
	wantErr(t, "ping where there never was an Incus", never.Ping(t.Context()), incusx.ErrUnavailable)
}

// TestContextEnds: no verb outlives its context, whatever Incus does.
func TestContextEnds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.runAlice(t)
	r.sim.Fail(incustest.Fault{Delay: time.Hour})
	for name, verb := range verbs(r.Client) {
		began := time.Now()
		err := verb(within(t, 20*time.Millisecond))
		wantErr(t, name, err, context.DeadlineExceeded)
		if errors.Is(err, incusx.ErrUnavailable) {
			t.Errorf("%s: out of time is taken for an Incus that is away: %v", name, err)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s: took %s", name, took)
		}
	}
}

// TestOperations: those that fail, hang or are lost.
func TestOperations(t *testing.T) {
	r := newRig(t)
	r.runAlice(t)
	state := incustest.Fault{Method: http.MethodPut, Path: "/1.0/instances/*/state", Times: 1}

	failing := state
	failing.OperationError = "the disk is on fire"
	r.sim.Fail(failing)
	wantText(t, "stop", r.Stop(t.Context(), "alice", true, 0), "the disk is on fire")

	hanging := state
	hanging.OperationDelay = time.Hour
	r.sim.Fail(hanging)
	wantErr(t, "stop", r.Stop(within(t, 50*time.Millisecond), "alice", true, 0), context.DeadlineExceeded)

	// Incus comes back and knows nothing of it: not "not found", which would be
	// taken for a container that is gone.
	lost := state
	lost.OperationLost = true
	r.sim.Fail(lost)
	err := r.Stop(t.Context(), "alice", true, 0)
	wantErr(t, "stop", err, incusx.ErrUnavailable)
	if errors.Is(err, incusx.ErrNotFound) {
		t.Errorf("a lost operation is taken for a missing container: %v", err)
	}

	// Incus goes away while the operation runs.
	cut := state
	cut.OperationDelay = time.Hour
	r.sim.Fail(cut)
	r.sim.Forget()
	ended := make(chan error, 1)
	go func() { ended <- r.Stop(t.Context(), "alice", true, 0) }()
	until(t, "the wait", func() bool { return r.sim.Requests("GET", "/1.0/operations/*/wait") == 1 })
	r.sim.Down()
	wantErr(t, "stop", <-ended, incusx.ErrUnavailable)
}

// TestListCalls: a list, and the usage of all, cost one call each, whatever the
// number of containers.
func TestListCalls(t *testing.T) {
	r := newRig(t)
	for i := range 20 {
		r.init(t, incusx.Spec{Username: fmt.Sprintf("u%02d", 19-i)})
	}
	r.sim.Forget()
	containers, err := r.List(t.Context())
	must(t, "list", err)
	if calls := r.sim.Requests("", ""); calls != 1 {
		t.Errorf("a list cost %d calls, want 1", calls)
	}
	var names, want []string
	for i, container := range containers {
		names, want = append(names, container.Username), append(want, fmt.Sprintf("u%02d", i))
	}
	if diff := cmp.Diff(want, names); diff != "" || len(names) != 20 {
		t.Errorf("%d containers (-want +got):\n%s", len(names), diff)
	}
	r.sim.Forget()
	for i := range containers {
		containers[i].State = incusx.StateRunning
	}
	_, err = r.UsageAll(t.Context(), containers)
	must(t, "usage of all", err)
	if calls := r.sim.Requests("", ""); calls != 1 {
		t.Errorf("the usage of all cost %d calls, want 1", calls)
	}
}

// TestMarker: a marker that names another user is a foreign instance.
func TestMarker(t *testing.T) {
	r := newRig(t)
	r.init(t, incusx.Spec{Username: "alice"})
	instance := r.instance(t, "alice")
	instance.Config["user.containarium.username"] = "mallory"
	op, err := r.raw.UpdateInstance(instance.Name, instance.Writable(), "")
	must(t, "update", err)
	must(t, "update", op.Wait())
	_, err = r.Get(t.Context(), "alice")
	wantErr(t, "get", err, incusx.ErrNotFound)
	wantErr(t, "remove", r.Remove(t.Context(), "alice"), incusx.ErrNotFound)
	if r.instance(t, "alice").StatusCode != api.Stopped {
		t.Error("a foreign instance was touched")
	}
}

func TestStates(t *testing.T) {
	r := newRig(t)
	ctx := bounded(t)
	want := func(state incusx.State) {
		t.Helper()
		container, err := r.Get(ctx, "alice")
		must(t, "get", err)
		if container.State != state {
			t.Errorf("state: got %s, want %s", container.State, state)
		}
	}
	r.init(t, incusx.Spec{Username: "alice"})
	want(incusx.StateCreating)
	must(t, "start", r.Start(ctx, "alice"))
	want(incusx.StateCreating) // never plainly running before it is finished
	_, err := r.Finish(ctx, "alice", incusx.Result{})
	must(t, "finish", err)
	want(incusx.StateRunning)
	op, err := r.raw.UpdateInstanceState("alice-container", api.InstanceStatePut{Action: "freeze"}, "")
	must(t, "freeze", err)
	must(t, "freeze", op.Wait())
	want(incusx.StateFrozen)
	must(t, "stop", r.Stop(ctx, "alice", true, 0))
	want(incusx.StateStopped)
}

func TestSystem(t *testing.T) {
	r := newRig(t, incustest.Options{StorageDriver: "dir"})
	r.runAlice(t)
	r.init(t, incusx.Spec{Username: "bob"})
	system, err := r.System(t.Context())
	must(t, "system", err)
	if system.IncusVersion != "6.0.4" || system.CPUs < 1 || system.MemoryTotal == 0 || system.StoragePool != "default" ||
		system.StorageDriver != "dir" || system.StorageTotal == nil || system.Network != "incusbr0" || system.Subnet == "" {
		t.Errorf("system %+v", system)
	}
	// A driver that can not tell its space is no failure.
	r.sim.Fail(incustest.Fault{Path: "/1.0/storage-pools/*/resources", Status: 500, Message: "not supported"})
	system, err = r.System(t.Context())
	must(t, "system", err)
	if system.StorageTotal != nil || system.StorageUsed != nil {
		t.Errorf("space of a pool that can not tell: %v, %v", system.StorageTotal, system.StorageUsed)
	}
}
