package cache_test

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"
)

// BenchmarkCopy is what it takes to keep a copy of so many containers: the time of
// a full read, the memory, how long a change needs until it is in the copy, and
// how long a list takes.
func BenchmarkCopy(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := idleRig(b)
			r.populate(b, n)
			before := heap()
			began := time.Now()
			r.run(b)
			r.has(b, n)
			figure("copy_full_read", n, time.Since(began).Seconds()*1000, "ms")
			figure("copy_heap", n, float64(heap()-before)/1024, "KiB")

			username := usernames(n)[n/2]
			var took []time.Duration
			for i := range 100 {
				_, changed := r.Since(r.version())
				if i%2 == 0 { // a lone event; the other is one of a row
					until(b, "the pace to be over", pace())
				}
				began := time.Now()
				if _, err := r.client.SetHostKey(b.Context(), username, fmt.Sprint(i)); err != nil {
					b.Fatal(err)
				}
				<-changed
				if i%2 == 0 {
					took = append(took, time.Since(began))
				}
			}
			slices.Sort(took)
			figure("change_to_copy_p50", n, took[len(took)/2].Seconds()*1000, "ms")
			figure("change_to_copy_p99", n, took[len(took)*99/100].Seconds()*1000, "ms")

			for b.Loop() {
				if entries, err := r.List(b.Context()); err != nil || len(entries) != n {
					b.Fatalf("%d containers: %v", len(entries), err)
				}
			}
		})
	}
}

// pace reports whether the time is over in which events are collected.
func pace() func() bool {
	over := time.Now().Add(60 * time.Millisecond)
	return func() bool { return time.Now().After(over) }
}

func heap() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func figure(name string, n int, value float64, unit string) {
	_, _ = fmt.Fprintf(os.Stdout, "figure: %s_%d %.2f %s\n", name, n, value, unit)
}

// BenchmarkFollow is what it costs to follow the changes, for each follower.
func BenchmarkFollow(b *testing.B) {
	r := newRig(b)
	r.populate(b, 10_000)
	r.sim.HangUp()
	r.has(b, 10_000)
	at := r.version()
	username := usernames(10_000)[5000]
	if _, err := r.client.SetHostKey(b.Context(), username, "other"); err != nil {
		b.Fatal(err)
	}
	r.Refresh(b.Context(), username)
	for b.Loop() {
		delta, _ := r.Since(at)
		if len(delta.Changes) != 1 || delta.Changes[0].Username != username {
			b.Fatalf("changes %+v", delta.Changes)
		}
	}
}
