// Package cache keeps a copy of the containers that Incus has, so that reads cost Incus nothing: Incus' events say which containers to read anew, and everything is read anew whenever one may have been missed.
package cache

import (
	"context"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/footprintai/containarium/incusx"
)

const (
	// resyncEvery is how often everything is read anew although no event is known to
	// be missing: at 1,000 containers that is 0.2 seconds of Incus' CPU time.
	resyncEvery = 2 * time.Minute
	// settleMost bounds how long a read waits while it is not known whether Incus is
	// there: after the start, and after the event stream broke.
	settleMost = 5 * time.Second
)

// Bound is the longest that a change made behind our back can stay unseen while
// the events come in, should its event get lost.
const Bound = resyncEvery

// Entry is a container as it was read, with what its readers want of it. It
// never changes: a newer one takes its place.
type Entry[V any] struct {
	Container incusx.Container
	// View is made of the container once, for all readers.
	View V
}

// Cache is a copy of the containers. It is safe for concurrent use.
//
// It fails closed: from the moment at which the event stream breaks until all has
// been read anew it answers nothing, so that nobody takes old news for new.
type Cache[V any] struct {
	client *incusx.Client
	view   func(incusx.Container) V
	log    logrus.FieldLogger
	every  time.Duration // resyncEvery, but in tests
	looks  time.Duration // lookEvery, but in tests

	store   store[V]
	reads   reads
	cluster cluster

	mu      sync.Mutex // guards what follows
	state   state
	settled chan struct{} // closed while it is known whether the copy is good
	dirty   map[string]time.Time
	doubt   bool          // everything is to be read anew
	wake    chan struct{} // has a token when dirty or doubt were set
	// asked says that somebody waits for a try that began after they came, retry has
	// a token then, and failed says that the last try failed.
	asked, failed bool
	ended         bool // Run is over
	retry         chan struct{}
	// working says that a read that marks were made for is under way.
	working   bool
	confirmed time.Time
	stats     Stats
}

// state says what is known of the copy.
type state int

const (
	unknown state = iota
	live
	down
)

// Stats are counts since the start.
type Stats struct {
	// Events are those about containers, Resyncs the full reads.
	Events, Resyncs uint64
	// Lag is from the moment that Incus put on the last event to its being in the
	// copy.
	Lag time.Duration
}

// New returns an empty Cache, which Run fills.
func New[V any](client *incusx.Client, view func(incusx.Container) V, log logrus.FieldLogger) *Cache[V] {
	c := &Cache[V]{
		client: client, view: view, log: log, every: resyncEvery, looks: lookEvery,
		settled: make(chan struct{}), dirty: map[string]time.Time{}, wake: make(chan struct{}, 1), retry: make(chan struct{}, 1),
	}
	c.store.init()
	c.reads.pending = map[uint64]struct{}{}
	return c
}

// Ready waits until the copy is good, and returns incusx.ErrUnavailable where it
// can not be had: Incus does not answer, and was tried anew for this call.
func (c *Cache[V]) Ready(ctx context.Context) error {
	c.mu.Lock()
	if c.state == live {
		c.mu.Unlock()
		return nil
	}
	if c.state == down && !c.ended {
		c.state, c.settled = unknown, make(chan struct{})
		c.asked = true
		token(c.retry)
	}
	settled := c.settled
	c.mu.Unlock()
	timer := time.NewTimer(settleMost)
	defer timer.Stop()
	select {
	case <-settled:
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != live {
		return incusx.ErrUnavailable
	}
	return nil
}

// List returns all containers by username. The slice is shared: it is not to be
// changed. Errors are those of Ready.
func (c *Cache[V]) List(ctx context.Context) ([]*Entry[V], error) {
	if err := c.Ready(ctx); err != nil {
		return nil, err
	}
	return c.store.list(), nil
}

// Get returns a user's container: incusx.ErrNotFound where there is none, else
// the errors of Ready.
func (c *Cache[V]) Get(ctx context.Context, username string) (*Entry[V], error) {
	if err := c.Ready(ctx); err != nil {
		return nil, err
	}
	if entry := c.store.get(username); entry != nil {
		return entry, nil
	}
	return nil, incusx.ErrNotFound
}

// Known returns the containers as the copy has them, good or not, without a wait.
func (c *Cache[V]) Known() []*Entry[V] { return c.store.list() }

// Freshness reports whether the copy is good, and the last time at which it was
// known to be that of Incus: a zero time if it never was.
func (c *Cache[V]) Freshness() (isLive bool, confirmed time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state == live, c.confirmed
}

// Stats returns the counts.
func (c *Cache[V]) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

// Refresh reads one container anew: a read of the copy that begins after it
// returned shows whatever was done to the container before. Where Incus does not
// tell, the copy is good for nothing until all of it has been read anew.
func (c *Cache[V]) Refresh(ctx context.Context, username string) {
	if c.read(ctx, username) != nil {
		c.distrust()
	}
}

// distrust has everything read anew, and readers wait for that.
func (c *Cache[V]) distrust() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.doubt = true
	if c.state == live {
		c.state, c.settled = unknown, make(chan struct{})
	}
	token(c.wake)
}

// token makes sure that there is one in a channel that has room for one.
func token(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// settle says that the copy is good, or that it can not be had; also to those who
// follow the changes. The lock is held.
func (c *Cache[V]) settle(to state) {
	if c.state == to {
		return
	}
	if c.state == unknown {
		close(c.settled)
	}
	c.state = to
	c.store.wake()
}
