package service_test

import (
	"maps"
	"strings"
	"testing"

	incus "github.com/lxc/incus/v6/client"

	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/incusx/incustest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// unpin takes the pin of a user's container away, so that it comes by another
// address at its next start, and notes an address as the one that it had.
func (s *site) unpin(t *testing.T, username, address string) {
	t.Helper()
	raw, err := incus.ConnectIncusUnixWithContext(t.Context(), s.sim.Socket(), &incus.ConnectionArgs{SkipGetEvents: true, SkipGetServer: true})
	if err != nil {
		t.Fatal(err)
	}
	instance, etag, err := raw.GetInstance(incusx.InstanceName(username))
	if err != nil {
		t.Fatal(err)
	}
	put := instance.Writable()
	put.Config, put.Devices = maps.Clone(put.Config), maps.Clone(put.Devices)
	delete(put.Devices, "eth0")
	put.Config["user.containarium.address"] = address
	op, err := raw.UpdateInstance(instance.Name, put, etag)
	if err == nil {
		err = op.Wait()
	}
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return s.address(t, username) == address })
}

// reboot has a guest come by the next address, which it returns.
func (s *site) reboot(t *testing.T, username string) string {
	t.Helper()
	err := s.incus.Stop(t.Context(), username, true, 0)
	if err == nil {
		err = s.incus.Start(t.Context(), username)
	}
	if err != nil {
		t.Fatal(err)
	}
	address, err := s.incus.Address(t.Context(), username)
	if err != nil || address == "" {
		t.Fatalf("%s's address %q: %v", username, address, err)
	}
	return address
}

func (s *site) address(t *testing.T, username string) string {
	t.Helper()
	response, err := s.GetContainer(t.Context(), &pb.GetContainerRequest{Username: username})
	if err != nil {
		t.Fatal(err)
	}
	return response.GetContainer().GetNetwork().GetIpAddress()
}

// An address that nothing pins and that changed is found, and the account on the
// jump host reaches the new one.
func TestRoam(t *testing.T) {
	s := newSite(t, incustest.Options{})
	for _, username := range []string{"alice", "bob", "carol"} {
		s.create(t, username)
	}
	// A free one: guests get the first.
	s.unpin(t, "bob", "127.77.0.250")
	now := s.reboot(t, "bob")
	eventually(t, func() bool { s.RoamOnce(t.Context()); return s.address(t, "bob") == now })
	if account, _ := s.hop.account("bob"); !strings.HasPrefix(account, now+" ") {
		t.Errorf("bob's account is good for %q, want %s", account, now)
	}
	// Of a pinned one Incus is not asked.
	s.sim.Forget()
	s.RoamOnce(t.Context())
	if n := s.sim.Requests("GET", "/1.0/instances/*/state"); n != 1 {
		t.Errorf("Incus was asked for %d states", n)
	}
}

// A guest's word opens nothing that is not its own: an address of another network,
// or of another container.
func TestRoamIsNotBelieved(t *testing.T) {
	s := newSite(t, incustest.Options{})
	s.create(t, "alice")
	s.create(t, "bob")
	account, _ := s.hop.account("alice")
	s.unpin(t, "alice", "10.11.12.13")
	now := s.reboot(t, "alice")
	unchanged := func(want string) {
		t.Helper()
		eventually(t, func() bool {
			entry, err := s.GetContainer(t.Context(), &pb.GetContainerRequest{Username: "alice"})
			return err == nil && entry.GetContainer().GetState() == pb.ContainerState_CONTAINER_STATE_RUNNING
		})
		s.RoamOnce(t.Context())
		if got := s.address(t, "alice"); got != want {
			t.Errorf("alice was at %s and is at %s", want, got)
		}
		if got, _ := s.hop.account("alice"); got != account {
			t.Errorf("alice's account was %q and is %q", account, got)
		}
	}
	unchanged("10.11.12.13")
	s.unpin(t, "bob", now)
	s.unpin(t, "alice", "127.77.0.250")
	unchanged("127.77.0.250")
}
