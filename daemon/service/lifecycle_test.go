package service_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/footprintai/containarium/daemon/service"
	"github.com/footprintai/containarium/incusx/incustest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

const (
	running = pb.ContainerState_CONTAINER_STATE_RUNNING
	stopped = pb.ContainerState_CONTAINER_STATE_STOPPED
)

func TestStopAndStart(t *testing.T) {
	s := newSite(t, incustest.Options{})
	made := s.create(t, "alice")
	started, err := s.StartContainer(t.Context(), &pb.StartContainerRequest{Username: "alice"})
	if err != nil || !started.GetAlready() || started.GetContainer().GetState() != running {
		t.Errorf("start when running: %v, %v", started, err)
	}
	for _, already := range []bool{false, true} {
		response, err := s.StopContainer(t.Context(), &pb.StopContainerRequest{Username: "alice"})
		if err != nil || response.GetAlready() != already || response.GetContainer().GetState() != stopped {
			t.Errorf("stop: %v, %v; want already %t", response, err, already)
		}
	}
	started, err = s.StartContainer(t.Context(), &pb.StartContainerRequest{Username: "alice"})
	if err != nil || started.GetAlready() || started.GetContainer().GetState() != running {
		t.Errorf("start: %v, %v", started, err)
	}
	if got, want := started.GetContainer().GetNetwork().GetIpAddress(), made.GetNetwork().GetIpAddress(); got != want {
		t.Errorf("the address changed from %s to %s", want, got)
	}
	for range 2 { // running, then once more
		response, err := s.RestartContainer(t.Context(), &pb.RestartContainerRequest{Username: "alice", Force: true})
		if err != nil || response.GetContainer().GetState() != running {
			t.Errorf("restart: %v, %v", response, err)
		}
	}
}

func TestMissingContainerIsNotFound(t *testing.T) {
	s := newSite(t, incustest.Options{})
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"get": func() error { _, err := s.GetContainer(ctx, &pb.GetContainerRequest{Username: "alice"}); return err },
		"delete": func() error {
			_, err := s.DeleteContainer(ctx, &pb.DeleteContainerRequest{Username: "alice"})
			return err
		},
		"start": func() error {
			_, err := s.StartContainer(ctx, &pb.StartContainerRequest{Username: "alice"})
			return err
		},
		"stop": func() error { _, err := s.StopContainer(ctx, &pb.StopContainerRequest{Username: "alice"}); return err },
		"restart": func() error {
			_, err := s.RestartContainer(ctx, &pb.RestartContainerRequest{Username: "alice"})
			return err
		},
		"add key": func() error {
			_, err := s.AddSSHKey(ctx, &pb.AddSSHKeyRequest{Username: "alice", SshKey: key("k")})
			return err
		},
		"remove key": func() error {
			_, err := s.RemoveSSHKey(ctx, &pb.RemoveSSHKeyRequest{Username: "alice", SshKey: key("k")})
			return err
		},
		"metrics": func() error { _, err := s.GetMetrics(ctx, &pb.GetMetricsRequest{Username: "alice"}); return err },
	} {
		t.Run(name, func(t *testing.T) {
			wantStatus(t, call(), codes.NotFound, "NOT_FOUND", "alice has no container")
		})
	}
}

func TestDelete(t *testing.T) {
	s := newSite(t, incustest.Options{})
	s.create(t, "alice")
	_, err := s.DeleteContainer(t.Context(), &pb.DeleteContainerRequest{Username: "alice"})
	wantStatus(t, err, codes.FailedPrecondition, "RUNNING", "alice is running", "force")
	if _, ok := s.hop.account("alice"); !ok {
		t.Error("a refused delete took the account")
	}
	if _, err := s.DeleteContainer(t.Context(), &pb.DeleteContainerRequest{Username: "alice", Force: true}); err != nil {
		t.Fatal(err)
	}
	s.nothingLeft(t, "alice")
}

