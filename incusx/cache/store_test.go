package cache

import (
	"testing"

	"github.com/footprintai/containarium/incusx"
)

// A read that began earlier never replaces what a later one found, whichever ends
// first.
func TestOlderReadsLose(t *testing.T) {
	var s store[int]
	s.init()
	of := func(username, label string) *Entry[int] {
		return &Entry[int]{Container: incusx.Container{Username: username, Labels: map[string]string{"l": label}}}
	}
	is := func(username, want string) {
		t.Helper()
		got := "none"
		if entry := s.get(username); entry != nil {
			got = entry.Container.Labels["l"]
		}
		if got != want {
			t.Errorf("%s is %q, want %q", username, got, want)
		}
	}
	s.put(5, "alice", of("alice", "new"))
	s.put(4, "alice", of("alice", "old"))
	is("alice", "new")
	s.put(4, "alice", nil)
	is("alice", "new")
	s.putAll(4, map[string]*Entry[int]{})
	is("alice", "new")
	s.putAll(3, map[string]*Entry[int]{"alice": of("alice", "old"), "bob": of("bob", "first")})
	is("alice", "new")
	is("bob", "first")
	s.put(6, "alice", nil)
	s.putAll(5, map[string]*Entry[int]{"alice": of("alice", "risen")})
	is("alice", "none")
	is("bob", "none")

	// What is gone is remembered only as long as a read could bring it back.
	s.forget(6)
	s.put(5, "alice", of("alice", "risen"))
	is("alice", "none")
	s.forget(7)
	if len(s.read) != 0 {
		t.Errorf("%d names are remembered", len(s.read))
	}
	var r reads
	r.pending = map[uint64]struct{}{}
	first, second := r.begin(), r.begin()
	if oldest := r.end(second); oldest != first {
		t.Errorf("the oldest read is %d, want %d", oldest, first)
	}
	if oldest := r.end(first); oldest != second+1 {
		t.Errorf("the oldest read is %d, want that there is none", oldest)
	}
}
