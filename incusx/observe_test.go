package incusx_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/incusx/incustest"
)

// Requests are told by what they are about, and never by whose container it is; a wait
// for an operation says nothing of how fast Incus answers.
func TestRequestsAreObserved(t *testing.T) {
	r := newRig(t)
	r.init(t, incusx.Spec{Username: "alice"})
	var mu sync.Mutex
	var told []string
	client := incusx.New(incusx.Config{
		Socket: r.sim.Socket(), Project: "default", Profile: "default", SSHPort: r.sim.SSHPort(),
		Observe: func(method, resource string, status int, took time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, fmt.Sprintf("%s %s %d %v", method, resource, status, took > 0))
		},
	})
	// only compares what was told in the meantime, each once.
	only := func(what string, want ...string) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(told)
		if diff := cmp.Diff(want, slices.Compact(told)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
		told = nil
	}
	ctx := bounded(t)
	must(t, "start", client.Start(ctx, "alice"))
	only("a start", "GET operations 200 false", "PUT instances 202 true")
	if _, err := client.Get(ctx, "nobody"); err == nil {
		t.Error("there is a container of nobody")
	}
	only("nobody's", "GET instances 404 true")
	r.sim.Fail(incustest.Fault{Drop: true})
	if _, err := client.Get(ctx, "alice"); err == nil {
		t.Error("an answer without Incus")
	}
	only("no answer", "GET instances 0 true")
}
