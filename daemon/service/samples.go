package service

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/footprintai/containarium/incusx"
)

const (
	// A rate is over at least rateLeast, below which it says little, and at most
	// rateMost, above which it is not what goes on now.
	rateLeast = time.Second
	rateMost  = 2 * time.Minute
	// The use of a disk is looked at anew after diskFresh, and not told any more
	// after diskMost.
	diskFresh = time.Minute
	diskMost  = 10 * time.Minute
)

// samples are what the daemon saw of containers before, by user name.
type samples struct {
	mu    sync.Mutex
	known map[string]*sample
	host  pair[incusx.HostUsage]
}

type sample struct {
	created time.Time // tells one container of a name from another
	run     string    // tells one run of it from another
	usage   pair[incusx.Usage]
	disk    *uint64
	diskAt  time.Time
}

// pair is the last look, and the one before that, which rates are taken from.
type pair[T any] struct {
	last, before     T
	lastAt, beforeAt time.Time
}

// add takes a look at an instant, unless the last one is too near, and returns the
// one to take a rate from and the seconds since then: 0 for none.
func (p *pair[T]) add(at time.Time, look T) (T, float64) {
	if at.Sub(p.lastAt) >= rateLeast {
		p.before, p.beforeAt = p.last, p.lastAt
		p.last, p.lastAt = look, at
	}
	if since := at.Sub(p.beforeAt); !p.beforeAt.IsZero() && since >= rateLeast && since <= rateMost {
		return p.before, since.Seconds()
	}
	return p.before, 0
}

// rates are per second; nil where none can be told.
type rates struct{ cores, received, sent, read, written *float64 }

// add takes a container's usage and returns its rates.
func (s *samples) add(now incusx.Usage) rates {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.of(now.Container)
	if run := now.Container.HostInterface; run != known.run || now.Container.State == incusx.StateStopped {
		known.run, known.usage = run, pair[incusx.Usage]{}
	}
	then, seconds := known.usage.add(now.At, now)
	return rates{
		cores:    rate(then.CPUNanoseconds, now.CPUNanoseconds, seconds*1e9),
		received: rate(then.ReceivedBytes, now.ReceivedBytes, seconds),
		sent:     rate(then.SentBytes, now.SentBytes, seconds),
		read:     rate(then.ReadBytes, now.ReadBytes, seconds),
		written:  rate(then.WrittenBytes, now.WrittenBytes, seconds),
	}
}

// addHost takes the host's usage and returns how many cores are in use.
func (s *samples) addHost(now incusx.HostUsage) *float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	then, seconds := s.host.add(now.At, now)
	return rate(then.CPUNanoseconds, now.CPUNanoseconds, seconds*1e9)
}

// rate is nil where a counter is unknown or began anew.
func rate(then, now *uint64, span float64) *float64 {
	if then == nil || now == nil || *now < *then || span <= 0 {
		return nil
	}
	rate := float64(*now-*then) / span
	return &rate
}

// sawDisk remembers what a container's disk holds: nil where Incus can not tell.
func (s *samples) sawDisk(usage incusx.Usage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.of(usage.Container)
	known.disk, known.diskAt = usage.DiskBytes, usage.At
}

// addDisk has usage say what is remembered of the disk, where it says nothing.
func (s *samples) addDisk(usage *incusx.Usage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.of(usage.Container); usage.DiskBytes == nil && usage.At.Sub(known.diskAt) <= diskMost {
		usage.DiskBytes = known.disk
	}
}

// oldDisks are the indices of the containers whose disk is to be looked at, the
// one that was not for longest first.
func (s *samples) oldDisks(usages []incusx.Usage) []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var old []int
	for i := range usages {
		if known := s.of(usages[i].Container); usages[i].DiskBytes == nil && usages[i].At.Sub(known.diskAt) > diskFresh && usages[i].Container.State != incusx.StateUnreachable {
			old = append(old, i)
		}
	}
	slices.SortStableFunc(old, func(a, b int) int {
		return s.of(usages[a].Container).diskAt.Compare(s.of(usages[b].Container).diskAt)
	})
	return old
}

func (s *samples) of(container incusx.Container) *sample {
	known := s.known[container.Username]
	if known == nil || !known.created.Equal(container.CreatedAt) {
		known = &sample{created: container.CreatedAt}
		if s.known == nil {
			s.known = map[string]*sample{}
		}
		s.known[container.Username] = known
	}
	return known
}

// keep forgets what there is no container of any more.
func (s *samples) keep(containers []incusx.Container) {
	have := map[string]bool{}
	for i := range containers {
		have[containers[i].Username] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.known, func(username string, _ *sample) bool { return !have[username] })
}
