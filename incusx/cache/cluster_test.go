package cache_test

import (
	"testing"
	"time"

	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/incusx/incustest"
)

// clusterRig is on a cluster of m1, m2 and m3, with looks as often as given.
func clusterRig(t *testing.T, every time.Duration) *rig {
	t.Helper()
	r := rigOn(t, incustest.Start(t, incustest.Options{Members: []string{"m1", "m2", "m3"}}))
	r.LookEvery(every)
	r.run(t)
	return r
}

// states is each container as "alice:stopped@m1".
func (r *rig) states(t testing.TB) string {
	t.Helper()
	entries, err := r.List(t.Context())
	if err != nil {
		return err.Error()
	}
	text := ""
	for _, entry := range entries {
		c := &entry.Container
		text += " " + c.Username + "=" + c.Labels["l"] + ":" + string(c.State) + "@" + c.Location
	}
	return text
}

// A member that is lost is noticed without an event, and so that it is back; what was
// known of its containers stays.
func TestLostMemberIsNoticed(t *testing.T) {
	r := clusterRig(t, 5*time.Millisecond)
	r.make(t, "alice") // by Incus' scheduler
	r.make(t, "bob")
	r.label(t, "bob", "blue")
	const well = " alice=:stopped@m1 bob=blue:stopped@m2"
	until(t, "both", func() bool { return r.states(t) == well })
	delta, _ := r.Since(r.version())
	r.sim.Lose("m2", true)
	until(t, "bob to be out of reach", func() bool { return r.states(t) == " alice=:stopped@m1 bob=blue:unreachable@m2" })
	if changed, _ := r.Since(delta.Version); text(changed) != "bob=blue>blue" {
		t.Errorf("changes %s", text(changed))
	}
	r.sim.Find("m2")
	until(t, "bob to be back", func() bool { return r.states(t) == well })
	// What happens in the first seconds after that is seen although its event is lost.
	r.sim.Silence(true)
	silent := time.Now()
	r.label(t, "bob", "red")
	until(t, "bob's label", func() bool { return r.states(t) == " alice=:stopped@m1 bob=red:stopped@m2" })
	if d := time.Since(silent); d > 15*time.Second { // a stream that is silent for 20 counts as broken
		t.Errorf("it was seen after %s, by the end of the stream", d)
	}
}

// Before Incus has noticed, a container whose own read fails is out of reach, and no
// reader waits for it.
func TestReadOfALostMember(t *testing.T) {
	r := clusterRig(t, time.Hour)
	r.make(t, "alice")
	r.make(t, "bob")
	until(t, "both", func() bool { return r.states(t) == " alice=:stopped@m1 bob=:stopped@m2" })
	r.sim.Lose("m2", false)
	r.Refresh(t.Context(), "bob")
	if got := r.states(t); got != " alice=:stopped@m1 bob=:unreachable@m2" {
		t.Errorf("the list shows %s", got)
	}
	resyncs := r.Stats().Resyncs
	r.Refresh(t.Context(), "bob")
	if isLive, _ := r.Freshness(); !isLive || r.Stats().Resyncs != resyncs {
		t.Errorf("live %t, %d reads of all", isLive, r.Stats().Resyncs-resyncs)
	}
	r.sim.Find("m2")
	r.Refresh(t.Context(), "bob")
	if got := r.states(t); got != " alice=:stopped@m1 bob=:stopped@m2" {
		t.Errorf("the list shows %s", got)
	}
}

// A daemon that starts while a member is lost knows its containers by name.
func TestStartWithALostMember(t *testing.T) {
	r := rigOn(t, incustest.Start(t, incustest.Options{Members: []string{"m1", "m2"}}))
	r.LookEvery(5 * time.Millisecond)
	r.make(t, "alice")
	r.make(t, "bob")
	r.label(t, "bob", "blue")
	r.sim.Lose("m2", true)
	r.run(t)
	until(t, "both", func() bool { return r.states(t) == " alice=:stopped@m1 bob=:unreachable@m2" })
	entry, err := r.Get(t.Context(), "bob")
	if err != nil || entry.Container.State != incusx.StateUnreachable {
		t.Errorf("bob is %+v, %v", entry, err)
	}
	r.sim.Find("m2")
	until(t, "bob", func() bool { return r.states(t) == " alice=:stopped@m1 bob=blue:stopped@m2" })
}

// Without a cluster nobody looks for its members; in one that is well, looks are all
// that it costs.
func TestLooksCostLittle(t *testing.T) {
	single := newRig(t, func(c *testCache) { c.LookEvery(time.Millisecond) })
	cluster := clusterRig(t, time.Millisecond)
	for _, r := range []*rig{single, cluster} {
		r.make(t, "alice")
		r.has(t, 1)
		r.sim.Forget()
	}
	until(t, "looks", func() bool { return cluster.sim.Requests("GET", "/1.0/cluster/members") > 5 })
	if n := cluster.sim.Requests("GET", "/1.0/instances"); n > 0 {
		t.Errorf("a cluster that is well was read anew %d times", n)
	}
	if n := single.sim.Requests("", ""); n > 1 { // the read of alice
		t.Errorf("an Incus that is no cluster was asked %d times", n)
	}
}
