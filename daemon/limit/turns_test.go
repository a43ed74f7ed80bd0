package limit

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func newTurns(each, most int) *Turns {
	t := NewTurns()
	t.each, t.most = each, most
	return t
}

// TestTurns: so many at once of each identity, in the order that they came.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(2, 10)
		var order []int
		var mu sync.Mutex
		for i := range 8 {
			go func() {
				if err := turns.Take(t.Context(), "mallory"); err != nil {
					t.Error(err)
				}
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				<-time.After(time.Second) // of the bubble's clock: what takes long
				turns.Give("mallory")
			}()
			synctest.Wait()
		}
		if len(order) != 2 {
			t.Errorf("%d run at once, want 2", len(order))
		}
		begin := time.Now()
		if err := turns.Take(t.Context(), "alice"); err != nil || time.Since(begin) != 0 {
			t.Errorf("another identity waited %v, %v", time.Since(begin), err)
		}
		turns.Give("alice")
		if err := turns.Take(t.Context(), "mallory"); err != nil || time.Since(begin) != 4*time.Second {
			t.Errorf("the ninth waited %v, %v; want 4s", time.Since(begin), err)
		}
		turns.Give("mallory")
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		for i, got := range order {
			if got/2 != i/2 { // two run at once
				t.Errorf("the order was %v", order)
				break
			}
		}
		if len(turns.taken) != 0 {
			t.Errorf("left: %v", turns.taken)
		}
	})
}

// TestTurnsGivenUp: who goes away while waiting takes no turn, and too many do not
// wait.
func TestTurnsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(1, 2)
		if err := turns.Take(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- turns.Take(ctx, "alice") }()
		synctest.Wait()
		go func() { second <- turns.Take(t.Context(), "alice") }()
		synctest.Wait()
		if err := turns.Take(t.Context(), "alice"); !errors.Is(err, ErrBusy) {
			t.Errorf("one too many: %v", err)
		}
		cancel()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("given up: %v", err)
		}
		turns.Give("alice")
		if err := <-second; err != nil {
			t.Error(err)
		}
		turns.Give("alice")
		if len(turns.taken) != 0 {
			t.Errorf("left: %v", turns.taken)
		}
	})
}

// TestTurnsGivenUpAsTheyCome: a turn that comes in the moment that its taker goes
// away is not lost.
func TestTurnsGivenUpAsTheyCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(1, 2)
		var gaveUp int
		for range 1000 {
			if err := turns.Take(t.Context(), "alice"); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			took := make(chan error, 1)
			go func() { took <- turns.Take(ctx, "alice") }()
			synctest.Wait()
			cancel() // it has seen this, and finds that its turn came meanwhile
			turns.Give("alice")
			if err := <-took; err == nil {
				turns.Give("alice")
			} else {
				gaveUp++
			}
			if len(turns.taken) != 0 {
				t.Fatalf("left: %v", turns.taken)
			}
		}
		t.Logf("%d of 1000 gave up", gaveUp)
	})
}

// TestTurnsConcurrent: never more than there are turns, whoever gives up, and none
// left at the end.
func TestTurnsConcurrent(t *testing.T) {
	turns := newTurns(3, 20)
	var running, gaveUp, busy, had atomic.Int64
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			for n := range 300 {
				ctx, cancel := context.WithCancel(t.Context())
				if (i+n)%3 == 0 {
					go cancel()
				}
				switch err := turns.Take(ctx, "alice"); {
				case errors.Is(err, ErrBusy):
					busy.Add(1)
				case err != nil:
					gaveUp.Add(1)
				default:
					if now := running.Add(1); now > 3 {
						t.Errorf("%d run at once", now)
					}
					had.Add(1)
					running.Add(-1)
					turns.Give("alice")
				}
				cancel()
			}
		})
	}
	all.Wait()
	if len(turns.taken) != 0 || had.Load() == 0 {
		t.Errorf("left: %v; had their turn: %d, gave up: %d, busy: %d", turns.taken, had.Load(), gaveUp.Load(), busy.Load())
	}
}

// TestTurnsAllocate nothing where there is one to be had.
func TestTurnsAllocate(t *testing.T) {
	turns := NewTurns()
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() { _ = turns.Take(ctx, "alice"); turns.Give("alice") }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkTurns(b *testing.B) {
	turns := NewTurns()
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		_ = turns.Take(ctx, "alice")
		turns.Give("alice")
	}
}
