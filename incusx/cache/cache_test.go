package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lxc/incus/v6/shared/api"

	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/incusx/incustest"
)

const unavailable = "Incus is not reachable"

// What anybody does to containers is seen, and reads ask Incus nothing.
func TestFollowsWhatOthersDo(t *testing.T) {
	r := newRig(t)
	r.comes(t, "")
	r.make(t, "bob")
	r.make(t, "alice")
	r.comes(t, "alice bob")
	r.label(t, "bob", "blue")
	r.comes(t, "alice bob=blue")
	op, err := r.raw.UpdateInstanceState("bob-container", api.InstanceStatePut{Action: "start"}, "")
	if err == nil {
		err = op.Wait()
	}
	if err != nil {
		t.Fatal(err)
	}
	until(t, "bob to run", func() bool {
		entry, err := r.Get(t.Context(), "bob")
		return err == nil && entry.Container.State == incusx.StateRunning
	})
	r.remove(t, "alice")
	r.comes(t, "bob=blue")
	if _, err := r.Get(t.Context(), "alice"); !errors.Is(err, incusx.ErrNotFound) {
		t.Errorf("get alice: %v, want that there is none", err)
	}
	r.sim.Forget()
	for range 100 {
		r.shows(t)
	}
	if n := r.sim.Requests("", ""); n > 0 {
		t.Errorf("100 lists asked Incus %d times", n)
	}
	if stats := r.Stats(); stats.Events < 5 || stats.Resyncs != 1 || stats.Lag <= 0 || stats.Lag > time.Minute {
		t.Errorf("stats %+v", stats)
	}
}

