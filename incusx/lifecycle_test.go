package incusx_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lxc/incus/v6/shared/api"

	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/incusx/incustest"
)

// TestStop: no time-out, however short, turns a graceful stop into one by force.
func TestStop(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.init(t, incusx.Spec{Username: "deaf", Image: "deaf"})
	must(t, "start", r.Start(t.Context(), "deaf"))
	for _, timeout := range []time.Duration{0, time.Millisecond} {
		wantErr(t, "stop", r.Stop(bounded(t), "deaf", false, timeout), incusx.ErrStopTimeout)
		if r.instance(t, "deaf").StatusCode != api.Running {
			t.Fatal("a graceful stop killed the guest")
		}
		// Incus still counts the first stop; a new one is refused until force ends it.
		must(t, "stop by force", r.Stop(bounded(t), "deaf", true, 0))
		must(t, "start", r.Start(bounded(t), "deaf"))
	}
}

// TestRemove: a container goes whatever it does, and also where it stops in
// between.
func TestRemove(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, image := range []string{incustest.DefaultImage, "deaf"} {
		r.init(t, incusx.Spec{Username: "alice", Image: image})
		must(t, "start", r.Start(t.Context(), "alice"))
		must(t, "remove what runs", r.Remove(bounded(t), "alice"))
		wantErr(t, "remove again", r.Remove(bounded(t), "alice"), incusx.ErrNotFound)
	}
	r.init(t, incusx.Spec{Username: "alice"})
	must(t, "remove what is stopped", r.Remove(bounded(t), "alice"))

	r.runAlice(t)
	clear := r.sim.Fail(incustest.Fault{Method: http.MethodPut, Path: "/1.0/instances/*/state", Delay: 30 * time.Millisecond})
	ended := make(chan error, 1)
	r.sim.Forget()
	go func() { ended <- r.Remove(bounded(t), "alice") }()
	until(t, "the stop", func() bool { return r.sim.Requests("PUT", "/1.0/instances/*/state") == 1 })
	r.sim.Crash("default", "alice-container")
	must(t, "remove what stops by itself", <-ended)
	clear()

	r.runAlice(t)
	must(t, "stop", r.Stop(bounded(t), "alice", true, 0))
	r.sim.Fail(incustest.Fault{Method: http.MethodDelete, OperationError: "dataset is busy", Times: 1})
	wantText(t, "remove", r.Remove(bounded(t), "alice"), "dataset is busy")
	must(t, "remove on retry", r.Remove(bounded(t), "alice"))
}

// TestConflict: of writes that meet none is lost; a write that always meets
// another one gives up.
func TestConflict(t *testing.T) {
	r := newRig(t)
	r.runAlice(t)
	r.sim.Fail(incustest.Fault{Method: http.MethodPut, Path: "/1.0/instances/alice-container", Status: 412, Message: "ETag doesn't match", Times: 1})
	label := func(instance *api.Instance) { instance.Config["user.containarium.label.team"] = "web" }
	_, err := r.Write(bounded(t), "alice", label)
	must(t, "write", err)
	container, err := r.Get(t.Context(), "alice")
	must(t, "get", err)
	if diff := cmp.Diff(map[string]string{"team": "web"}, container.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}

	// Two writers of different keys, at once.
	var group sync.WaitGroup
	group.Go(func() { _, err := r.SetKeys(bounded(t), "alice", []string{"k3"}); _ = err })
	_, err = r.Finish(bounded(t), "alice", incusx.Result{Address: container.Address, HostKey: "ssh-ed25519 AAAA"})
	must(t, "finish", err)
	group.Wait()
	container, err = r.Get(t.Context(), "alice")
	must(t, "get", err)
	if container.HostKey != "ssh-ed25519 AAAA" || len(container.SSHKeys) != 1 {
		t.Errorf("a write was lost: %+v", container)
	}

	r.sim.Forget()
	r.sim.Fail(incustest.Fault{Method: http.MethodPut, Path: "/1.0/instances/alice-container", Status: 412, Message: "ETag doesn't match"})
	_, err = r.Write(bounded(t), "alice", label)
	wantText(t, "write against all odds", err, "ETag doesn't match")
	if tries := r.sim.Requests("PUT", "/1.0/instances/alice-container"); tries != incusx.UpdateTries {
		t.Errorf("%d tries, want %d", tries, incusx.UpdateTries)
	}
}
