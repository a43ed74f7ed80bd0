package cache

import (
	"crypto/rand"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/footprintai/containarium/incusx"
)

// logMost is how many changes are kept at least for those who follow them: whoever
// is further behind begins anew. A change of a profile makes one for each
// container.
const logMost = 2048

// store holds the entries, the order of the reads that they come from, and the
// last changes.
type store[V any] struct {
	// epoch tells the versions of this store from those of any other.
	epoch string
	most  int // logMost, but in tests

	mu      sync.RWMutex // guards what follows
	entries map[string]*Entry[V]
	sorted  []*Entry[V] // by username; never changed, only replaced
	// read is the number of the read that decided on a name, also on one that is
	// gone.
	read map[string]uint64
	// log are the last changes, each with a version one above that before it. Its
	// elements never change.
	log     []Change[V]
	version uint64        // of the last change
	changed chan struct{} // closed at the next change
}

// Change is what became of a container: nil where it was or is not there.
type Change[V any] struct {
	Username string
	Before   *Entry[V]
	After    *Entry[V]
	version  uint64
}

func (s *store[V]) init() {
	s.epoch, s.most = rand.Text(), logMost
	s.entries, s.read, s.changed = map[string]*Entry[V]{}, map[string]uint64{}, make(chan struct{})
}

func (s *store[V]) list() []*Entry[V] {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.sorted
}

func (s *store[V]) get(username string) *Entry[V] {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.entries[username]
}

// any reports whether fits holds of a container.
func (s *store[V]) any(fits func(*incusx.Container) bool) bool {
	return slices.ContainsFunc(s.list(), func(e *Entry[V]) bool { return fits(&e.Container) })
}

// put takes what a read found of one name, nil for nothing, unless a read that
// began later has decided on the name.
func (s *store[V]) put(number uint64, username string, entry *Entry[V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.decide(number, username, entry) {
		s.resort(username, entry)
		s.tell()
	}
}

// putAll takes what a read found of all names.
func (s *store[V]) putAll(number uint64, found map[string]*Entry[V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changes := 0
	for username, entry := range found {
		if s.decide(number, username, entry) {
			changes++
		}
	}
	for username := range s.entries {
		if found[username] == nil && s.decide(number, username, nil) {
			changes++
		}
	}
	if changes == 0 {
		return
	}
	sorted := make([]*Entry[V], 0, len(s.entries))
	for _, entry := range s.entries {
		sorted = append(sorted, entry)
	}
	slices.SortFunc(sorted, func(a, b *Entry[V]) int { return strings.Compare(a.Container.Username, b.Container.Username) })
	s.sorted = sorted
	s.tell()
}

// decide reports whether a name changed. The lock is held.
func (s *store[V]) decide(number uint64, username string, entry *Entry[V]) bool {
	if number < s.read[username] {
		return false
	}
	s.read[username] = number
	before := s.entries[username]
	if same(before, entry) {
		return false
	}
	if entry == nil {
		delete(s.entries, username)
	} else {
		s.entries[username] = entry
	}
	s.version++
	if len(s.log) >= 2*s.most { // cut seldom, and never in place
		s.log = slices.Clone(s.log[len(s.log)-s.most:])
	}
	s.log = append(s.log, Change[V]{username, before, entry, s.version})
	return true
}

func same[V any](a, b *Entry[V]) bool {
	if a == nil || b == nil {
		return a == b
	}
	return reflect.DeepEqual(a.Container, b.Container)
}

// resort puts an entry into its place, or takes it away. The lock is held.
func (s *store[V]) resort(username string, entry *Entry[V]) {
	at, there := slices.BinarySearchFunc(s.sorted, username, func(e *Entry[V], username string) int {
		return strings.Compare(e.Container.Username, username)
	})
	end := at
	if there {
		end++
	}
	sorted := make([]*Entry[V], 0, len(s.sorted)+1)
	sorted = append(sorted, s.sorted[:at]...)
	if entry != nil {
		sorted = append(sorted, entry)
	}
	s.sorted = append(sorted, s.sorted[end:]...)
}

// tell wakes those who wait for a change. The lock is held.
func (s *store[V]) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// wake wakes those who wait for a change although there is none.
func (s *store[V]) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tell()
}

// forget drops what is remembered of names that are gone and that no read from
// before number can bring back.
func (s *store[V]) forget(number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.read) == len(s.entries) {
		return
	}
	for username, decided := range s.read {
		if decided < number && s.entries[username] == nil {
			delete(s.read, username)
		}
	}
}

// reads numbers the reads of Incus in the order in which they begin: what a later
// one found is never replaced by what an earlier one did.
type reads struct {
	mu      sync.Mutex
	last    uint64
	pending map[uint64]struct{}
}

func (r *reads) begin() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	r.pending[r.last] = struct{}{}
	return r.last
}

// end returns the number below which no read is under way.
func (r *reads) end(number uint64) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pending, number)
	oldest := r.last + 1
	for n := range r.pending {
		oldest = min(oldest, n)
	}
	return oldest
}

// entry makes one of a container.
func (c *Cache[V]) entry(container incusx.Container) *Entry[V] {
	return &Entry[V]{container, c.view(container)}
}
