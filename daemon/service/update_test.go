package service_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/footprintai/containarium/incusx/incustest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

func TestUpdate(t *testing.T) {
	s := newSite(t, incustest.Options{})
	before := s.create(t, "alice")
	off := false
	r, err := s.UpdateContainer(t.Context(), &pb.UpdateContainerRequest{
		Username: "alice", Resources: &pb.Resources{Cpu: "1", Memory: "1GiB", Disk: "2GiB"},
		Labels: map[string]string{"team": "web", "old": "1"}, AutoStart: &off,
	})
	if err != nil {
		t.Fatal(err)
	}
	c := r.GetContainer()
	if got := c.GetResources(); got.GetCpu() != "1" || got.GetMemory() != "1GiB" || got.GetDisk() != "2GiB" || !got.GetDiskEnforced() {
		t.Errorf("resources %v", got)
	}
	if c.GetAutoStart() || c.GetState() != pb.ContainerState_CONTAINER_STATE_RUNNING || len(r.GetWarnings())+len(r.GetNeedsRestart()) > 0 {
		t.Errorf("got %v", r)
	}
	if c.GetNetwork().GetIpAddress() != before.GetNetwork().GetIpAddress() || len(c.GetSshKeys()) != 1 {
		t.Errorf("what was not asked for has changed: %v, was %v", c, before)
	}

	// What is left out stays; "none" takes a limit away.
	r, err = s.UpdateContainer(t.Context(), &pb.UpdateContainerRequest{
		Username: "alice", Resources: &pb.Resources{Memory: "none"}, RemoveLabels: []string{"old", "never"},
	})
	if err != nil {
		t.Fatal(err)
	}
	c = r.GetContainer()
	if got := c.GetResources(); got.GetCpu() != "1" || got.GetMemory() != "" || got.GetDisk() != "2GiB" {
		t.Errorf("resources %v", got)
	}
	if diff := cmp.Diff(map[string]string{"team": "web"}, c.GetLabels()); diff != "" || c.GetAutoStart() {
		t.Errorf("labels (-want +got):\n%s\nstarts with its host: %t", diff, c.GetAutoStart())
	}

	_, err = s.UpdateContainer(t.Context(), &pb.UpdateContainerRequest{Username: "bob", Labels: map[string]string{"a": "b"}})
	wantStatus(t, err, codes.NotFound, "NOT_FOUND")
}

func TestUpdateWarnings(t *testing.T) {
	s := newSite(t, incustest.Options{StorageDriver: "dir"})
	s.create(t, "alice")
	r, err := s.UpdateContainer(t.Context(), &pb.UpdateContainerRequest{Username: "alice", Resources: &pb.Resources{Cpu: "4000", Memory: "17GiB", Disk: "200GiB"}})
	if err != nil {
		t.Fatal(err)
	}
	for i, part := range []string{"CPU limit 4000", "memory limit 17GiB", "disk limit 200GiB", "does not enforce"} {
		if i >= len(r.GetWarnings()) || !strings.Contains(r.GetWarnings()[i], part) {
			t.Errorf("no warning of the %s: %q", part, r.GetWarnings())
		}
	}
	if got := r.GetContainer().GetResources(); got.DiskEnforced == nil || got.GetDiskEnforced() {
		t.Errorf("a size on dir is said to be enforced: %v", got)
	}
	// Not of limits that were not asked for.
	if r, err = s.UpdateContainer(t.Context(), &pb.UpdateContainerRequest{Username: "alice", Resources: &pb.Resources{Memory: "1GiB"}}); err != nil || len(r.GetWarnings()) > 0 {
		t.Errorf("warnings %q, %v", r.GetWarnings(), err)
	}
}

