//go:build e2e

package e2e_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

const (
	sigTerm = syscall.SIGTERM
	sigKill = syscall.SIGKILL
)

// creating begins a create and waits until the condition holds while it is under
// way.
func (o *owner) creating(t *testing.T, what string, condition func() bool) *job {
	t.Helper()
	j := o.begin(t, "create", o.name, "--ssh-key", o.key.file+".pub", "-o", "json")
	waitFor(t, what, func() bool { return condition() || !j.running() })
	return j
}

// hasInstance reports whether Incus has the user's instance.
func (o *owner) hasInstance(t *testing.T) bool {
	t.Helper()
	_, _, err := o.incus().GetInstance(o.name + "-container")
	return err == nil
}

// runs reports whether the user's instance runs.
func (o *owner) runs(t *testing.T) bool {
	t.Helper()
	instance, _, err := o.incus().GetInstance(o.name + "-container")
	return err == nil && instance.Status == "Running"
}

func TestDaemonKilledInACreate(t *testing.T) {
	s := theSite(t)
	s.withDaemon(t)
	for name, point := range map[string]func(*owner) bool{
		"as the instance is made":      func(o *owner) bool { return o.hasInstance(t) },
		"as it starts":                 func(o *owner) bool { return o.runs(t) },
		"with the account on the host": func(o *owner) bool { return hasAccount(o.name) },
	} {
		t.Run(name, func(t *testing.T) {
			o := newOwner(t, "killed")
			j := o.creating(t, "the create to get there", func() bool { return point(o) })
			_ = s.daemon.end(sigKill)
			if r := j.wait(); r.code != 1 {
				t.Fatalf("the create had ended: %+v", r)
			}
			s.restartDaemon(t)
			waitFor(t, "nothing to be left", func() bool {
				// At no time it is taken for one that is there.
				if c := s.listed(t, o.name); c != nil && c.GetState() != pb.ContainerState_CONTAINER_STATE_CREATING {
					t.Fatalf("ls shows %v", c)
				}
				return s.left(t, o.name) == ""
			})
			o.create(t)
			if got := o.sh(t, "sudo -n id -u"); got != "0" {
				t.Errorf("id says %q", got)
			}
		})
	}
}

func TestDaemonKilledInADelete(t *testing.T) {
	s := theSite(t)
	s.withDaemon(t)
	for name, point := range map[string]func(*owner) bool{
		"without the account on the host": func(o *owner) bool { return !hasAccount(o.name) },
		"as it has stopped":               func(o *owner) bool { return !o.runs(t) },
	} {
		t.Run(name, func(t *testing.T) {
			o := newOwner(t, "halved")
			o.create(t)
			j := o.begin(t, "rm", o.name, "--force")
			waitFor(t, "the delete to get there", func() bool { return point(o) || !j.running() })
			_ = s.daemon.end(sigKill)
			j.wait()
			s.restartDaemon(t)
			waitFor(t, "a whole container or none", func() bool {
				return s.left(t, o.name) == "" || s.listed(t, o.name) != nil && hasAccount(o.name)
			})
			if s.left(t, o.name) != "" {
				o.do(t, "start", o.name)
				waitFor(t, "its sshd", func() bool { return exchangesKeys(t.Context(), o.address()) })
				if got := o.sh(t, "id -un"); got != o.name {
					t.Errorf("id says %q", got)
				}
				o.do(t, "rm", o.name, "--force")
			}
			waitFor(t, "nothing to be left", func() bool { return s.left(t, o.name) == "" })
		})
	}
}

