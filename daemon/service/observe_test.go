package service_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/footprintai/containarium/daemon/service"
	"github.com/footprintai/containarium/incusx/incustest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// observer keeps what it is told.
type observer struct {
	mu      sync.Mutex
	stages  []string
	creates []error
	total   time.Duration
}

func (o *observer) Stage(stage string, took time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stages, o.total = append(o.stages, stage), o.total+took
}

func (o *observer) Create(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.creates = append(o.creates, err)
}

// Each stage of a create is told once, and all of them take no longer than the create.
func TestCreatesAreObserved(t *testing.T) {
	o := &observer{}
	s := newSite(t, incustest.Options{}, func(c *service.Config) { c.Observer = o })
	began := time.Now()
	s.create(t, "alice")
	took := time.Since(began)
	want := []string{"image", "instance", "start", "account", "address", "jump", "ssh"}
	if diff := cmp.Diff(want, o.stages); diff != "" {
		t.Errorf("stages (-want +got):\n%s", diff)
	}
	if len(o.creates) != 1 || o.creates[0] != nil || o.total > took || o.total == 0 {
		t.Errorf("creates %v, %v in stages of %v in all", o.creates, o.total, took)
	}
	*o = observer{}
	s.sim.Fail(incustest.Fault{Method: "PUT", Path: "/1.0/instances/*/state", Times: 1, Status: 500, Message: "no"})
	if _, err := s.CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: "bob"}); err == nil {
		t.Fatal("a container that did not start was made")
	}
	if diff := cmp.Diff([]string{"image", "instance", "start"}, o.stages); diff != "" {
		t.Errorf("stages of one that does not start (-want +got):\n%s", diff)
	}
	if len(o.creates) != 1 || o.creates[0] == nil {
		t.Errorf("creates %v, want one that failed", o.creates)
	}
}

// Every state is there, also those that no container is in.
func TestCounts(t *testing.T) {
	s := newSite(t, incustest.Options{})
	s.create(t, "alice")
	s.create(t, "bob")
	if _, err := s.StopContainer(t.Context(), &pb.StopContainerRequest{Username: "bob"}); err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"creating": 0, "running": 1, "stopped": 1, "frozen": 0, "error": 0, "unreachable": 0}
	eventually(t, func() bool { return cmp.Equal(want, s.Counts().States) })
	if c := s.Counts(); !c.Live || time.Since(c.Confirmed) > time.Minute || c.Resyncs == 0 || c.Events == 0 || c.Watchers != 0 {
		t.Errorf("%+v", c)
	}
}
