package incusx_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/lxc/incus/v6/shared/api"

	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/incusx/incustest"
)

// TestRestoreCutOff: whatever goes wrong with whichever request of a restore, the
// next daemon finds what is to be put back, and no key that was removed is back.
func TestRestoreCutOff(t *testing.T) {
	for name, c := range map[string]struct {
		fault  incustest.Fault
		killed bool
	}{
		"refused":              {incustest.Fault{Status: http.StatusInternalServerError, Message: "no"}, false},
		"dropped":              {incustest.Fault{Drop: true}, false},
		"cut":                  {incustest.Fault{Cut: true}, false},
		"operation failed":     {incustest.Fault{OperationError: "no"}, false},
		"operation lost":       {incustest.Fault{OperationLost: true}, false},
		"daemon killed before": {incustest.Fault{Drop: true}, true},
		"daemon killed after":  {incustest.Fault{Cut: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			for at := 0; cutOff(t, c.fault, c.killed, at); at++ {
			}
		})
	}
}

// cutOff restores alice's container while request number at, counted from 0, meets
// the fault, and the daemon dies of it if it is killed. It reports whether there was
// such a request.
func cutOff(t *testing.T, fault incustest.Fault, killed bool, at int) bool {
	t.Helper()
	r := newRig(t)
	r.runAlice(t, "old")
	ctx := bounded(t)
	must(t, "take a snapshot", r.CreateSnapshot(ctx, "alice", "s1"))
	container, err := r.SetKeys(ctx, "alice", []string{"new"})
	must(t, "set the keys", err)
	must(t, "write the keys", r.SyncKeys(ctx, container))
	before, _, err := r.Update(ctx, "alice", incusx.Change{CPU: new("1"), Labels: map[string]string{"a": "1"}})
	must(t, "update", err)

	life, kill := context.WithCancel(ctx)
	defer kill()
	hit := false
	fault.Skip, fault.Times, fault.Meet = at, 1, func() {
		if hit = true; killed {
			kill()
		}
	}
	clear := r.sim.Fail(fault)
	_, _, restored := r.Restore(life, "alice", "s1")
	clear()
	// Incus is at work by the time that the next daemon asks, or has ended.
	until(t, "the end of what was begun", func() bool {
		operations, err := r.raw.GetOperations()
		must(t, "list the operations", err)
		return !slices.ContainsFunc(operations, func(op api.Operation) bool { return op.StatusCode == api.Running })
	})

	users, err := r.UnfinishedRestores(ctx)
	must(t, "look for unfinished restores", err)
	for _, user := range users {
		_, _, err := r.FinishRestore(ctx, user)
		must(t, "finish", err)
	}
	got, err := r.Get(ctx, "alice")
	must(t, "get", err)
	want := before
	want.KeysInGuest, want.HostInterface, want.State = got.KeysInGuest, got.HostInterface, incusx.StateRunning
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("request %d, killed %t, which ended with %v (-want +got):\n%s", at, killed, restored, diff)
	}
	profiles, err := r.raw.GetProfiles()
	must(t, "list the profiles", err)
	if len(profiles) != 1 {
		t.Errorf("request %d, killed %t: %d profiles are there, want the default one alone", at, killed, len(profiles))
	}
	return hit
}

// TestRestoreOfAnother: what was put aside of a container is not put back into a
// later one of that user, and goes with it.
func TestRestoreOfAnother(t *testing.T) {
	r := newRig(t)
	ctx := bounded(t)
	cut := func() {
		t.Helper()
		r.runAlice(t, "old")
		must(t, "take a snapshot", r.CreateSnapshot(ctx, "alice", "s1"))
		life, kill := context.WithCancel(ctx)
		defer kill()
		r.sim.Fail(incustest.Fault{Method: http.MethodPost, Path: "/1.0/profiles", Times: 1, Cut: true, Meet: kill})
		_, _, err := r.Restore(life, "alice", "s1")
		if err == nil { // which of the two ends it is open
			t.Fatal("a restore that is cut off has ended well")
		}
		must(t, "remove", r.Remove(ctx, "alice"))
	}
	cut()
	if users, err := r.UnfinishedRestores(ctx); err != nil || len(users) > 0 {
		t.Errorf("restores of a container that is gone: %v, %v", users, err)
	}
	cut()
	r.runAlice(t, "new")
	users, err := r.UnfinishedRestores(ctx)
	if err != nil || !slices.Equal(users, []string{"alice"}) {
		t.Fatalf("unfinished restores: %v, %v", users, err)
	}
	container, _, err := r.FinishRestore(ctx, "alice")
	if err != nil || !slices.Equal(container.SSHKeys, []string{"new"}) {
		t.Errorf("finish: keys %v, %v", container.SSHKeys, err)
	}
}