// An account that took the place of ours is not ours to remove, and no reason to
// keep the container.
func TestDeleteLeavesAForeignAccount(t *testing.T) {
	s := newSite(t, incustest.Options{})
	s.create(t, "alice")
	s.hop.foreign["alice"] = true
	if _, err := s.DeleteContainer(t.Context(), &pb.DeleteContainerRequest{Username: "alice", Force: true}); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.hop.account("alice"); !ok {
		t.Error("the foreign account was removed")
	}
	if names := s.names(t); len(names) > 0 {
		t.Errorf("containers %q", names)
	}
}

// A delete that was cut off between its two steps is finished by the next.
func TestDeleteFinishesWhatWasHalfDone(t *testing.T) {
	s := newSite(t, incustest.Options{})
	s.create(t, "alice")
	s.sim.Fail(incustest.Fault{Method: "DELETE", Path: "/1.0/instances/*", Times: 1, OperationError: "busy"})
	request := &pb.DeleteContainerRequest{Username: "alice", Force: true}
	_, err := s.DeleteContainer(t.Context(), request)
	wantStatus(t, err, codes.Internal, "INTERNAL", "busy")
	if _, err := s.DeleteContainer(t.Context(), request); err != nil {
		t.Errorf("second delete: %v", err)
	}
	s.nothingLeft(t, "alice")

	s.hop.accounts["bob"] = "without a container"
	if _, err := s.DeleteContainer(t.Context(), &pb.DeleteContainerRequest{Username: "bob"}); err != nil {
		t.Errorf("delete of the rest: %v", err)
	}
	s.nothingLeft(t, "bob")
}

func TestKeys(t *testing.T) {
	s := newSite(t, incustest.Options{})
	address := s.create(t, "alice").GetNetwork().GetIpAddress()
	add := func(line string) *pb.AddSSHKeyResponse {
		t.Helper()
		response, err := s.AddSSHKey(t.Context(), &pb.AddSSHKeyRequest{Username: "alice", SshKey: line})
		if err != nil {
			t.Fatal(err)
		}
		return response
	}
	if response := add(key("two")); response.GetAlready() || len(response.GetContainer().GetSshKeys()) != 2 {
		t.Errorf("add: %v", response)
	}
	if response := add(strings.Replace(key("two"), " two", " other comment", 1)); !response.GetAlready() || len(response.GetContainer().GetSshKeys()) != 2 {
		t.Errorf("add again: %v", response)
	}
	if got, _ := s.hop.account("alice"); got != address+" "+key("alice")+", "+key("two") {
		t.Errorf("jump account %q", got)
	}
	// The guest lets the new key in.
	if _, err := s.incus.WaitSSH(t.Context(), address, "alice", []string{key("two")}); err != nil {
		t.Error(err)
	}
	_, err := s.RemoveSSHKey(t.Context(), &pb.RemoveSSHKeyRequest{Username: "alice", SshKey: key("three")})
	wantStatus(t, err, codes.NotFound, "NOT_FOUND", fingerprint(key("three")))
	if _, err := s.RemoveSSHKey(t.Context(), &pb.RemoveSSHKeyRequest{Username: "alice", SshKey: fingerprint(key("alice"))}); err != nil {
		t.Error(err)
	}
	last := &pb.RemoveSSHKeyRequest{Username: "alice", SshKey: key("two")}
	_, err = s.RemoveSSHKey(t.Context(), last)
	wantStatus(t, err, codes.FailedPrecondition, "LAST_KEY", "last key of alice")
	last.Force = true
	response, err := s.RemoveSSHKey(t.Context(), last)
	if err != nil || len(response.GetContainer().GetSshKeys()) != 0 {
		t.Errorf("remove the last: %v, %v", response, err)
	}
	if got, _ := s.hop.account("alice"); got != address+" " {
		t.Errorf("jump account %q still has keys", got)
	}
}

