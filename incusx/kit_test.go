package incusx_test

import (
	"cmp"
	"context"
	"strings"
	"testing"
	"time"

	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"

	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/incusx/incustest"
)

// rig is a Client on a simulator of its own, with the official client beside it.
type rig struct {
	*incusx.Client
	sim *incustest.Server
	raw incus.InstanceServer
}

func newRig(t *testing.T, options ...incustest.Options) *rig {
	t.Helper()
	return rigOn(t, incustest.Start(t, options...), nil)
}

func rigOn(t *testing.T, sim *incustest.Server, remotes map[string]string) *rig {
	t.Helper()
	raw, err := incus.ConnectIncusUnixWithContext(t.Context(), sim.Socket(), &incus.ConnectionArgs{SkipGetEvents: true, SkipGetServer: true})
	must(t, "connect", err)
	return &rig{
		Client: incusx.New(incusx.Config{
			Socket: sim.Socket(), Project: "default", Profile: "default", SSHPort: sim.SSHPort(), Remotes: remotes,
			HostRoot: cmp.Or(sim.HostRoot(), t.TempDir()),
		}),
		sim: sim, raw: raw,
	}
}

// within returns a context of a test that is to end sooner.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// init makes a container, stopped and unfinished.
func (r *rig) init(t *testing.T, spec incusx.Spec) {
	t.Helper()
	if spec.Image == "" {
		spec.Image = incustest.DefaultImage
	}
	image, err := r.FindImage(t.Context(), spec.Image)
	must(t, "find the image", err)
	_, err = r.Init(t.Context(), spec, image, nil)
	must(t, "init", err)
}

// runAlice makes alice's container, which runs and is finished, and returns its
// address.
func (r *rig) runAlice(t *testing.T, keys ...string) string {
	t.Helper()
	const user = "alice"
	ctx := bounded(t)
	r.init(t, incusx.Spec{Username: user, SSHKeys: keys})
	must(t, "start", r.Start(ctx, user))
	_, err := r.EnsureAccount(ctx, user, keys)
	must(t, "ensure the account", err)
	address, err := r.WaitAddress(ctx, user, "")
	must(t, "wait for the address", err)
	_, err = r.Finish(ctx, user, incusx.Result{Address: address})
	must(t, "finish", err)
	return address
}

// instance returns what Incus has of a user's container.
func (r *rig) instance(t *testing.T, user string) *api.Instance {
	t.Helper()
	instance, _, err := r.raw.GetInstance(incusx.InstanceName(user))
	must(t, "get the instance", err)
	return instance
}

// wantText fails the test unless err has text.
func wantText(t *testing.T, what string, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: got error %v, want one with %q", what, err, text)
	}
}

// until waits for a condition.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	ctx := bounded(t)
	for !condition() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
