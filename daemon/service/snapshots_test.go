package service_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/footprintai/containarium/daemon/service"
	"github.com/footprintai/containarium/incusx/incustest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

func (s *site) snapshot(t *testing.T, name string) *pb.Snapshot {
	t.Helper()
	r, err := s.CreateSnapshot(t.Context(), &pb.CreateSnapshotRequest{Username: "alice", Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return r.GetSnapshot()
}

func (s *site) snapshots(t *testing.T) []string {
	t.Helper()
	r, err := s.ListSnapshots(t.Context(), &pb.ListSnapshotsRequest{Username: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, snapshot := range r.GetSnapshots() {
		names = append(names, snapshot.GetName())
	}
	return names
}

func TestSnapshots(t *testing.T) {
	at := time.Date(2026, 11, 25, 8, 15, 0, 0, time.UTC)
	s := newSite(t, incustest.Options{}, func(c *service.Config) { c.Now = func() time.Time { return at } })
	s.create(t, "alice")
	if got := s.snapshots(t); len(got) > 0 {
		t.Errorf("of a new container: %v", got)
	}
	first := s.snapshot(t, "before")
	if first.GetName() != "before" || first.GetSizeBytes() == 0 || time.Since(first.GetCreatedAt().AsTime()) > time.Minute {
		t.Errorf("snapshot %v", first)
	}
	// Two within a second have two names.
	for _, want := range []string{"20261125-081500", "20261125-081500-2"} {
		if got := s.snapshot(t, "").GetName(); got != want {
			t.Errorf("without a name: %s, want %s", got, want)
		}
	}
	if got := s.snapshots(t); !slices.Equal(got, []string{"before", "20261125-081500", "20261125-081500-2"}) {
		t.Errorf("snapshots %v", got)
	}
	if _, err := s.DeleteSnapshot(t.Context(), &pb.DeleteSnapshotRequest{Username: "alice", Name: "20261125-081500"}); err != nil {
		t.Fatal(err)
	}
	if got := s.snapshots(t); !slices.Equal(got, []string{"before", "20261125-081500-2"}) {
		t.Errorf("snapshots %v", got)
	}
}

func TestSnapshotsRefused(t *testing.T) {
	s := newSite(t, incustest.Options{})
	s.create(t, "alice")
	s.snapshot(t, "s1")
	ctx := t.Context()
	s.sim.Forget()
	for _, name := range []string{"-a", "a/b", "A", "a b", strings.Repeat("a", 64)} {
		_, create := s.CreateSnapshot(ctx, &pb.CreateSnapshotRequest{Username: "alice", Name: name})
		_, restore := s.RestoreSnapshot(ctx, &pb.RestoreSnapshotRequest{Username: "alice", Name: name, Force: true})
		_, remove := s.DeleteSnapshot(ctx, &pb.DeleteSnapshotRequest{Username: "alice", Name: name})
		for _, err := range []error{create, restore, remove} {
			if got := violatedFields(t, err); !slices.Equal(got, []string{"name"}) {
				t.Errorf("%q: violated %v", name, got)
			}
		}
	}
	_, err := s.ListSnapshots(ctx, &pb.ListSnapshotsRequest{Username: "no name"})
	if got := violatedFields(t, err); !slices.Equal(got, []string{"username"}) {
		t.Errorf("violated %v", got)
	}
	if n := s.changes(); n > 0 {
		t.Errorf("%d changes reached Incus", n)
	}
	_, err = s.CreateSnapshot(ctx, &pb.CreateSnapshotRequest{Username: "alice", Name: "s1"})
	wantStatus(t, err, codes.AlreadyExists, "ALREADY_EXISTS", "s1")
	_, err = s.RestoreSnapshot(ctx, &pb.RestoreSnapshotRequest{Username: "alice", Name: "s2", Force: true})
	wantStatus(t, err, codes.NotFound, "NOT_FOUND", "alice has no snapshot s2")
	_, err = s.DeleteSnapshot(ctx, &pb.DeleteSnapshotRequest{Username: "alice", Name: "s2"})
	wantStatus(t, err, codes.NotFound, "NOT_FOUND", "alice has no snapshot s2")
	_, err = s.ListSnapshots(ctx, &pb.ListSnapshotsRequest{Username: "bob"})
	wantStatus(t, err, codes.NotFound, "NOT_FOUND", "bob has no container")
	for n := range 99 {
		if err := s.incus.CreateSnapshot(ctx, "alice", fmt.Sprintf("n%d", n)); err != nil {
			t.Fatal(err)
		}
	}
	_, err = s.CreateSnapshot(ctx, &pb.CreateSnapshotRequest{Username: "alice"})
	wantStatus(t, err, codes.FailedPrecondition, "TOO_MANY_SNAPSHOTS", "100 snapshots")
}

// A restore brings back the disk alone: a key that was removed stays removed, on
// the instance, on the jump host and in the guest.
func TestRestore(t *testing.T) {
	s := newSite(t, incustest.Options{})
	before := s.create(t, "alice")
	created := s.snapshot(t, "s1").GetCreatedAt().AsTime()
	s.snapshot(t, "s2")
	if _, err := s.AddSSHKey(t.Context(), &pb.AddSSHKeyRequest{Username: "alice", SshKey: key("second")}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.RemoveSSHKey(t.Context(), &pb.RemoveSSHKeyRequest{Username: "alice", SshKey: key("alice")}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.UpdateContainer(t.Context(), &pb.UpdateContainerRequest{Username: "alice", Labels: map[string]string{"a": "b"}}); err != nil {
		t.Fatal(err)
	}

	_, err := s.RestoreSnapshot(t.Context(), &pb.RestoreSnapshotRequest{Username: "alice", Name: "s1"})
	wantStatus(t, err, codes.FailedPrecondition, "LOSES_DATA", "everything written since "+created.UTC().Format("2006-01-02 15:04:05 UTC"), "stops it", "force")
	r, err := s.RestoreSnapshot(t.Context(), &pb.RestoreSnapshotRequest{Username: "alice", Name: "s1", Force: true})
	if err != nil {
		t.Fatal(err)
	}
	c := r.GetContainer()
	if c.GetState() != pb.ContainerState_CONTAINER_STATE_RUNNING || c.GetNetwork().GetIpAddress() != before.GetNetwork().GetIpAddress() || c.GetLabels()["a"] != "b" || len(r.GetWarnings()) > 0 {
		t.Errorf("after the restore: %v", r)
	}
	if keys := c.GetSshKeys(); len(keys) != 1 || keys[0].GetComment() != "second" {
		t.Errorf("keys after the restore: %v", keys)
	}
	if got, _ := s.hop.account("alice"); got != c.GetNetwork().GetIpAddress()+" "+key("second") {
		t.Errorf("the account on the jump host: %s", got)
	}
	container, err := s.incus.Get(t.Context(), "alice")
	if err != nil || !container.KeysInGuest {
		t.Errorf("the guest has the keys: %t, %v", container.KeysInGuest, err)
	}
	if got := s.snapshots(t); !slices.Equal(got, []string{"s1", "s2"}) {
		t.Errorf("snapshots after the restore: %v", got)
	}
}

// Where nothing was written since, nothing is thrown away.
func TestRestoreWithoutForce(t *testing.T) {
	s := newSite(t, incustest.Options{})
	s.create(t, "alice")
	restore := func(name string) error {
		_, err := s.RestoreSnapshot(t.Context(), &pb.RestoreSnapshotRequest{Username: "alice", Name: name})
		return err
	}
	running := s.snapshot(t, "running").GetName()
	if _, err := s.StopContainer(t.Context(), &pb.StopContainerRequest{Username: "alice", Force: true}); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, restore(running), codes.FailedPrecondition, "LOSES_DATA")
	s.snapshot(t, "stopped")
	for range 2 { // once more: it is what it was restored to
		if err := restore("stopped"); err != nil {
			t.Fatal(err)
		}
	}
	if c, err := s.incus.Get(t.Context(), "alice"); err != nil || c.State != "stopped" {
		t.Errorf("a stopped container is %s after a restore, %v", c.State, err)
	}
	if _, err := s.StartContainer(t.Context(), &pb.StartContainerRequest{Username: "alice"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.StopContainer(t.Context(), &pb.StopContainerRequest{Username: "alice", Force: true}); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, restore("stopped"), codes.FailedPrecondition, "LOSES_DATA")
}

// What is on the disk may need the size that it had.
func TestRestoreToALargerDisk(t *testing.T) {
	s := newSite(t, incustest.Options{})
	s.create(t, "alice")
	for _, disk := range []string{"2GiB", "1GiB"} {
		if _, err := s.UpdateContainer(t.Context(), &pb.UpdateContainerRequest{Username: "alice", Resources: &pb.Resources{Disk: disk}}); err != nil {
			t.Fatal(err)
		}
		if disk == "2GiB" {
			s.snapshot(t, "s1")
		}
	}
	r, err := s.RestoreSnapshot(t.Context(), &pb.RestoreSnapshotRequest{Username: "alice", Name: "s1", Force: true})
	if err != nil || r.GetContainer().GetResources().GetDisk() != "2GiB" || len(r.GetWarnings()) != 1 || !strings.Contains(r.GetWarnings()[0], "2GiB again") {
		t.Errorf("got %v, %v", r, err)
	}
}

// A restore that was cut off is finished before anything else is done to the
// container, and by Reconcile.
func TestRestoreThatWasCutOff(t *testing.T) {
	for name, finish := range map[string]func(*site) error{
		"by the next call": func(s *site) error {
			_, err := s.AddSSHKey(context.Background(), &pb.AddSSHKeyRequest{Username: "alice", SshKey: key("third")})
			return err
		},
		"by Reconcile": func(s *site) error { return s.Reconcile(context.Background()) },
	} {
		s := newSite(t, incustest.Options{})
		s.create(t, "alice")
		if err := s.Reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.snapshot(t, "s1")
		if _, err := s.AddSSHKey(t.Context(), &pb.AddSSHKeyRequest{Username: "alice", SshKey: key("second")}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.RemoveSSHKey(t.Context(), &pb.RemoveSSHKeyRequest{Username: "alice", SshKey: key("alice")}); err != nil {
			t.Fatal(err)
		}
		// The second update is that which puts the config back.
		clear := s.sim.Fail(incustest.Fault{Method: http.MethodPut, Path: "/1.0/instances/*", Skip: 1, Status: http.StatusInternalServerError, Message: "no"})
		_, err := s.RestoreSnapshot(t.Context(), &pb.RestoreSnapshotRequest{Username: "alice", Name: "s1", Force: true})
		clear()
		if err == nil {
			t.Fatalf("%s: the fault was not met", name)
		}
		if c, err := s.incus.Get(t.Context(), "alice"); err != nil || len(c.SSHKeys) != 1 || c.SSHKeys[0] != key("alice") {
			t.Fatalf("%s: it is not half restored: %v, %v", name, c.SSHKeys, err)
		}
		if err := finish(s); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c, err := s.incus.Get(t.Context(), "alice")
		if err != nil || c.State != "running" || !c.KeysInGuest || slices.Contains(c.SSHKeys, key("alice")) || !slices.Contains(c.SSHKeys, key("second")) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
		if got, _ := s.hop.account("alice"); strings.Contains(got, key("alice")) || !strings.Contains(got, key("second")) {
			t.Errorf("%s: the account on the jump host: %s", name, got)
		}
	}
}
