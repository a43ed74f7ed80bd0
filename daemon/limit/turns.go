package limit

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
)

// ErrBusy means that an identity has more calls waiting than it may.
var ErrBusy = errors.New("too many calls are waiting for their turn")

// Turns lets each identity do a few things at once; more wait for their turn, in
// order. A burst that is within the rate is so spread over the time that it takes,
// and the calls of everybody else run beside it, not behind it. It is meant for
// calls that are over soon. It is safe for concurrent use; its memory is bounded by
// the calls under way.
type Turns struct {
	each, most int

	mu    sync.Mutex
	taken map[string]turns // of identities that have any
}

type turns struct {
	running int
	waiting []chan struct{} // each closed when its turn comes
}

const (
	// leastTurns are as many as one core can not be without while calls wait for
	// Incus.
	leastTurns = 4
	// waiting bounds those that wait: as many as one connection has streams.
	waiting = 256
)

// NewTurns returns the turns of identities, by Common Name: as many at once as
// there are cores, at least four, since each call is mostly computation.
func NewTurns() *Turns {
	return &Turns{each: max(leastTurns, runtime.GOMAXPROCS(0)), most: waiting, taken: map[string]turns{}}
}

// Take waits for a turn of the identity; after nil, Give is due. It fails with
// ErrBusy at once where too many wait, and with the context's error.
func (t *Turns) Take(ctx context.Context, cn string) error {
	t.mu.Lock()
	all := t.taken[cn]
	if all.running < t.each {
		all.running++
		t.taken[cn] = all
		t.mu.Unlock()
		return nil
	}
	if len(all.waiting) >= t.most {
		t.mu.Unlock()
		return ErrBusy
	}
	mine := make(chan struct{})
	all.waiting = append(all.waiting, mine)
	t.taken[cn] = all
	t.mu.Unlock()
	select {
	case <-mine:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	all = t.taken[cn]
	at := slices.Index(all.waiting, mine)
	if at >= 0 {
		all.waiting = slices.Delete(all.waiting, at, at+1)
		t.taken[cn] = all
	}
	t.mu.Unlock()
	if at < 0 { // the turn came in this moment
		t.Give(cn)
	}
	return ctx.Err()
}

// Give ends a turn.
func (t *Turns) Give(cn string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.taken[cn]
	switch {
	case len(all.waiting) > 0: // it goes to who has waited longest
		close(all.waiting[0])
		all.waiting = all.waiting[1:]
	case all.running == 1:
		delete(t.taken, cn)
		return
	default:
		all.running--
	}
	t.taken[cn] = all
}
