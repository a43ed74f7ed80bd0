package incusx_test

import (
	"context"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/lxc/incus/v6/shared/api"
	"github.com/sirupsen/logrus"

	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/incusx/cache"
)

// heard collects what an event stream tells.
type heard struct {
	mu    sync.Mutex
	users map[string]int
	alive time.Time
}

func (h *heard) note(event incusx.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if event.Username == "" {
		h.alive = event.At
		return
	}
	h.users[event.Username]++
}

// since returns how often a user was named since the last call.
func (h *heard) since(username string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.users[username]
	delete(h.users, username)
	return n
}

// events are what a copy of the containers is kept by: every change of an instance
// is told after it was made, what changes nothing is not, and a stream on which
// nothing happens gives signs of life.
func (s *site) events(t *testing.T) {
	user := newUser()
	h := &heard{users: map[string]int{}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events, err := s.client.Events(ctx)
	must(t, "listen", err)
	ended := make(chan error, 1)
	go func() { ended <- events.Follow(h.note) }()
	told := func(what string) {
		t.Helper()
		until(t, "the event of "+what, func() bool { return h.since(user) > 0 })
	}
	begun := time.Now()

	s.create(t, incusx.Spec{Username: user})
	told("the create")
	must(t, "start", s.client.Start(bounded(t), user))
	told("the start")
	_, err = s.client.SetHostKey(bounded(t), user, "ssh-ed25519 AAAA")
	must(t, "update", err)
	told("the update")
	raw := s.connect(t, true)
	for _, action := range []string{"freeze", "unfreeze"} {
		must(t, action, s.wait(raw.UpdateInstanceState(incusx.InstanceName(user), api.InstanceStatePut{Action: action, Timeout: -1}, "")))
		told(action)
	}
	must(t, "stop", s.client.Stop(bounded(t), user, true, 0))
	told("the stop")
	instance, etag, err := raw.GetInstance(incusx.InstanceName(user))
	must(t, "get", err)
	put := instance.Writable()
	put.Config = maps.Clone(put.Config)
	put.Config["user.containarium.label.team"] = "blue"
	must(t, "update", s.wait(raw.UpdateInstance(instance.Name, put, etag)))
	told("an update by somebody else")
	until(t, "a sign of life", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return h.alive.After(begun) })
	must(t, "delete", s.client.Remove(bounded(t), user))
	told("the delete")

	cancel()
	if err := <-ended; err == nil {
		t.Error("no error of a stream that was closed")
	}
}

// copied: a copy that is kept by the events has what Incus has, and what was
// written is in it once it was refreshed.
func (s *site) copied(t *testing.T) {
	user := newUser()
	log := logrus.New()
	log.SetOutput(t.Output())
	c := cache.New(s.client, func(c incusx.Container) string { return c.Labels["team"] }, log)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { c.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	state := func() (incusx.State, string) {
		entry, err := c.Get(bounded(t), user)
		if err != nil {
			return "", err.Error()
		}
		return entry.Container.State, entry.View
	}
	shows := func(want incusx.State, view string) {
		t.Helper()
		until(t, string(want)+" "+view, func() bool { got, text := state(); return got == want && text == view })
	}
	shows("", incusx.ErrNotFound.Error())
	s.create(t, incusx.Spec{Username: user, Labels: map[string]string{"team": "red"}})
	shows(incusx.StateCreating, "red")
	must(t, "start", s.client.Start(bounded(t), user))
	address, err := s.client.WaitAddress(bounded(t), user, "")
	must(t, "wait for the address", err)
	_, err = s.client.Finish(bounded(t), user, incusx.Result{Address: address})
	must(t, "finish", err)
	c.Refresh(bounded(t), user)
	if got, _ := state(); got != incusx.StateRunning {
		t.Errorf("after the refresh the state is %q", got)
	}
	var slowest time.Duration
	for _, team := range []string{"blue", "green", "blue", "red"} {
		_, _, err := s.client.Update(bounded(t), user, incusx.Change{Labels: map[string]string{"team": team}})
		must(t, "update", err)
		began := time.Now()
		shows(incusx.StateRunning, team)
		slowest = max(slowest, time.Since(began))
	}
	t.Logf("the slowest of the updates was in the copy %s after it was done", slowest)
	must(t, "remove", s.client.Remove(bounded(t), user))
	shows("", incusx.ErrNotFound.Error())
	if stats := c.Stats(); stats.Resyncs != 1 {
		t.Errorf("stats %+v: want no full read but the first", stats)
	}
}
