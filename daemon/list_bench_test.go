package daemon_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/footprintai/containarium/daemon/config"
	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/incusx/incustest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// daemonOf runs a daemon on an Incus that has n containers.
func daemonOf(b *testing.B, n int) *daemontest.Daemon {
	b.Helper()
	sim := incustest.Start(b)
	err := sim.Populate("default", n, func(i int) map[string]string {
		return map[string]string{
			"user.containarium.username": fmt.Sprintf("user-%05d", i), "user.containarium.phase": "ready",
			"user.containarium.image": "containarium/debian-12", "user.containarium.address": fmt.Sprintf("10.99.%d.%d", i/250, 2+i%250),
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	d := daemontest.StartOn(b, sim, func(c *config.File) { c.Limits.Rate, c.Limits.Burst = 10_000, 100_000 })
	admin := pb.NewContainerServiceClient(d.Dial(b, "admin"))
	for range 20 { // a call waits for the first read of all, but not for ever
		if _, err = admin.ListContainers(b.Context(), &pb.ListContainersRequest{}, grpc.MaxCallRecvMsgSize(64<<20)); err == nil {
			return d
		}
	}
	b.Fatal(err)
	return nil
}

// BenchmarkList is the list of everything, through TLS, policy and audit: how long
// one takes, and how many there are in a second where one caller asks.
func BenchmarkList(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			client := pb.NewContainerServiceClient(daemonOf(b, n).Dial(b, "admin"))
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				response, err := client.ListContainers(b.Context(), &pb.ListContainersRequest{}, grpc.MaxCallRecvMsgSize(64<<20))
				if err != nil || len(response.GetContainers()) != n {
					b.Fatalf("%d containers: %v", len(response.GetContainers()), err)
				}
				took = append(took, time.Since(began))
			}
			total := time.Duration(0)
			for _, t := range took {
				total += t
			}
			slices.Sort(took)
			figure := func(name string, value float64, unit string) {
				_, _ = fmt.Fprintf(os.Stdout, "figure: %s_%d %.2f %s\n", name, n, value, unit)
			}
			figure("list_rpc_p50", float64(took[len(took)/2].Microseconds())/1000, "ms")
			figure("list_rpc_p99", float64(took[len(took)*99/100].Microseconds())/1000, "ms")
			figure("list_rpc_rate", float64(len(took))/total.Seconds(), "1/s")
		})
	}
}

// BenchmarkWatch is how long it takes from the request that changes a container at
// Incus to the last of 1,000 watches that hear of it.
func BenchmarkWatch(b *testing.B) {
	const watchers, conns = 1000, 10
	d := daemonOf(b, 100)
	heard := make(chan time.Time, watchers)
	ctx, cancel := context.WithCancel(b.Context())
	var open sync.WaitGroup
	defer open.Wait()
	defer cancel()
	var ready sync.WaitGroup
	ready.Add(watchers)
	for range conns {
		client := pb.NewContainerServiceClient(d.Dial(b, "admin"))
		for range watchers / conns {
			open.Go(func() {
				begun := sync.OnceFunc(ready.Done)
				defer begun()
				stream, err := client.WatchContainers(ctx, &pb.WatchContainersRequest{})
				for first := true; err == nil; {
					var m *pb.WatchContainersResponse
					m, err = stream.Recv()
					switch {
					case err != nil:
					case m.GetChange() == pb.WatchChange_WATCH_CHANGE_SYNCED:
						first = false
						begun()
					case !first:
						heard <- time.Now()
					}
				}
				if ctx.Err() == nil {
					b.Errorf("a watch ended: %v", err)
				}
			})
		}
	}
	ready.Wait()
	admin := pb.NewContainerServiceClient(d.Dial(b, "admin"))
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		began := time.Now()
		request := &pb.UpdateContainerRequest{Username: "user-00007", Labels: map[string]string{"n": fmt.Sprint(i)}}
		if _, err := admin.UpdateContainer(b.Context(), request); err != nil {
			b.Fatal(err)
		}
		var last time.Time
		for range watchers {
			last = <-heard
		}
		took = append(took, last.Sub(began))
	}
	slices.Sort(took)
	_, _ = fmt.Fprintf(os.Stdout, "figure: change_to_last_of_%d_watches_p50 %.1f ms\n", watchers, float64(took[len(took)/2].Microseconds())/1000)
}