func TestUpdateRefused(t *testing.T) {
	s := newSite(t, incustest.Options{})
	s.create(t, "alice")
	many := map[string]string{}
	for n := range 32 {
		many[fmt.Sprintf("l%d", n)] = ""
	}
	if _, err := s.UpdateContainer(t.Context(), &pb.UpdateContainerRequest{Username: "alice", Labels: many}); err != nil {
		t.Fatal(err)
	}
	enforced := true
	s.sim.Forget()
	for name, c := range map[string]struct {
		request *pb.UpdateContainerRequest
		fields  []string
	}{
		"user name": {&pb.UpdateContainerRequest{Username: "Alice"}, []string{"username"}},
		"limits":    {&pb.UpdateContainerRequest{Username: "alice", Resources: &pb.Resources{Cpu: "0", Memory: "-1GB", Disk: "5"}}, []string{"resources.cpu", "resources.disk", "resources.memory"}},
		"output":    {&pb.UpdateContainerRequest{Username: "alice", Resources: &pb.Resources{DiskEnforced: &enforced}}, []string{"resources.disk_enforced"}},
		"both ways": {&pb.UpdateContainerRequest{Username: "alice", Labels: map[string]string{"a": "b"}, RemoveLabels: []string{"a"}}, []string{"remove_labels[0]"}},
		"bad key":   {&pb.UpdateContainerRequest{Username: "alice", RemoveLabels: []string{"A b"}}, []string{"remove_labels[0]"}},
		"too many":  {&pb.UpdateContainerRequest{Username: "alice", RemoveLabels: slices.Repeat([]string{"x"}, 33)}, []string{"remove_labels"}},
	} {
		_, err := s.UpdateContainer(t.Context(), c.request)
		if diff := cmp.Diff(c.fields, violatedFields(t, err)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if n := s.changes(); n > 0 {
		t.Errorf("%d changes reached Incus", n)
	}
	_, err := s.UpdateContainer(t.Context(), &pb.UpdateContainerRequest{Username: "alice", Labels: map[string]string{"more": ""}})
	wantStatus(t, err, codes.FailedPrecondition, "TOO_MANY_LABELS", "33 labels")
	keys := slices.Sorted(maps.Keys(many))
	if _, err := s.UpdateContainer(t.Context(), &pb.UpdateContainerRequest{Username: "alice", Labels: map[string]string{"more": ""}, RemoveLabels: keys[:1]}); err != nil {
		t.Errorf("one in the place of another: %v", err)
	}
}

// A disk that is full keeps Incus from all but one change, which mends it.
func TestUpdateOfAFullDisk(t *testing.T) {
	s := newSite(t, incustest.Options{})
	s.create(t, "alice")
	set := func(disk string, labels map[string]string) error {
		_, err := s.UpdateContainer(t.Context(), &pb.UpdateContainerRequest{Username: "alice", Resources: &pb.Resources{Disk: disk}, Labels: labels})
		return err
	}
	if err := set("1GiB", nil); err != nil {
		t.Fatal(err)
	}
	s.sim.Fill("default", "alice-container", 900<<20)
	wantStatus(t, set("600MiB", map[string]string{"a": "b"}), codes.FailedPrecondition, "IN_USE", "900 MiB", "at least")
	s.sim.Fill("default", "alice-container", 1<<30)
	wantStatus(t, set("", map[string]string{"a": "b"}), codes.ResourceExhausted, "DISK_FULL", "raise its disk limit")
	if _, err := s.StopContainer(t.Context(), &pb.StopContainerRequest{Username: "alice", Force: true}); err != nil {
		t.Fatal(err)
	}
	_, err := s.StartContainer(t.Context(), &pb.StartContainerRequest{Username: "alice"})
	wantStatus(t, err, codes.ResourceExhausted, "DISK_FULL")
	wantStatus(t, set("600MiB", nil), codes.FailedPrecondition, "STOPPED", "only while its container runs")
	if err := set("2GiB", map[string]string{"a": "b"}); err != nil {
		t.Fatal(err)
	}
	r, err := s.StartContainer(t.Context(), &pb.StartContainerRequest{Username: "alice"})
	if err != nil || r.GetContainer().GetLabels()["a"] != "b" {
		t.Errorf("after the resize: %v, %v", r, err)
	}
}

func TestUpdateNeedsRestart(t *testing.T) {
	s := newSite(t, incustest.Options{StorageDriver: "lvm"})
	s.create(t, "alice")
	for _, c := range []struct {
		disk string
		want []string
	}{{"4GiB", nil}, {"2GiB", []string{"disk"}}, {"5GiB", nil}} {
		r, err := s.UpdateContainer(t.Context(), &pb.UpdateContainerRequest{Username: "alice", Resources: &pb.Resources{Disk: c.disk}})
		if err != nil || !slices.Equal(r.GetNeedsRestart(), c.want) {
			t.Errorf("%s: not before the next start: %v, %v", c.disk, r.GetNeedsRestart(), err)
		}
	}
}
