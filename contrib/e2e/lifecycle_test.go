//go:build e2e

package e2e_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lxc/incus/v6/shared/api"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// ready waits until the owner can log in again, in another boot than the one
// given, and fails where the address or the host key is another than before:
// ssh knows them from the create.
func (o *owner) ready(t *testing.T, before string) {
	t.Helper()
	var last result
	defer func() {
		if t.Failed() {
			t.Logf("ssh said last: %+v", last)
		}
	}()
	waitFor(t, "the owner to log in again", func() bool {
		last = o.ssh(t, bootOf)
		return last.code == 0 && strings.TrimSpace(last.stdout) != before
	})
	if now := o.info(t, o.name).GetNetwork().GetIpAddress(); now != o.container.GetNetwork().GetIpAddress() {
		t.Errorf("the address is %s, and was %s", now, o.container.GetNetwork().GetIpAddress())
	}
}

func TestAddressAndHostKeyStayOverRestarts(t *testing.T) {
	t.Parallel()
	o := newOwner(t, "restart")
	o.create(t)
	// A lease alone ends when the container is stopped for long.
	network := o.container.GetNetwork()
	leases, err := o.incus().GetNetworkLeases(network.GetNetwork())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(leases, func(l api.NetworkLease) bool {
		return l.Type == "static" && l.Address == network.GetIpAddress() && l.Hwaddr == network.GetMacAddress()
	}) {
		t.Errorf("the address %s is not reserved: %v", network.GetIpAddress(), leases)
	}
	boot := o.booted(t)
	o.do(t, "restart", o.name)
	o.ready(t, boot)
	boot = o.booted(t)
	o.ssh(t, "sudo reboot") // the connection may break or not
	o.ready(t, boot)
	boot = o.booted(t)
	o.do(t, "restart", o.name, "--force")
	o.ready(t, boot)
}

func TestStopAndStart(t *testing.T) {
	t.Parallel()
	o := newOwner(t, "stop")
	o.create(t)
	boot := o.booted(t)
	if r := get(t, o.site, new(pb.StartContainerResponse), "start", o.name); !r.GetAlready() {
		t.Errorf("start of a running container: %v", r)
	}
	if got := o.booted(t); got != boot {
		t.Error("start of a running container booted it again")
	}
	if r := get(t, o.site, new(pb.StopContainerResponse), "stop", o.name); r.GetAlready() || r.GetContainer().GetState() != pb.ContainerState_CONTAINER_STATE_STOPPED {
		t.Errorf("stop: %v", r)
	}
	if r := get(t, o.site, new(pb.StopContainerResponse), "stop", o.name); !r.GetAlready() {
		t.Errorf("stop of a stopped container: %v", r)
	}
	if r := o.do(t, "stop", o.name); !strings.Contains(r.stderr, "stopped already") {
		t.Errorf("stop of a stopped container says %q", r.stderr)
	}
	if r := get(t, o.site, new(pb.StartContainerResponse), "start", o.name); r.GetAlready() {
		t.Errorf("start: %v", r)
	}
	o.ready(t, boot)
}

func TestGuestThatDoesNotShutDown(t *testing.T) {
	t.Parallel()
	o := newOwner(t, "stubborn")
	o.create(t)
	o.sh(t, "sudo systemd-run --quiet --property=TimeoutStopSec=10min --property=SendSIGKILL=no -- sh -c 'trap \"\" TERM; while :; do sleep 1000; done'")
	begun := time.Now()
	o.refused(t, []string{"did not stop within 2s", "--force"}, "stop", o.name, "--timeout", "2s")
	if d := time.Since(begun); d < 2*time.Second {
		t.Errorf("it gave up after %s", d)
	}
	if r := get(t, o.site, new(pb.StopContainerResponse), "stop", o.name, "--force"); r.GetContainer().GetState() != pb.ContainerState_CONTAINER_STATE_STOPPED {
		t.Errorf("stop --force: %v", r)
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	o := newOwner(t, "delete")
	o.create(t)
	session := o.openSession(t)
	o.refused(t, []string{"is running", "stop", "force"}, "rm", o.name)
	if !session.echoes() {
		t.Fatal("a refused delete ended the session")
	}
	begun := time.Now()
	o.do(t, "rm", o.name, "--force")
	if d := time.Since(begun); d > 15*time.Second {
		t.Errorf("rm --force took %s", d)
	}
	o.wantNothing(t, o.name)
	session.ends(t)
	o.refused(t, []string{"has no container"}, "rm", o.name)

	// Stopped first, no force is needed; and the name is free again.
	o.create(t)
	o.do(t, "stop", o.name, "--force")
	o.do(t, "rm", o.name)
	o.wantNothing(t, o.name)
}