// TestRestoreStillMounted: a disk that is in use for a moment is waited for.
func TestRestoreStillMounted(t *testing.T) {
	r := newRig(t)
	r.runAlice(t, "key")
	ctx := bounded(t)
	must(t, "take a snapshot", r.CreateSnapshot(ctx, "alice", "s1"))
	must(t, "stop", r.Stop(ctx, "alice", true, 0))
	r.sim.Fail(incustest.Fault{Method: http.MethodPut, Path: "/1.0/instances/*", Times: 2, OperationError: "In use"})
	r.sim.Forget()
	_, _, err := r.Restore(ctx, "alice", "s1")
	must(t, "restore", err)
	if n := r.sim.Requests(http.MethodPut, "/1.0/instances/alice-container"); n != 4 {
		t.Errorf("%d updates, want three tries and the config", n)
	}
}

// TestRestoreWithLaterOnes: where the storage keeps none, that is said, and the
// container runs as before.
func TestRestoreWithLaterOnes(t *testing.T) {
	r := newRig(t, incustest.Options{StorageDriver: "zfs"})
	r.runAlice(t, "key")
	ctx := bounded(t)
	for _, name := range []string{"s1", "s2"} {
		must(t, "take a snapshot", r.CreateSnapshot(ctx, "alice", name))
	}
	_, _, err := r.Restore(ctx, "alice", "s1")
	wantErr(t, "restore the first of two", err, incusx.ErrLaterOnes)
	if container, err := r.Get(ctx, "alice"); err != nil || container.State != incusx.StateRunning {
		t.Errorf("after that it is %s, %v", container.State, err)
	}
	// It was tried, and so nothing is known to be current.
	must(t, "stop", r.Stop(ctx, "alice", true, 0))
	snapshots, err := r.Snapshots(ctx, "alice")
	must(t, "list", err)
	for _, s := range snapshots {
		if s.Current {
			t.Errorf("%s is said to be current", s.Name)
		}
	}
}

// TestUpdatePutOff: a storage that can not resize what is mounted does so at the
// next start.
func TestUpdatePutOff(t *testing.T) {
	r := newRig(t, incustest.Options{StorageDriver: "lvm"})
	r.runAlice(t, "key")
	ctx := bounded(t)
	if _, deferred, err := r.Update(ctx, "alice", incusx.Change{Disk: new("4GiB")}); err != nil || len(deferred) > 0 {
		t.Errorf("larger: put off %v, %v", deferred, err)
	}
	if _, deferred, err := r.Update(ctx, "alice", incusx.Change{Disk: new("2GiB")}); err != nil || !slices.Equal(deferred, []string{"disk"}) {
		t.Errorf("smaller: put off %v, %v", deferred, err)
	}
	must(t, "stop", r.Stop(ctx, "alice", true, 0))
	must(t, "start", r.Start(ctx, "alice"))
	if _, deferred, err := r.Update(ctx, "alice", incusx.Change{Disk: new("2GiB")}); err != nil || len(deferred) > 0 {
		t.Errorf("after a start: put off %v, %v", deferred, err)
	}
}

// TestUpdateRefusedLive: what Incus can not apply to a running guest is said, and
// nothing is changed.
func TestUpdateRefusedLive(t *testing.T) {
	r := newRig(t)
	r.runAlice(t, "key")
	ctx := bounded(t)
	r.sim.Fail(incustest.Fault{Method: http.MethodPut, Path: "/1.0/instances/*", Times: 1, OperationError: "setting cgroup item for the container failed"})
	_, _, err := r.Update(ctx, "alice", incusx.Change{Memory: new("64MiB")})
	wantErr(t, "less memory than is in use", err, incusx.ErrInUse)
	wantText(t, "less memory than is in use", err, "64MiB")
	if err != nil && strings.Contains(err.Error(), "cgroup") {
		t.Errorf("it says how Incus does it: %v", err)
	}
}

// TestRestoreKeysLater: where the keys can not be written before the start, the
// guest is not said to have them.
func TestRestoreKeysLater(t *testing.T) {
	r := newRig(t)
	r.runAlice(t, "old")
	ctx := bounded(t)
	must(t, "take a snapshot", r.CreateSnapshot(ctx, "alice", "s1"))
	container, err := r.SetKeys(ctx, "alice", []string{"new"})
	must(t, "set the keys", err)
	must(t, "write the keys", r.SyncKeys(ctx, container))
	clear := r.sim.Fail(incustest.Fault{Method: http.MethodGet, Path: "/1.0/instances/*/sftp", Drop: true})
	container, _, err = r.Restore(ctx, "alice", "s1")
	must(t, "restore", err)
	clear()
	if container.KeysInGuest {
		t.Error("the guest is said to have the keys")
	}
	must(t, "write the keys", r.SyncKeys(ctx, container))
}
