package cache_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"
	"github.com/sirupsen/logrus"

	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/incusx/cache"
	"github.com/footprintai/containarium/incusx/incustest"
)

// copied is what the tests' views are: what a container was converted to.
type copied struct{ username, label string }

type testCache = cache.Cache[copied]

// rig is a Cache on a simulator of its own, with somebody else's client beside it.
type rig struct {
	*testCache
	sim    *incustest.Server
	client *incusx.Client
	raw    incus.InstanceServer
}

func newRig(t testing.TB, change ...func(*testCache)) *rig {
	t.Helper()
	r := idleRig(t)
	for _, f := range change {
		f(r.testCache)
	}
	r.run(t)
	return r
}

// idleRig is one whose Cache does not run yet.
func idleRig(t testing.TB) *rig {
	t.Helper()
	return rigOn(t, incustest.Start(t))
}

func rigOn(t testing.TB, sim *incustest.Server) *rig {
	t.Helper()
	client := incusx.New(incusx.Config{Socket: sim.Socket(), Project: "default", Profile: "default", SSHPort: sim.SSHPort(), HostRoot: t.TempDir()})
	log := logrus.New()
	log.SetOutput(t.Output())
	log.SetLevel(logrus.DebugLevel)
	return &rig{
		testCache: cache.New(client, func(c incusx.Container) copied { return copied{c.Username, c.Labels["l"]} }, log),
		sim:       sim, client: client, raw: connect(t, sim),
	}
}

func connect(t testing.TB, sim *incustest.Server) incus.InstanceServer {
	t.Helper()
	raw, err := incus.ConnectIncusUnixWithContext(context.WithoutCancel(t.Context()), sim.Socket(), &incus.ConnectionArgs{SkipGetEvents: true, SkipGetServer: true})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func (r *rig) run(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { r.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
}

// make makes a finished, stopped container, behind the cache's back.
func (r *rig) make(t testing.TB, username string) {
	t.Helper()
	op, err := r.raw.CreateInstance(api.InstancesPost{
		Name:   incusx.InstanceName(username),
		Source: api.InstanceSource{Type: "image", Alias: incustest.DefaultImage},
		InstancePut: api.InstancePut{
			Profiles: []string{"default"},
			Config:   map[string]string{"user.containarium.username": username, "user.containarium.phase": "ready"},
		},
	})
	if err == nil {
		err = op.Wait()
	}
	if err != nil {
		t.Fatalf("make %s: %v", username, err)
	}
}

// label gives a container a label.
func (r *rig) label(t testing.TB, username, label string) {
	t.Helper()
	instance, etag, err := r.raw.GetInstance(incusx.InstanceName(username))
	if err != nil {
		t.Fatal(err)
	}
	put := instance.Writable()
	put.Config = maps.Clone(put.Config)
	put.Config["user.containarium.label.l"] = label
	op, err := r.raw.UpdateInstance(instance.Name, put, etag)
	if err == nil {
		err = op.Wait()
	}
	if err != nil {
		t.Fatalf("label %s: %v", username, err)
	}
}

func (r *rig) remove(t testing.TB, username string) {
	t.Helper()
	op, err := r.raw.DeleteInstance(incusx.InstanceName(username))
	if err == nil {
		err = op.Wait()
	}
	if err != nil {
		t.Fatalf("remove %s: %v", username, err)
	}
}

// shows returns what a list shows: "alice bob=label", or the error.
func (r *rig) shows(t testing.TB) string {
	t.Helper()
	entries, err := r.List(t.Context())
	if err != nil {
		return err.Error()
	}
	text := ""
	for _, entry := range entries {
		text += " " + entry.View.username
		if entry.View.label != "" {
			text += "=" + entry.View.label
		}
		if got, err := r.Get(t.Context(), entry.View.username); err == nil && got.Container.Username != entry.View.username {
			t.Errorf("get %s returns %s", entry.View.username, got.Container.Username)
		}
	}
	if text == "" {
		return text
	}
	return text[1:]
}

// comes waits until a list shows that.
func (r *rig) comes(t testing.TB, want string) {
	t.Helper()
	until(t, fmt.Sprintf("a list of %q", want), func() bool { return r.shows(t) == want })
}

// has waits until a list has so many.
func (r *rig) has(t testing.TB, n int) {
	t.Helper()
	until(t, fmt.Sprintf("%d containers", n), func() bool {
		entries, err := r.List(t.Context())
		return err == nil && len(entries) == n
	})
}

// until waits for a condition; the bound is for a machine that hangs.
func until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// usernames are those of n containers, in order.
func usernames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("u%06d", i)
	}
	return slices.Clip(names)
}

// populate makes n containers without a word.
func (r *rig) populate(t testing.TB, n int) {
	t.Helper()
	names := usernames(n)
	err := r.sim.Populate("default", n, func(i int) map[string]string {
		return map[string]string{
			"user.containarium.username": names[i], "user.containarium.phase": "ready", "user.containarium.image": incustest.DefaultImage,
			"user.containarium.address":  fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255),
			"user.containarium.ssh-keys": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZpcnN0IG9mIG1hbnkga2V5cyB0aGF0IGFyZSBhbGwgdGhl " + names[i],
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}