func TestKeysOfAStoppedContainerReachItAtItsStart(t *testing.T) {
	s := newSite(t, incustest.Options{})
	address := s.create(t, "alice").GetNetwork().GetIpAddress()
	if _, err := s.StopContainer(t.Context(), &pb.StopContainerRequest{Username: "alice", Force: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddSSHKey(t.Context(), &pb.AddSSHKeyRequest{Username: "alice", SshKey: key("two")}); err != nil {
		t.Fatal(err)
	}
	if got, _ := s.hop.account("alice"); !strings.Contains(got, key("two")) {
		t.Errorf("the host does not have the key at once: %q", got)
	}
	if _, err := s.StartContainer(t.Context(), &pb.StartContainerRequest{Username: "alice"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.incus.WaitSSH(t.Context(), address, "alice", []string{key("two")}); err != nil {
		t.Error(err)
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	s := newSite(t, incustest.Options{})
	for _, line := range []string{"", "x", "command=\"x\" " + key("k"), key("a") + "\n" + key("b"), "-----BEGIN OPENSSH PRIVATE KEY-----"} {
		_, err := s.AddSSHKey(t.Context(), &pb.AddSSHKeyRequest{Username: "alice", SshKey: line})
		if got := violatedFields(t, err); !slices.Equal(got, []string{"ssh_key"}) {
			t.Errorf("%q: fields %q", line, got)
		}
	}
	if n := s.sim.Requests("", ""); n > 0 {
		t.Errorf("Incus was asked %d times", n)
	}
}

func TestListIsFilteredSortedAndCostsIncusNothing(t *testing.T) {
	s := newSite(t, incustest.Options{}, func(c *service.Config) {
		c.May = func(_ context.Context, rpc, username string) bool {
			return (rpc == "ContainerService/ListContainers" || rpc == "ContainerService/GetMetrics") && username != "secret"
		}
	})
	for _, username := range []string{"carol", "alice", "secret", "bob"} {
		if _, err := s.CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: username, Labels: map[string]string{"first": username[:1]}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.StopContainer(t.Context(), &pb.StopContainerRequest{Username: "bob", Force: true}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		request *pb.ListContainersRequest
		want    []string
	}{
		{&pb.ListContainersRequest{}, []string{"alice", "bob", "carol"}},
		{&pb.ListContainersRequest{States: []pb.ContainerState{stopped}}, []string{"bob"}},
		{&pb.ListContainersRequest{Labels: map[string]string{"first": "c"}}, []string{"carol"}},
		{&pb.ListContainersRequest{Labels: map[string]string{"first": "c", "second": "x"}}, nil},
	} {
		s.sim.Forget()
		response, err := s.ListContainers(t.Context(), test.request)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range response.GetContainers() {
			got = append(got, c.GetUsername())
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%v: %q, want %q", test.request, got, test.want)
		}
		if n := s.sim.Requests("GET", "/1.0/instances"); n != 0 {
			t.Errorf("a list of %d containers asked Incus %d times", len(got), n)
		}
		if !response.GetFreshness().GetLive() || response.GetFreshness().GetConfirmedAt() == nil {
			t.Errorf("freshness %v", response.GetFreshness())
		}
	}
	metrics, err := s.GetMetrics(t.Context(), &pb.GetMetricsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range metrics.GetMetrics() {
		got = append(got, m.GetUsername())
		if known := m.MemoryUsageBytes != nil; known != (m.GetState() == running) {
			t.Errorf("metrics of %s, which is %s: %v", m.GetUsername(), m.GetState(), m)
		}
	}
	if !slices.Equal(got, []string{"alice", "bob", "carol"}) {
		t.Errorf("metrics of %q", got)
	}
}

func TestSystemInfo(t *testing.T) {
	s := newSite(t, incustest.Options{})
	s.create(t, "alice")
	info, err := s.GetSystemInfo(t.Context(), &pb.GetSystemInfoRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if info.GetContainersTotal() != 1 || info.GetContainersRunning() != 1 || info.GetCpuCount() == 0 || info.GetMemoryTotalBytes() == 0 ||
		info.GetStorageDriver() != "btrfs" || info.GetNetwork() == "" || info.GetIncusVersion() == "" || info.GetDefaultImage() != image || info.GetVersion() != "test" {
		t.Errorf("system %v", info)
	}
}

func TestIncusAwayIsOnePlainSentence(t *testing.T) {
	s := newSite(t, incustest.Options{})
	s.create(t, "alice")
	s.sim.Down()
	// The news needs no time, and a goroutine its turn.
	var err error
	eventually(t, func() bool { _, err = s.ListContainers(t.Context(), &pb.ListContainersRequest{}); return err != nil })
	wantStatus(t, err, codes.Unavailable, "INCUS_UNAVAILABLE", "Incus on this host does not answer")
	_, err = s.GetContainer(t.Context(), &pb.GetContainerRequest{Username: "alice"})
	wantStatus(t, err, codes.Unavailable, "INCUS_UNAVAILABLE", "Incus on this host does not answer")
	_, err = s.CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: "bob"})
	wantStatus(t, err, codes.Unavailable, "INCUS_UNAVAILABLE")
	if err := s.sim.Up(); err != nil {
		t.Fatal(err)
	}
	// The first read after it came back is answered.
	list, err := s.ListContainers(t.Context(), &pb.ListContainersRequest{})
	if err != nil || len(list.GetContainers()) != 1 || list.GetContainers()[0].GetUsername() != "alice" {
		t.Errorf("list %v, %v", list, err)
	}
}

// What a daemon that died left is mended: unfinished instances go, accounts are
// made to match, and what a call is busy with is left alone.
func TestReconcile(t *testing.T) {
	s := newSite(t, incustest.Options{})
	s.create(t, "alice")
	// A create that a dead daemon left: the instance is made, and that is all.
	clear := s.sim.Fail(incustest.Fault{Method: "PUT", Path: "/1.0/instances/*/state", OperationError: "died"})
	gone := s.sim.Fail(incustest.Fault{Method: "DELETE", Path: "/1.0/instances/*", OperationError: "died"})
	_, err := s.CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: "bob"})
	wantStatus(t, err, codes.Internal, "INTERNAL", "what is left of it will be removed")
	clear()
	gone()
	list, err := s.ListContainers(t.Context(), &pb.ListContainersRequest{})
	if err != nil || len(list.GetContainers()) != 2 || list.GetContainers()[1].GetState() != pb.ContainerState_CONTAINER_STATE_CREATING {
		t.Fatalf("list %v, %v; want bob as creating", list, err)
	}
	want, _ := s.hop.account("alice")
	s.hop.accounts["alice"] = "lost its keys"
	s.hop.accounts["bob"] = "unfinished"
	s.hop.accounts["carol"] = "has no container"
	s.hop.accounts["dave"] = "is somebody else's"
	s.hop.foreign["dave"] = true

	if err := s.Reconcile(t.Context()); err == nil {
		t.Error("no error about an account that is not ours")
	}
	s.nothingLeft(t, "bob")
	s.nothingLeft(t, "carol")
	if got, _ := s.hop.account("alice"); got != want {
		t.Errorf("alice has %q, want %q", got, want)
	}
	if _, ok := s.hop.account("dave"); !ok {
		t.Error("a foreign account was removed")
	}
}

// A create over the rest of one that died succeeds without waiting for anybody.
func TestCreateOverAnUnfinishedOne(t *testing.T) {
	s := newSite(t, incustest.Options{})
	clear := s.sim.Fail(incustest.Fault{Method: "PUT", Path: "/1.0/instances/*/state", OperationError: "died"})
	gone := s.sim.Fail(incustest.Fault{Method: "DELETE", Path: "/1.0/instances/*", OperationError: "died"})
	if _, err := s.CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: "alice"}); err == nil {
		t.Fatal("no error")
	}
	clear()
	gone()
	_, err := s.StartContainer(t.Context(), &pb.StartContainerRequest{Username: "alice"})
	wantStatus(t, err, codes.FailedPrecondition, "UNFINISHED", "was cut off")
	s.create(t, "alice")
}

func TestSuperviseFollowsIncus(t *testing.T) {
	var serving atomic.Bool
	s := newSite(t, incustest.Options{}, func(c *service.Config) { c.Serving = serving.Store })
	s.hop.accounts["old"] = "has no container"
	s.sim.Down()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { s.Supervise(ctx); close(done) }()
	if err := s.sim.Up(); err != nil {
		t.Fatal(err)
	}
	eventually(t, serving.Load)
	eventually(t, func() bool { _, ok := s.hop.account("old"); return !ok })
	s.sim.Down()
	eventually(t, func() bool { return !serving.Load() })
	cancel()
	<-done
}