// TestIncusKilledInACreate: what Incus had begun when it was killed is removed once
// it is back.
func TestIncusKilledInACreate(t *testing.T) {
	s := theSite(t)
	s.withDaemon(t)
	o := newOwner(t, "orphan")
	j := o.creating(t, "the instance to run", func() bool { return o.runs(t) })
	t.Cleanup(func() {
		if err := s.incusAnswers(); err != nil {
			t.Error(err)
		}
	})
	if err := incusScript(t.Context(), "daemon", "kill"); err != nil {
		t.Fatal(err)
	}
	r := j.wait()
	if err := incusScript(t.Context(), "daemon", "start"); err != nil {
		t.Fatal(err)
	}
	if err := s.incusAnswers(); err != nil {
		t.Fatal(err)
	}
	if r.code != 1 {
		t.Fatalf("the create had ended: %+v", r)
	}
	waitFor(t, "nothing to be left", func() bool { return s.left(t, o.name) == "" })
	o.create(t)
}

func TestTermLetsACreateFinish(t *testing.T) {
	s := theSite(t)
	s.withDaemon(t)
	o := newOwner(t, "drain")
	j := o.creating(t, "the instance", func() bool { return o.hasInstance(t) })
	if err := s.daemon.end(sigTerm); err != nil {
		t.Errorf("the daemon ended with %v", err)
	}
	if r := j.wait(); r.code != 0 {
		t.Fatalf("the create: %+v", r)
	}
	if r := s.as(t, t.Context(), admin, "ls"); r.code != 1 {
		t.Errorf("ls without a daemon: %+v", r)
	}
	s.restartDaemon(t)
	o.container = o.info(t, o.name)
	if got := o.sh(t, "id -un"); got != o.name {
		t.Errorf("id says %q", got)
	}
}

func TestIncusStoppedAndStarted(t *testing.T) {
	s := theSite(t)
	s.withDaemon(t)
	o := newOwner(t, "outage")
	o.create(t)
	boot := o.booted(t)
	daemon := s.daemon
	incusd := func(what string) {
		t.Helper()
		if err := incusScript(t.Context(), "daemon", what); err != nil {
			t.Fatal(err)
		}
	}
	unavailable := func() {
		t.Helper()
		words := []string{"Incus on this host does not answer", "systemctl status incus"}
		begun := time.Now()
		for _, args := range [][]string{{"ls"}, {"info", o.name}, {"create", prefix + "late", "--ssh-key", o.key.file + ".pub"}, {"stop", o.name}, {"rm", o.name, "--force"}, {"system"}} {
			s.refused(t, words, args...)
		}
		if d := time.Since(begun); d > 20*time.Second {
			t.Errorf("the refusals took %s", d)
		}
		s.do(t, "whoami") // which needs no Incus
		if got := o.booted(t); got != boot {
			t.Error("the container was started anew")
		}
	}
	answers := func() bool { return s.as(t, t.Context(), admin, "ls").code == 0 }

	incusd("stop")
	t.Cleanup(func() {
		ctx, cancel := lasting(t)
		defer cancel()
		if err := incusScript(ctx, "daemon", "start"); err != nil {
			t.Error(err)
		}
		if err := s.incusAnswers(); err != nil {
			t.Error(err)
		}
	})
	unavailable()
	incusd("start")
	waitFor(t, "the daemon to find Incus again", answers)
	select {
	case <-daemon.ended:
		t.Fatalf("the daemon ended: %v", daemon.err)
	default:
	}
	if got := o.booted(t); got != boot {
		t.Error("the container was started anew")
	}
	if left := s.left(t, prefix+"late"); left != "" {
		t.Errorf("left of a create without Incus: %s", left)
	}

	// A daemon that starts without Incus does the same.
	incusd("stop")
	if err := s.daemon.end(sigTerm); err != nil {
		t.Fatal(err)
	}
	s.restartDaemon(t)
	unavailable()
	incusd("start")
	waitFor(t, "the daemon to find Incus", answers)
	another := newOwner(t, "outage-2")
	another.create(t)
	if got := fmt.Sprint(another.sh(t, "id -un"), another.info(t, o.name).GetState()); got != another.name+"CONTAINER_STATE_RUNNING" {
		t.Errorf("after the outage: %s", got)
	}
}
