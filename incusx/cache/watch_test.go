package cache_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/footprintai/containarium/incusx/cache"
)

// version is that of now.
func (r *rig) version() cache.Version {
	delta, _ := r.Since(cache.Version{})
	return delta.Version
}

// text is a delta as "+alice bob=blue -carol", a reset as "reset alice bob".
func text(delta cache.Delta[copied]) string {
	words := []string{}
	if delta.Reset {
		words = append(words, "reset")
		for _, entry := range delta.All {
			words = append(words, entry.View.username)
		}
	}
	for _, change := range delta.Changes {
		switch {
		case change.Before == nil:
			words = append(words, "+"+change.Username)
		case change.After == nil:
			words = append(words, "-"+change.Username)
		default:
			words = append(words, change.Username+"="+change.Before.View.label+">"+change.After.View.label)
		}
	}
	return strings.Join(words, " ")
}

func TestSince(t *testing.T) {
	r := newRig(t)
	r.comes(t, "")
	start := r.version()
	step := func(f func(testing.TB, string), username string) {
		t.Helper()
		f(t, username)
		r.Refresh(t.Context(), username)
	}
	is := func(from cache.Version, want string) {
		t.Helper()
		delta, _ := r.Since(from)
		if got := text(delta); got != want {
			t.Errorf("since %d: %q, want %q", from.Number, got, want)
		}
	}
	_, changed := r.Since(start)
	step(r.make, "bob")
	<-changed
	step(r.make, "alice")
	is(start, "+alice +bob")
	middle := r.version()
	is(middle, "")
	label := func(value string) func(testing.TB, string) {
		return func(t testing.TB, username string) { r.label(t, username, value) }
	}
	step(label("blue"), "bob")
	step(label("red"), "bob")
	step(r.make, "carol")
	step(r.remove, "carol")
	is(middle, "bob=>red")
	is(start, "+alice +bob")
	step(r.remove, "bob")
	is(middle, "-bob")
	is(start, "+alice")
	step(r.make, "bob") // another of the name
	is(middle, "bob=>")

	is(cache.Version{}, "reset alice bob")
	is(cache.Version{Epoch: "another", Number: start.Number}, "reset alice bob")
	is(cache.Version{Epoch: start.Epoch, Number: r.version().Number + 1}, "reset alice bob")
}

// Who is too far behind begins anew, and what is kept for the others is bounded.
func TestSinceTooLongAgo(t *testing.T) {
	const most = 50
	r := newRig(t, func(c *testCache) { c.KeepLog(most) })
	r.populate(t, 2*most+10)
	r.sim.HangUp()
	r.has(t, 2*most+10)
	now := r.version()
	for n, reset := range map[uint64]bool{0: false, most: false, 2*most + 1: true, now.Number: true} {
		delta, _ := r.Since(cache.Version{Epoch: now.Epoch, Number: now.Number - n})
		if delta.Reset != reset || (!reset && uint64(len(delta.Changes)) != n) {
			t.Errorf("%d behind: reset %t, %d changes", n, delta.Reset, len(delta.Changes))
		}
	}
}

// Whoever follows the changes has what a list has, at every moment at which it has
// caught up.
func TestFollowersHaveWhatAListHas(t *testing.T) {
	r := newRig(t)
	have, at := map[string]string{}, cache.Version{}
	catchUp := func() {
		delta, _ := r.Since(at)
		if delta.Reset {
			clear(have)
			for _, entry := range delta.All {
				have[entry.View.username] = entry.View.label
			}
		}
		for _, change := range delta.Changes {
			if _, had := have[change.Username]; had != (change.Before != nil) {
				t.Errorf("%s was there: %t, and the change says %t", change.Username, had, change.Before != nil)
			}
			delete(have, change.Username)
			if change.After != nil {
				have[change.Username] = change.After.View.label
			}
		}
		at = delta.Version
	}
	names := usernames(5)
	for step := range 60 {
		username := names[step*7%5]
		if _, err := r.Get(t.Context(), username); err != nil {
			r.make(t, username)
		} else if step%3 == 0 {
			r.remove(t, username)
		} else {
			r.label(t, username, fmt.Sprint(step))
		}
		r.Refresh(t.Context(), username)
		if step%4 != 0 {
			continue // a slow one
		}
		catchUp()
		entries, _ := r.List(t.Context())
		if len(entries) != len(have) {
			t.Fatalf("has %v, and the list has %d", have, len(entries))
		}
		for _, entry := range entries {
			if label, ok := have[entry.View.username]; !ok || label != entry.View.label {
				t.Errorf("%s has %q, %t, want %q", entry.View.username, label, ok, entry.View.label)
			}
		}
	}
}
