package cache

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/footprintai/containarium/incusx"
)

const (
	// pace is the least time between two rounds of reads: a storm of events is
	// answered by few of them, a lone one at once.
	pace = 50 * time.Millisecond
	// few is up to how many containers are read one by one, at 3 ms of Incus' time
	// each; more cost less in one read of all, at 4 ms and 0.17 ms each.
	few = 30
	// hands is how many of them are read at once.
	hands = 4
	// readMost bounds one read: of 10,000 containers it takes 2 seconds, and a busy
	// machine takes longer.
	readMost = time.Minute
	// retryMost is the most between two tries to reach an Incus that is away, which
	// cost nothing.
	retryMost = 250 * time.Millisecond
)

// Run keeps the copy up to date until ctx ends. It is called once.
func (c *Cache[V]) Run(ctx context.Context) {
	defer c.end()
	pause := time.Duration(0)
	for {
		c.mu.Lock()
		c.asked = false
		c.mu.Unlock()
		synced, broke, err := c.follow(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case synced:
			pause = 0 // the stream may break while Incus is well
		default:
			pause = min(max(2*pause, 10*time.Millisecond), retryMost)
		}
		if broke { // the next try tells whether Incus is there
			c.log.WithError(err).Debug("reading all containers anew: something may have been missed")
		} else {
			c.giveUp(err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-c.retry:
			timer.Stop()
		}
	}
}

// giveUp says that the copy can not be had, unless somebody came since the try
// that failed began: for them there is another.
func (c *Cache[V]) giveUp(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.failed && !errors.Is(err, incusx.ErrUnavailable) { // others look whether Incus is there
		c.log.WithError(err).Warn("the containers can not be read; calls get Unavailable until they can")
	}
	c.failed = true
	if !c.asked {
		c.settle(down)
	}
}

func (c *Cache[V]) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.settle(down)
}

// follow opens the event stream, reads everything, and then what the events are
// about, until the stream breaks or Incus can not be read. It reports whether the
// copy was good in between, and which of the two it was.
func (c *Cache[V]) follow(ctx context.Context) (synced, broke bool, err error) {
	defer c.broke()
	ctx, cancel := context.WithCancel(ctx)
	events, err := c.client.Events(ctx) // first, so that nothing is missed
	if err != nil {
		cancel()
		return false, false, err
	}
	var following sync.WaitGroup
	broken := make(chan error, 1)
	following.Go(func() {
		err := events.Follow(c.heard)
		cancel() // first, so that what is being read does not make the copy good again
		c.broke()
		broken <- err
	})
	defer following.Wait()
	defer events.Close()
	defer cancel()

	resync := time.NewTicker(c.every)
	defer resync.Stop()
	look := time.NewTicker(c.looks)
	defer look.Stop()
	c.look(ctx) // whether it is a cluster
	c.doubtAll()
	for {
		if err := c.round(ctx); err != nil {
			if ctx.Err() != nil {
				return synced, true, <-broken
			}
			return synced, false, err
		}
		synced = true
		rest := time.NewTimer(pace)
		select {
		case <-rest.C:
		case <-ctx.Done():
		}
		rest.Stop()
		select {
		case <-c.wake:
		case <-resync.C:
			c.look(ctx) // it may have become a cluster
			c.doubtAll()
		case <-look.C:
			if c.cluster.is && c.look(ctx) {
				c.doubtAll()
			}
		case <-ctx.Done():
			return synced, true, <-broken
		}
	}
}

// doubtAll has the next round read everything anew; readers do not wait for it.
func (c *Cache[V]) doubtAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.doubt = true
}

// heard is told each event.
func (c *Cache[V]) heard(event incusx.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if event.Username == "" {
		// A sign of life, which was asked for before: all that had happened by then has
		// been told, and is in the copy if nothing waits to be read.
		if c.state == live && !c.working && !c.doubt && len(c.dirty) == 0 {
			c.confirmed = event.At
		}
		return
	}
	c.stats.Events++
	c.dirty[event.Username] = event.At // at most one for each name
	token(c.wake)
}

// broke says that events may be missing from here on.
func (c *Cache[V]) broke() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == live {
		c.state, c.settled = unknown, make(chan struct{})
	}
}

// round reads what was marked since the last one.
func (c *Cache[V]) round(ctx context.Context) error {
	c.mu.Lock()
	dirty, all, begun := c.dirty, c.doubt, time.Now()
	c.dirty, c.doubt = map[string]time.Time{}, false
	c.working = true
	c.mu.Unlock()
	var err error
	if all || len(dirty) > few {
		err = c.readAll(ctx)
		all = true
	} else {
		err = c.readEach(ctx, dirty)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.working = false
	if err != nil {
		c.doubt = true
		return err
	}
	lag := time.Duration(0)
	for _, at := range dirty {
		lag = max(lag, time.Since(at))
	}
	if len(dirty) > 0 {
		c.stats.Lag = lag
	}
	if all && !c.doubt && ctx.Err() == nil { // no doubt since it began
		c.confirmed = begun
		c.stats.Resyncs++
		c.failed = false
		c.settle(live)
	}
	return nil
}

// readEach reads some containers.
func (c *Cache[V]) readEach(ctx context.Context, dirty map[string]time.Time) error {
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		errs  []error
	)
	turns := make(chan struct{}, hands)
	for username := range dirty {
		turns <- struct{}{}
		group.Go(func() {
			defer func() { <-turns }()
			if err := c.read(ctx, username); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// read reads one container.
func (c *Cache[V]) read(ctx context.Context, username string) error {
	ctx, cancel := context.WithTimeout(ctx, readMost)
	defer cancel()
	number := c.reads.begin()
	container, err := c.client.Get(ctx, username)
	defer func() { c.store.forget(c.reads.end(number)) }()
	switch {
	case err == nil:
		c.store.put(number, username, c.entry(container))
	case errors.Is(err, incusx.ErrNotFound):
		c.store.put(number, username, nil)
	case errors.Is(err, incusx.ErrMemberDown):
		c.unreachable(number, username)
	default:
		return err
	}
	return nil
}

// readAll reads all containers.
func (c *Cache[V]) readAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readMost)
	defer cancel()
	number := c.reads.begin()
	containers, err := c.client.List(ctx)
	defer func() { c.store.forget(c.reads.end(number)) }()
	if err != nil {
		return err
	}
	found := make(map[string]*Entry[V], len(containers))
	for i := range containers {
		containers[i] = c.known(containers[i])
		// What did not change is not converted anew.
		if old := c.store.get(containers[i].Username); same(old, &Entry[V]{Container: containers[i]}) {
			found[containers[i].Username] = old
			continue
		}
		found[containers[i].Username] = c.entry(containers[i])
	}
	c.store.putAll(number, found)
	return nil
}
