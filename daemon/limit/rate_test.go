package limit

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// clock is a clock that a test sets.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time           { return time.Unix(0, c.at.Load()) }
func (c *clock) forward(by time.Duration) { c.at.Add(int64(by)) }

func newClock() *clock {
	c := &clock{}
	c.forward(1000 * time.Hour)
	return c
}

// take asks n times and returns how often the answer was yes.
func take[K comparable](b *Bucket[K], key K, n int) (taken int) {
	for range n {
		if ok, _ := b.Allow(key); ok {
			taken++
		}
	}
	return taken
}

// TestBurstThenRate: a burst at once, then the rate, and never more than a burst
// after any pause.
func TestBurstThenRate(t *testing.T) {
	c := newClock()
	b := NewRate(50, 200, c.now)
	if got := take(b, "alice", 300); got != 200 {
		t.Errorf("at once: %d calls went through, want 200", got)
	}
	c.forward(time.Second)
	if got := take(b, "alice", 300); got != 50 {
		t.Errorf("a second later: %d, want 50", got)
	}
	c.forward(time.Hour)
	if got := take(b, "alice", 300); got != 200 {
		t.Errorf("an hour later: %d, want 200", got)
	}
	if got := take(b, "bob", 300); got != 200 {
		t.Errorf("somebody else: %d, want 200", got)
	}
}

// TestRetryAfter: the call succeeds exactly then, and asking in between does not
// put it off.
func TestRetryAfter(t *testing.T) {
	c := newClock()
	b := NewRate(50, 10, c.now)
	take(b, "alice", 10)
	ok, after := b.Allow("alice")
	if ok || after != 20*time.Millisecond {
		t.Fatalf("got %v, %v; want no token for 20ms", ok, after)
	}
	take(b, "alice", 100)
	c.forward(after - 1)
	if ok, after := b.Allow("alice"); ok || after != 1 {
		t.Errorf("1 ns too early: %v, %v", ok, after)
	}
	c.forward(1)
	if ok, after := b.Allow("alice"); !ok || after != 0 {
		t.Errorf("at the time: %v, %v", ok, after)
	}
}

// TestClockSetBack: nobody waits longer than an empty bucket needs to fill.
func TestClockSetBack(t *testing.T) {
	c := newClock()
	b := NewRate(50, 200, c.now)
	take(b, "alice", 200)
	c.forward(-time.Hour)
	if ok, after := b.Allow("alice"); ok || after > 20*time.Millisecond {
		t.Errorf("got %v, %v", ok, after)
	}
	c.forward(4 * time.Second)
	if got := take(b, "alice", 300); got != 200 {
		t.Errorf("after 4s: %d, want 200", got)
	}
}

// TestIdleBucketsAreDropped, without a change for anybody.
func TestIdleBucketsAreDropped(t *testing.T) {
	c := newClock()
	b := NewRate(50, 200, c.now)
	take(b, "busy", 200)
	for i := range 1000 {
		b.Allow(strconv.Itoa(i))
	}
	if got := b.watched(); got != 1001 {
		t.Errorf("watched: %d, want 1001", got)
	}
	c.forward(20 * time.Millisecond) // all but busy's are full again
	take(b, "busy", 600)
	if got := b.watched(); got != 1 {
		t.Errorf("watched when the others are idle: %d, want 1", got)
	}
	c.forward(time.Second)
	if got := take(b, "busy", 300); got != 50 {
		t.Errorf("busy: %d, want 50", got)
	}
}

// TestManyIdentities: those beyond the bound share one bucket; those within keep
// their own, and come back to theirs when there is room.
func TestManyIdentities(t *testing.T) {
	c := newClock()
	b := newBucket[string](50, 10, 100, c.now)
	for i := range 100 {
		take(b, strconv.Itoa(i), 10)
	}
	var taken int
	for i := range 1000 {
		taken += take(b, "more"+strconv.Itoa(i), 1)
	}
	if taken != 10 || b.watched() != 100 {
		t.Errorf("beyond the bound: %d calls and %d watched, want one burst of 10 and 100", taken, b.watched())
	}
	if got := take(b, "5", 1); got != 0 {
		t.Error("one of the first has calls left again")
	}
	c.forward(time.Second)
	for i := range 100 {
		if got := take(b, "later"+strconv.Itoa(i), 20); got != 10 {
			t.Fatalf("%d, when there is room again: %d calls, want 10", i, got)
		}
	}
}

// TestConcurrent: together no more than the burst, by any number of callers.
func TestConcurrent(t *testing.T) {
	c := newClock()
	b := NewRate(50, 200, c.now)
	var taken atomic.Int64
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			for i := range 1000 {
				b.Allow(strconv.Itoa(i % 50))
				if ok, _ := b.Allow("alice"); ok {
					taken.Add(1)
				}
			}
		})
	}
	all.Wait()
	if taken.Load() != 200 {
		t.Errorf("%d calls went through, want 200", taken.Load())
	}
}

// TestRateAllocates nothing for a key that it knows.
func TestRateAllocates(t *testing.T) {
	b := NewRate(50, 200, time.Now)
	b.Allow("alice")
	b.Allow("bob")
	if n := testing.AllocsPerRun(1000, func() { b.Allow("alice"); b.Allow("bob") }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// BenchmarkRate is the cost of one call's Allow among a thousand identities.
func BenchmarkRate(b *testing.B) {
	rate := NewRate(50, 200, time.Now)
	names := make([]string, 1024)
	for i := range names {
		names[i] = "identity-" + strconv.Itoa(i)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			rate.Allow(names[i%len(names)])
		}
	})
}

// BenchmarkRateRefuses is the same for a caller without a token left.
func BenchmarkRateRefuses(b *testing.B) {
	rate := NewRate(MinRate, MinBurst, time.Now)
	b.ReportAllocs()
	for b.Loop() {
		rate.Allow("alice")
	}
}
