package service_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/daemon/service"
	"github.com/footprintai/containarium/incusx/incustest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

func TestCreate(t *testing.T) {
	s := newSite(t, incustest.Options{})
	response, err := s.CreateContainer(t.Context(), &pb.CreateContainerRequest{
		Username:  "alice",
		SshKeys:   []string{key("one"), key("two"), key("one")[:strings.LastIndex(key("one"), " ")] + " again"},
		Labels:    map[string]string{"team": "blue"},
		Resources: &pb.Resources{Cpu: "1", Memory: "512MiB", Disk: "4GiB"},
	})
	if err != nil {
		t.Fatal(err)
	}
	c := response.GetContainer()
	if c.GetName() != "alice-container" || c.GetState() != pb.ContainerState_CONTAINER_STATE_RUNNING || !c.GetAutoStart() || c.GetDockerEnabled() || c.DockerInstalled != nil {
		t.Errorf("container %v", c)
	}
	if r := c.GetResources(); r.GetCpu() != "1" || r.GetMemory() != "512MiB" || r.GetDisk() != "4GiB" || !r.GetDiskEnforced() {
		t.Errorf("resources %v", r)
	}
	if len(c.GetSshKeys()) != 2 || c.GetSshKeys()[0].GetFingerprint() != fingerprint(key("one")) {
		t.Errorf("keys %v, want the two that differ", c.GetSshKeys())
	}
	if n := c.GetNetwork(); n.GetIpAddress() == "" || n.GetJumpAddress() != "jump.example" || !strings.HasPrefix(n.GetSshHostKey(), "ssh-ed25519 ") {
		t.Errorf("network %v", n)
	}
	if c.GetImage() != image || len(c.GetImageFingerprint()) != 64 || c.GetLabels()["team"] != "blue" || c.GetCreatedAt().AsTime().IsZero() {
		t.Errorf("container %v", c)
	}
	want := c.GetNetwork().GetIpAddress() + " " + key("one") + ", " + key("two")
	if got, _ := s.hop.account("alice"); got != want {
		t.Errorf("jump account %q, want %q", got, want)
	}
	if len(response.GetWarnings()) > 0 {
		t.Errorf("warnings %q", response.GetWarnings())
	}
}

func TestCreateWarns(t *testing.T) {
	s := newSite(t, incustest.Options{StorageDriver: "dir"})
	response, err := s.CreateContainer(t.Context(), &pb.CreateContainerRequest{
		Username:     "alice",
		EnableDocker: new(true),
		Resources:    &pb.Resources{Cpu: "4000", Memory: "900TiB", Disk: "4GiB"},
	})
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(response.GetWarnings(), "\n")
	for _, want := range []string{"no Docker engine", "no SSH key", "CPU limit 4000 is more", "memory limit 900TiB is more", "does not enforce the disk limit"} {
		if !strings.Contains(all, want) {
			t.Errorf("no warning has %q:\n%s", want, all)
		}
	}
	c := response.GetContainer()
	if c.GetResources().GetDiskEnforced() || c.GetResources().DiskEnforced == nil || !c.GetDockerEnabled() || c.DockerInstalled == nil || c.GetDockerInstalled() {
		t.Errorf("container %v", c)
	}
}

func TestCreateTwice(t *testing.T) {
	s := newSite(t, incustest.Options{})
	s.create(t, "alice")
	before, _ := s.hop.account("alice")
	_, err := s.CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: "alice", SshKeys: []string{key("mallory")}})
	wantStatus(t, err, codes.AlreadyExists, "ALREADY_EXISTS", "alice has a container")
	if after, _ := s.hop.account("alice"); after != before {
		t.Errorf("the jump account changed from %q to %q", before, after)
	}
}

func TestOfConcurrentCreatesOneWins(t *testing.T) {
	s := newSite(t, incustest.Options{StartDelay: 50 * time.Millisecond})
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = s.CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: "alice"})
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if status.Code(err) != codes.AlreadyExists {
			t.Errorf("a loser got %v", err)
		}
	}
	if won != 1 {
		t.Errorf("%d creates won", won)
	}
}

