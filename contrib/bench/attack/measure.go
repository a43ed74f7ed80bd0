package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

const (
	// callers is how many well-behaved identities there are, and pace how often each
	// of them calls: 20 a second, less than half of what an identity may.
	callers = 4
	pace    = 50 * time.Millisecond
	// freshPace is how often one more makes a connection for one call, as the CLI
	// does.
	freshPace = 100 * time.Millisecond
	// patience is how long a call may take before it counts as failed.
	patience = 10 * time.Second
)

// The kinds of call.
const (
	whoAmI = iota
	list
	connect
	kinds
)

var kindNames = [kinds]string{"whoami", "list", "connect"}

// figures are what the well-behaved callers saw.
type figures struct {
	took   [kinds]durations
	failed int
	err    error // the first
}

type durations []time.Duration

// quantile returns the time that q of all were within.
func (d durations) quantile(q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(d))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func (d durations) p50() time.Duration { return d.quantile(0.5) }
func (d durations) p99() time.Duration { return d.quantile(0.99) }

// measure calls for a time. A call begins when it is due, also where the one before
// has not ended: a daemon that stands still must not slow down who measures it.
func (s *site) measure(parent context.Context, length time.Duration) (figures, error) {
	ctx, cancel := context.WithTimeout(parent, length)
	defer cancel()
	var f figures
	var mu sync.Mutex
	var all sync.WaitGroup
	every := func(begin, pace time.Duration, call func(n int) (int, error)) {
		all.Go(func() {
			first := time.NewTimer(begin)
			defer first.Stop()
			<-first.C
			tick := time.NewTicker(pace)
			defer tick.Stop()
			for n := 0; ; n++ {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				begun := time.Now()
				all.Go(func() {
					kind, err := call(n)
					took := time.Since(begun)
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						f.failed++
						if f.err == nil {
							f.err = err
						}
						return
					}
					f.took[kind] = append(f.took[kind], took)
				})
			}
		})
	}
	for i, conn := range s.callers {
		// Not all at once.
		every(pace*time.Duration(i)/callers, pace, func(n int) (int, error) {
			if n%2 == 0 {
				return whoAmI, callWhoAmI(conn)
			}
			return list, callList(conn)
		})
	}
	every(0, freshPace, func(int) (int, error) { return connect, s.callFresh() })
	all.Wait()
	return f, parent.Err()
}

// The context of a call is not that of the measurement, so that what is under way at
// its end is not a failed call.
func within(f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return f(ctx)
}

func callWhoAmI(conn *grpc.ClientConn) error {
	return within(func(ctx context.Context) error {
		_, err := pb.NewAuthServiceClient(conn).WhoAmI(ctx, &pb.WhoAmIRequest{})
		return err
	})
}

func callList(conn *grpc.ClientConn) error {
	return within(func(ctx context.Context) error {
		_, err := pb.NewContainerServiceClient(conn).ListContainers(ctx, &pb.ListContainersRequest{})
		return err
	})
}

// callFresh calls on a connection of its own.
func (s *site) callFresh() error {
	conn, err := grpc.NewClient(s.address, grpc.WithTransportCredentials(*s.fresh))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	return callWhoAmI(conn)
}

// memory is the resident memory of this process, in MiB, without what the runtime
// could give back at once if settle is set.
func memory(settle bool) float64 {
	if settle {
		debug.FreeOSMemory()
	}
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(data))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.Atoi(fields[1])
	return float64(pages) * float64(os.Getpagesize()) / (1 << 20)
}

// descriptors is how many files this process has open.
func descriptors() int {
	entries, _ := os.ReadDir("/proc/self/fd")
	return len(entries)
}

// peak follows the memory until ctx ends, and then says the most and how many
// goroutines there were at most.
func peak(ctx context.Context) func() (mib float64, goroutines int) {
	var mib float64
	var goroutines int
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			mib, goroutines = max(mib, memory(false)), max(goroutines, runtime.NumGoroutine())
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return func() (float64, int) {
		<-done
		return mib, goroutines
	}
}
