package gateway

import (
	"encoding/json"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// TestListIsWhatProtojsonWrites, the first time and again.
func TestListIsWhatProtojsonWrites(t *testing.T) {
	containers := []*pb.Container{{Username: "alice", Labels: map[string]string{"a": "[]"}, Network: &pb.Network{IpAddress: "10.0.0.2"}}, {Username: "bob"}}
	for name, list := range map[string]*pb.ListContainersResponse{
		"nothing": {},
		"fresh":   {Freshness: &pb.Freshness{Live: true, ConfirmedAt: timestamppb.New(time.Unix(1, 2))}},
		"two":     {Containers: containers, Freshness: &pb.Freshness{}, JumpHostKeys: []string{"ssh-ed25519 []"}},
		"one":     {Containers: containers[1:], JumpHostKeys: []string{"a", "b"}},
	} {
		plain, err := asJSON.MarshalOptions.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			ours, err := asJSON.Marshal(list)
			if err != nil {
				t.Fatal(err)
			}
			var got, want any
			if err := json.Unmarshal(ours, &got); err != nil {
				t.Fatalf("%s: %v: %s", name, err, ours)
			}
			if err := json.Unmarshal(plain, &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-protojson +ours):\n%s", name, diff)
			}
		}
	}
}

// TestListForgets: what is no longer in memory is not remembered.
func TestListForgets(t *testing.T) {
	e := new(encoded)
	func() {
		if _, err := e.container(asJSON.MarshalOptions, &pb.Container{Username: "alice"}); err != nil {
			t.Fatal(err)
		}
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.After(time.Minute); ; {
		runtime.GC()
		left := 0
		e.known.Range(func(any, any) bool { left++; return true })
		if left == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%d are remembered", left)
		}
	}
}