// An instance that carries another's marker, which it was copied from, is nobody's.
func TestForeignInstancesAreInvisible(t *testing.T) {
	r := newRig(t)
	r.make(t, "alice")
	r.comes(t, "alice")
	for _, name := range []string{"bob-container", "copy-of-alice"} {
		op, err := r.raw.CreateInstance(api.InstancesPost{
			Name: name, Source: api.InstanceSource{Type: "image", Alias: incustest.DefaultImage},
			InstancePut: api.InstancePut{Config: map[string]string{"user.containarium.username": "alice"}},
		})
		if err == nil {
			err = op.Wait()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	r.sim.Tell("default", "nobody-container", "instance-updated")
	r.make(t, "carol")
	r.comes(t, "alice carol")
	r.sim.HangUp()
	r.make(t, "dave")
	r.comes(t, "alice carol dave")
}

// What was done before Refresh returned is in what is read after it, without any
// event.
func TestReadYourWrites(t *testing.T) {
	r := newRig(t)
	r.comes(t, "")
	r.sim.Silence(true)
	for i := range 20 {
		username := fmt.Sprintf("u%d", i)
		r.make(t, username)
		r.Refresh(t.Context(), username)
		if _, err := r.Get(t.Context(), username); err != nil {
			t.Fatalf("get %s: %v", username, err)
		}
		if i%2 == 0 {
			continue
		}
		r.remove(t, username)
		r.Refresh(t.Context(), username)
		if _, err := r.Get(t.Context(), username); !errors.Is(err, incusx.ErrNotFound) {
			t.Fatalf("get %s after its removal: %v", username, err)
		}
	}
}

// Where Incus does not tell what became of a write, reads wait until all has been
// read anew: they never show what was before it.
func TestFailedRefreshIsNotOldNews(t *testing.T) {
	r := newRig(t)
	r.make(t, "alice")
	r.comes(t, "alice")
	r.sim.Silence(true)
	for i := range 10 {
		label := fmt.Sprint(i)
		r.label(t, "alice", label)
		clear := r.sim.Fail(incustest.Fault{Method: "GET", Path: "/1.0/instances/alice-container", Drop: true})
		r.Refresh(t.Context(), "alice")
		if got := r.shows(t); got != "alice="+label {
			t.Fatalf("the list shows %q, want label %s", got, label)
		}
		clear()
	}
}

// While Incus is away nothing is answered, and what happened meanwhile is seen by
// the first read after it is back.
func TestAwayAndBack(t *testing.T) {
	r := newRig(t)
	r.make(t, "alice")
	r.comes(t, "alice")
	for range 3 {
		r.sim.Down()
		r.comes(t, unavailable)
		if isLive, confirmed := r.Freshness(); isLive || confirmed.IsZero() {
			t.Errorf("live %t, confirmed %s", isLive, confirmed)
		}
		if _, err := r.Get(t.Context(), "alice"); !errors.Is(err, incusx.ErrUnavailable) {
			t.Errorf("get: %v", err)
		}
		if err := r.sim.Up(); err != nil {
			t.Fatal(err)
		}
		if got := r.shows(t); got != "alice" {
			t.Fatalf("the first list shows %q", got)
		}
	}
}

// A Cache that is started before Incus, and one that is not started, answer that
// it is not there.
func TestNeverSynced(t *testing.T) {
	r := idleRig(t)
	r.sim.Down()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.List(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("list of a caller who went away: %v", err)
	}
	if isLive, confirmed := r.Freshness(); isLive || !confirmed.IsZero() {
		t.Errorf("live %t, confirmed %s", isLive, confirmed)
	}
	r.run(t)
	r.comes(t, unavailable)
	if err := r.sim.Up(); err != nil {
		t.Fatal(err)
	}
	r.make(t, "alice")
	r.comes(t, "alice")
}

// A stream that breaks while Incus is well is opened anew: reads wait for that and
// do not fail, and what happened in between is not missed.
func TestStreamBreaks(t *testing.T) {
	r := newRig(t)
	want := ""
	for i := range 10 {
		username := fmt.Sprintf("u%d", i)
		r.sim.HangUp()
		r.sim.Silence(true)
		r.make(t, username)
		r.sim.Silence(false)
		if want != "" {
			want += " "
		}
		want += username
		r.sim.HangUp()
		until(t, "the new stream to show "+want, func() bool {
			got := r.shows(t)
			if got == unavailable {
				t.Fatal("a read failed")
			}
			return got == want
		})
	}
}

// An event that got lost is made up for in time, and one that tells nothing new
// changes nothing.
func TestLostEvents(t *testing.T) {
	r := newRig(t, func(c *testCache) { c.ResyncEvery(20 * time.Millisecond) })
	r.comes(t, "")
	r.sim.Silence(true)
	r.make(t, "alice")
	r.comes(t, "alice")
	r.remove(t, "alice")
	r.comes(t, "")
	delta, _ := r.Since(r.version())
	until(t, "more reads", func() bool { return r.Stats().Resyncs > 10 })
	if after, _ := r.Since(delta.Version); len(after.Changes) > 0 || after.Version != delta.Version {
		t.Errorf("reads that found nothing new made changes: %+v", after)
	}
}

// Many events at once cost one read of all.
func TestStormCostsOneList(t *testing.T) {
	r := newRig(t)
	const n = 500
	r.populate(t, n)
	r.sim.HangUp()
	r.has(t, n)
	r.sim.Forget()
	before := r.Stats().Events
	for _, username := range usernames(n) {
		r.sim.Tell("default", incusx.InstanceName(username), "instance-updated")
	}
	until(t, "the events", func() bool { return r.Stats().Events == before+n })
	r.make(t, "zoe") // seen after all of them
	until(t, "zoe", func() bool { _, err := r.Get(t.Context(), "zoe"); return err == nil })
	// They may come in a few bunches.
	if lists, single := r.sim.Requests("GET", "/1.0/instances"), r.sim.Requests("GET", "/1.0/instances/*"); lists == 0 || lists+single > n/4 {
		t.Errorf("%d events cost %d lists and %d reads", n, lists, single)
	}
}

// Whatever happens, in the end the copy is what Incus has.
func TestConverges(t *testing.T) {
	r := newRig(t)
	names := usernames(12)
	var group sync.WaitGroup
	for worker := range 3 {
		random := rand.New(rand.NewPCG(1, uint64(worker)))
		r := *r
		r.raw = connect(t, r.sim) // the official client is for one goroutine
		group.Go(func() {
			mine := map[string]bool{}
			for step := range 60 {
				username := names[worker*4+random.IntN(4)]
				switch {
				case !mine[username]:
					r.make(t, username)
					mine[username] = true
				case random.IntN(3) == 0:
					r.remove(t, username)
					delete(mine, username)
				default:
					r.label(t, username, fmt.Sprint(step))
				}
				r.Refresh(t.Context(), username)
				if _, err := r.Get(t.Context(), username); (err == nil) != mine[username] {
					t.Errorf("get %s: %v, there: %t", username, err, mine[username])
				}
			}
		})
	}
	group.Go(func() {
		for range 20 {
			r.sim.HangUp()
			r.shows(t)
			r.sim.Tell("default", incusx.InstanceName(names[0]), "instance-updated")
			r.shows(t)
		}
	})
	group.Wait()
	want, err := r.client.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the copy to be what Incus has", func() bool {
		entries, err := r.List(t.Context())
		if err != nil || len(entries) != len(want) {
			return false
		}
		for i, entry := range entries {
			if !cmp.Equal(entry.Container, want[i]) || entry.View.label != want[i].Labels["l"] {
				return false
			}
		}
		return true
	})
}