// Whatever stage fails, the error names it and nothing is left.
func TestFailedCreateLeavesNothing(t *testing.T) {
	const timeout = 500 * time.Millisecond
	for name, test := range map[string]struct {
		image  string
		fault  *incustest.Fault
		change func(*site)
		stage  string
		code   codes.Code
		reason string
	}{
		"no such image":    {image: "nope", stage: "image", code: codes.NotFound, reason: "NOT_FOUND"},
		"init refused":     {fault: &incustest.Fault{Method: "POST", Path: "/1.0/instances", Status: 400, Message: "no"}, stage: "instance", code: codes.FailedPrecondition, reason: "REFUSED_BY_INCUS"},
		"init fails":       {fault: &incustest.Fault{Method: "POST", Path: "/1.0/instances", OperationError: "no space"}, stage: "instance", code: codes.Internal, reason: "INTERNAL"},
		"init cut off":     {fault: &incustest.Fault{Method: "POST", Path: "/1.0/instances", Drop: true}, stage: "instance", code: codes.Unavailable, reason: "INCUS_UNAVAILABLE"},
		"start fails":      {fault: &incustest.Fault{Method: "PUT", Path: "/1.0/instances/*/state", Times: 1, OperationError: "no memory"}, stage: "start", code: codes.Internal, reason: "INTERNAL"},
		"no sshd":          {image: "nosshd", stage: "account", code: codes.FailedPrecondition, reason: "IMAGE_UNFIT"},
		"no sudo":          {image: "nosudo", stage: "account", code: codes.FailedPrecondition, reason: "IMAGE_UNFIT"},
		"exec fails":       {fault: &incustest.Fault{Method: "POST", Path: "/1.0/instances/*/exec", OperationError: "no"}, stage: "account", code: codes.Internal, reason: "INTERNAL"},
		"no address":       {image: "nodhcp", stage: "address", code: codes.DeadlineExceeded, reason: "TIMEOUT"},
		"no jump account":  {change: func(s *site) { s.hop.fail = errors.New("no") }, stage: "jump", code: codes.Internal, reason: "INTERNAL"},
		"write back fails": {fault: &incustest.Fault{Method: "PATCH", Path: "/1.0/instances/*", Status: 500}, stage: "ssh", code: codes.Internal, reason: "INTERNAL"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, incustest.Options{}, func(c *service.Config) {
				if test.code == codes.DeadlineExceeded {
					c.CreateTimeout = timeout
				}
			})
			if test.change != nil {
				test.change(s)
			}
			if test.fault != nil {
				s.sim.Fail(*test.fault)
			}
			_, err := s.CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: "alice", Image: test.image, SshKeys: []string{key("alice")}})
			wantStatus(t, err, test.code, test.reason, "create alice failed at stage "+test.stage, "nothing of it is left")
			s.nothingLeft(t, "alice")
		})
	}
}

func TestRollbackKeepsWhatWasThereBefore(t *testing.T) {
	s := newSite(t, incustest.Options{}, func(c *service.Config) { c.CreateTimeout = 500 * time.Millisecond })
	s.hop.accounts["alice"] = "of an older life"
	if _, err := s.CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: "alice", Image: "nosshd"}); err == nil {
		t.Fatal("no error")
	}
	if _, err := s.CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: "alice", Image: "nodhcp", NoWait: true}); err == nil {
		t.Fatal("no error")
	}
	if account, _ := s.hop.account("alice"); account != "of an older life" {
		t.Errorf("the account is %q", account)
	}
}

// A container that came to be after the create looked is somebody's work.
func TestRollbackKeepsWhatAnotherMadeMeanwhile(t *testing.T) {
	s := newSite(t, incustest.Options{})
	s.create(t, "alice")
	appear := s.sim.Fail(incustest.Fault{Method: "GET", Path: "/1.0/instances/alice-container", Status: 404, Message: "not yet"})
	s.sim.Fail(incustest.Fault{Method: "POST", Path: "/1.0/instances", Times: 1, Meet: appear})
	_, err := s.CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: "alice"})
	wantStatus(t, err, codes.AlreadyExists, "ALREADY_EXISTS", "at stage instance")
	if names := s.names(t); !slices.Equal(names, []string{"alice"}) {
		t.Errorf("containers %q", names)
	}
}

