package incusx_test

import (
	"context"
	"testing"
	"time"

	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/incusx/incustest"
)

// TestExecEnds: a command ends with its context, and is not left running in the
// guest: the operation of the exec comes to its end.
func TestExecEnds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.runAlice(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	r.sim.Forget()
	go func() {
		_, _, _, err := r.Exec(ctx, "alice", []string{"sleep", "infinity"}, "")
		ended <- err
	}()
	// control, stdin, stdout, stderr
	until(t, "the websockets", func() bool { return r.sim.Requests("GET", "/1.0/operations/*/websocket") == 4 })
	until(t, "the command", func() bool { return running(t, r) == 1 })
	cancel()
	wantErr(t, "exec", <-ended, context.Canceled)
	until(t, "the end of the command", func() bool { return running(t, r) == 0 })
}

// running is how many operations run.
func running(t *testing.T, r *rig) (n int) {
	t.Helper()
	operations, err := r.raw.GetOperations()
	must(t, "list the operations", err)
	for _, op := range operations {
		if op.Status == "Running" {
			n++
		}
	}
	return n
}

// TestExecCut: a command whose Incus goes away fails; one whose guest stops has a
// code that is not 0.
func TestExecCut(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.runAlice(t)
	type outcome struct {
		code int
		err  error
	}
	launch := func() <-chan outcome {
		ended := make(chan outcome, 1)
		r.sim.Forget()
		go func() {
			code, _, _, err := r.Exec(t.Context(), "alice", []string{"sleep", "infinity"}, "")
			ended <- outcome{code, err}
		}()
		until(t, "the wait", func() bool { return r.sim.Requests("GET", "/1.0/operations/*/wait") == 1 })
		return ended
	}
	ended := launch()
	must(t, "stop", r.Stop(t.Context(), "alice", true, 0))
	if got := <-ended; got.err != nil || got.code == 0 {
		t.Errorf("of a guest that stopped: code %d, error %v", got.code, got.err)
	}
	must(t, "start", r.Start(t.Context(), "alice"))
	ended = launch()
	r.sim.Down()
	wantErr(t, "of an Incus that went away", (<-ended).err, incusx.ErrUnavailable)
}

// TestExecNoWebsocket: a websocket that can not be connected fails the command.
func TestExecNoWebsocket(t *testing.T) {
	r := newRig(t)
	r.runAlice(t)
	r.sim.Fail(incustest.Fault{Path: "/1.0/operations/*/websocket", Status: 500, Message: "no"})
	_, _, _, err := r.Exec(within(t, 10*time.Second), "alice", []string{"true"}, "")
	if err == nil {
		t.Error("got no error")
	}
}
