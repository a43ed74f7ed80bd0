package limit

import (
	"sync"
	"time"
)

// Bucket is a token bucket for each key: a key may do burst things at once, and
// then perSecond each second. It is safe for concurrent use, and allocates
// nothing for a key that it watches.
//
// Its memory is bounded. A bucket that is full again is forgotten, which changes
// nothing. Where more than max keys are watched at once, those beyond share one
// bucket: that fails closed, since nobody gets more than their rate by it.
type Bucket[K comparable] struct {
	interval time.Duration // between two tokens
	burst    time.Duration // the time in which an empty bucket fills
	max      int
	now      func() time.Time
	start    time.Time

	// One lock for all: it is held for some 50 ns, once for each call.
	mu       sync.Mutex
	buckets  map[K]*bucket[K]
	recent   bucket[K] // the ring of all buckets: next is the latest used, prev the longest unused
	overflow bucket[K]
}

type bucket[K comparable] struct {
	key        K
	full       time.Duration // when it is full again, since start
	prev, next *bucket[K]
}

// NewRate returns the rate limit of identities, by Common Name: rate calls per
// second and burst at once, which CheckRate has checked.
func NewRate(rate, burst int, now func() time.Time) *Bucket[string] {
	return newBucket[string](rate, burst, identities, now)
}

func newBucket[K comparable](perSecond, burst, most int, now func() time.Time) *Bucket[K] {
	interval := time.Second / time.Duration(perSecond)
	b := &Bucket[K]{
		interval: interval,
		burst:    time.Duration(burst) * interval,
		max:      most,
		now:      now,
		start:    now(),
		buckets:  map[K]*bucket[K]{},
	}
	b.recent.next, b.recent.prev = &b.recent, &b.recent
	return b
}

// Allow takes a token of the key's bucket. Where there is none, it takes none and
// says when there is one, so that asking again does not put it off.
func (b *Bucket[K]) Allow(key K) (ok bool, retryAfter time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now().Sub(b.start)
	k := b.bucket(key, now)
	// The bucket as one number: when it is full again. A clock that was set back
	// must not lock anybody out for longer than an empty bucket does.
	k.full = min(max(k.full, now), now+b.burst)
	if wait := k.full + b.interval - b.burst - now; wait > 0 {
		return false, wait
	}
	k.full += b.interval
	return true, 0
}

// watched is how many keys are watched.
func (b *Bucket[K]) watched() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.buckets)
}

// bucket finds or makes the bucket of a key, and makes it the latest.
func (b *Bucket[K]) bucket(key K, now time.Duration) *bucket[K] {
	// Two at a time, so that there are ever fewer of them.
	for range 2 {
		if last := b.recent.prev; last != &b.recent && last.key != key && last.full <= now {
			last.unlink()
			delete(b.buckets, last.key)
		}
	}
	k := b.buckets[key]
	switch {
	case k != nil:
		k.unlink()
	case len(b.buckets) >= b.max:
		return &b.overflow
	default:
		k = &bucket[K]{key: key, full: now}
		b.buckets[key] = k
	}
	k.prev, k.next = &b.recent, b.recent.next
	k.prev.next, k.next.prev = k, k
	return k
}

func (k *bucket[K]) unlink() { k.prev.next, k.next.prev = k.next, k.prev }
