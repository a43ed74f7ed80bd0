package service

import (
	"context"
	"sync"
)

// locks are one lock for each user: what is done to one container is done one
// after the other, and different users do not wait for each other.
type locks struct {
	mu   sync.Mutex
	held map[string]*lock
}

type lock struct {
	token    chan struct{}
	waiting  int
	creating bool
}

// acquire waits for the user's lock, at most until ctx ends.
func (l *locks) acquire(ctx context.Context, username string) (release func(), err error) {
	entry := l.join(username)
	select {
	case entry.token <- struct{}{}:
		return func() { <-entry.token; l.leave(username, entry) }, nil
	case <-ctx.Done():
		l.leave(username, entry)
		return nil, ctx.Err()
	}
}

// tryAcquire takes the user's lock if nobody has it.
func (l *locks) tryAcquire(username string) (release func(), ok bool) {
	entry := l.join(username)
	select {
	case entry.token <- struct{}{}:
		return func() { <-entry.token; l.leave(username, entry) }, true
	default:
		l.leave(username, entry)
		return nil, false
	}
}

// acquireCreate is acquire for a create: errBusy at once where another create of
// the user holds the lock or waits for it, so that of two exactly one wins and
// nobody waits to lose.
func (l *locks) acquireCreate(ctx context.Context, username string) (release func(), err error) {
	l.mu.Lock()
	if entry := l.held[username]; entry != nil && entry.creating {
		l.mu.Unlock()
		return nil, errBusy
	}
	entry := l.joinLocked(username)
	entry.creating = true
	l.mu.Unlock()
	done := func() {
		l.mu.Lock()
		entry.creating = false
		l.mu.Unlock()
	}
	unlock, err := l.acquire(ctx, username)
	if err != nil {
		done()
		l.leave(username, entry)
		return nil, err
	}
	return func() { done(); unlock(); l.leave(username, entry) }, nil
}

func (l *locks) join(username string) *lock {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.joinLocked(username)
}

func (l *locks) joinLocked(username string) *lock {
	entry := l.held[username]
	if entry == nil {
		entry = &lock{token: make(chan struct{}, 1)}
		l.held[username] = entry
	}
	entry.waiting++
	return entry
}

func (l *locks) leave(username string, entry *lock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if entry.waiting--; entry.waiting == 0 {
		delete(l.held, username)
	}
}
