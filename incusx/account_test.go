package incusx_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/incusx/incustest"
)

func TestEnsureAccount(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		image, reason string // no reason: fit
		docker        bool
	}{
		{image: incustest.DefaultImage},
		{image: "docker", docker: true},
		{image: "nosshd", reason: "the image has no sshd"},
		{image: "nosudo", reason: "the image has no sudo"},
	} {
		user := "u-" + strings.ReplaceAll(c.image, "/", "-")
		r.init(t, incusx.Spec{Username: user, Image: c.image})
		must(t, "start", r.Start(t.Context(), user))
		r.sim.Forget()
		docker, err := r.EnsureAccount(bounded(t), user, nil)
		if execs := r.sim.Requests("POST", "/1.0/instances/*/exec"); execs != 1 {
			t.Errorf("%s: %d execs, want 1", c.image, execs)
		}
		var unfit *incusx.ImageError
		switch {
		case c.reason == "" && err != nil:
			t.Errorf("%s: %v", c.image, err)
		case c.reason != "" && (!errors.As(err, &unfit) || unfit.Reason != c.reason):
			t.Errorf("%s: got %v, want an image error %q", c.image, err, c.reason)
		case docker != c.docker:
			t.Errorf("%s: Docker: got %v, want %v", c.image, docker, c.docker)
		}
	}
}

// TestAccountNotStarted: once in a while Incus can not get into a guest; nothing
// ran, and it is tried again.
func TestAccountNotStarted(t *testing.T) {
	r := newRig(t)
	r.runAlice(t)
	r.sim.Fail(incustest.Fault{
		Method: "POST", Path: "/1.0/instances/*/exec", Times: 2,
		OperationError: "Failed to retrieve PID of executing child process",
	})
	_, err := r.EnsureAccount(bounded(t), "alice", nil)
	must(t, "ensure the account", err)
}

// TestAccountScript: what runs in guests is one constant that a shell takes; the
// user's name and keys are not part of it.
func TestAccountScript(t *testing.T) {
	command := exec.CommandContext(bounded(t), "sh", "-n")
	command.Stdin = strings.NewReader(incusx.AccountShell)
	if out, err := command.CombinedOutput(); err != nil {
		t.Errorf("sh -n: %v: %s", err, out)
	}
}

// TestKeys: they are on the instance at once, and in the guest when it runs.
func TestKeys(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	old, oldSigner := newKey(t)
	fresh, freshSigner := newKey(t)
	address := r.runAlice(t, old)
	r.login(t, address, oldSigner)

	container, err := r.SetKeys(t.Context(), "alice", []string{fresh})
	must(t, "set keys", err)
	if container.KeysInGuest {
		t.Error("keys are said to be in a guest that nobody told")
	}
	must(t, "sync", r.SyncKeys(bounded(t), container))
	container, err = r.Get(t.Context(), "alice")
	must(t, "get", err)
	if !container.KeysInGuest {
		t.Error("keys are said not to be in the guest after a sync")
	}
	r.login(t, address, freshSigner)
	r.refused(t, address, "alice", old)

	must(t, "stop", r.Stop(t.Context(), "alice", true, 0))
	wantErr(t, "sync to a stopped guest", r.SyncKeys(bounded(t), container), incusx.ErrStopped)
}
