package cache

import (
	"cmp"
	"slices"
)

// Version names a state of the copy: whoever has followed the changes up to it
// goes on from there. The zero Version names none.
type Version struct {
	// Epoch tells the versions of one Cache from those of any other.
	Epoch  string
	Number uint64
}

// Delta is what became of the copy since a version.
type Delta[V any] struct {
	// All is what there is, by username. It is not to be changed.
	All []*Entry[V]
	// Reset says that the changes since then are not known any more.
	Reset bool
	// Changes are, else, one for each name that is another than it was, by username:
	// however many there were, Before is as of that version.
	Changes []Change[V]
	// Version is what the copy is after them.
	Version Version
}

// Since returns what changed since a version, and a channel that is closed when
// there is more. Nobody is waited for: who comes late finds the same changes in
// one, and who comes too late is told to begin anew.
func (c *Cache[V]) Since(from Version) (Delta[V], <-chan struct{}) {
	s := &c.store
	s.mu.RLock()
	delta := Delta[V]{All: s.sorted, Version: Version{s.epoch, s.version}}
	changed, log := s.changed, s.log
	missed := s.version - from.Number
	if from.Epoch != s.epoch || from.Number > s.version || missed > uint64(len(log)) {
		delta.Reset = true
	}
	s.mu.RUnlock()
	if !delta.Reset {
		delta.Changes = coalesce(log[len(log)-int(missed):]) //nolint:gosec // at most the length of the log
	}
	return delta, changed
}

// coalesce leaves one change for each name, and none where nothing came of them.
func coalesce[V any](log []Change[V]) []Change[V] {
	if len(log) < 2 {
		return log
	}
	changes := slices.Clone(log)
	slices.SortStableFunc(changes, func(a, b Change[V]) int { return cmp.Compare(a.Username, b.Username) })
	out := changes[:0]
	for _, change := range changes {
		if n := len(out); n > 0 && out[n-1].Username == change.Username {
			out[n-1].After = change.After
			continue
		}
		out = append(out, change)
	}
	return slices.DeleteFunc(out, func(c Change[V]) bool { return same(c.Before, c.After) })
}
