package daemon_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/daemon/daemontest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// nextSynced returns what a watch says up to the next SYNCED, in short.
func nextSynced(t *testing.T, stream pb.ContainerService_WatchContainersClient) string {
	t.Helper()
	var words []string
	for {
		m, err := stream.Recv()
		if err != nil {
			t.Fatalf("the watch ended after %q: %v", words, err)
		}
		if m.GetChange() == pb.WatchChange_WATCH_CHANGE_SYNCED {
			return strings.Join(words, " ")
		}
		words = append(words, strings.TrimPrefix(m.GetChange().String(), "WATCH_CHANGE_")+" "+m.GetUsername())
	}
}

// A watch follows the policy while it is open: what may no longer be seen is gone,
// and what may be seen now is there, with nothing else happening. A caller who may
// see nothing at all any more loses it.
func TestWatchesFollowThePolicy(t *testing.T) {
	t.Parallel()
	d := daemontest.Start(t)
	admin := pb.NewContainerServiceClient(d.Dial(t, "admin"))
	for _, username := range []string{"alice", "bob"} {
		if _, err := admin.CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: username, NoWait: true}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stream, err := pb.NewContainerServiceClient(d.Dial(t, "alice")).WatchContainers(ctx, &pb.WatchContainersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got := nextSynced(t, stream); got != "RESET  PRESENT alice" {
		t.Fatalf("at first %q", got)
	}
	until := func(want string) {
		t.Helper()
		for got := ""; got != want; {
			if got = nextSynced(t, stream); got != "" && got != want && got != "PRESENT alice" {
				t.Fatalf("%q, want %q", got, want)
			}
		}
	}
	d.SetPolicy(t, policyWith(t, `containers = ["{cn}"]`, `containers = ["bob"]`))
	until("GONE alice PRESENT bob")
	d.SetPolicy(t, policyWith(t, `containers = ["{cn}"]`, `containers = ["{cn}", "bob"]`))
	until("PRESENT alice")
	d.SetPolicy(t, policyWith(t, `alice = "tenant"`, `alice = "guest"`))
	for err = nil; err == nil; {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("the watch of one who may see nothing: %v", err)
	}
}