func TestCreateRefusesWhatIsNotOurs(t *testing.T) {
	s := newSite(t, incustest.Options{})
	s.hop.foreign["root-like"] = true
	_, err := s.CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: "root-like"})
	wantStatus(t, err, codes.FailedPrecondition, "NAME_RESERVED", "belongs to somebody else")
	if names := s.names(t); len(names) > 0 {
		t.Errorf("instances %q", names)
	}
}

// A caller that goes away does not take its container with it.
func TestCreateGoesOnWithoutItsCaller(t *testing.T) {
	s := newSite(t, incustest.Options{StartDelay: 20 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.sim.Fail(incustest.Fault{Method: "POST", Path: "/1.0/instances", OperationDelay: 50 * time.Millisecond})
	done := make(chan error, 1)
	go func() {
		_, err := s.CreateContainer(ctx, &pb.CreateContainerRequest{Username: "alice"})
		done <- err
	}()
	eventually(t, func() bool { return s.sim.Requests("POST", "/1.0/instances") > 0 })
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if names := s.names(t); !slices.Equal(names, []string{"alice"}) {
		t.Errorf("containers %q", names)
	}
}

func TestValidationNamesEveryWrongField(t *testing.T) {
	s := newSite(t, incustest.Options{})
	_, err := s.CreateContainer(t.Context(), &pb.CreateContainerRequest{
		Username:  "Alice",
		SshKeys:   []string{key("good"), "not a key"},
		Labels:    map[string]string{"UPPER": "x", "ok": "a\nb"},
		Image:     "a b",
		Resources: &pb.Resources{Cpu: "0", Memory: "1", Disk: "lots"},
	})
	fields := violatedFields(t, err)
	want := []string{"image", "labels", `labels["ok"]`, "resources.cpu", "resources.disk", "resources.memory", "ssh_keys[1]", "username"}
	if !slices.Equal(fields, want) {
		t.Errorf("fields %q, want %q", fields, want)
	}
	if n := s.sim.Requests("", ""); n > 0 {
		t.Errorf("Incus was asked %d times about a request that is wrong", n)
	}
}

func TestRequestsAreBounded(t *testing.T) {
	s := newSite(t, incustest.Options{})
	many := make([]string, 33)
	labels := map[string]string{}
	for i := range many {
		many[i] = key(strings.Repeat("x", i))
		labels["l"+strings.Repeat("x", i)] = ""
	}
	_, err := s.CreateContainer(t.Context(), &pb.CreateContainerRequest{
		Username: strings.Repeat("a", 32), SshKeys: many, Labels: labels, Image: strings.Repeat("i", 256),
		Resources: &pb.Resources{Cpu: "0" + strings.Repeat(",0-4095", 1000), Memory: strings.Repeat("9", 100) + "GiB"},
	})
	if got, want := violatedFields(t, err), []string{"image", "labels", "resources.cpu", "resources.memory", "ssh_keys", "username"}; !slices.Equal(got, want) {
		t.Errorf("fields %q, want %q", got, want)
	}
	_, err = s.ListContainers(t.Context(), &pb.ListContainersRequest{States: make([]pb.ContainerState, 9), Labels: labels})
	if got, want := violatedFields(t, err), []string{"labels", "states"}; !slices.Equal(got, want) {
		t.Errorf("fields %q, want %q", got, want)
	}
	_, err = s.StopContainer(t.Context(), &pb.StopContainerRequest{Username: "-", TimeoutSeconds: 601})
	if got, want := violatedFields(t, err), []string{"timeout_seconds", "username"}; !slices.Equal(got, want) {
		t.Errorf("fields %q, want %q", got, want)
	}
}
