package service_test

import (
	"testing"

	"github.com/footprintai/containarium/incusx/incustest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

func (s *site) hostKey(t *testing.T, username string) (key, fingerprint string) {
	t.Helper()
	response, err := s.GetContainer(t.Context(), &pb.GetContainerRequest{Username: username})
	if err != nil {
		t.Fatal(err)
	}
	network := response.GetContainer().GetNetwork()
	return network.GetSshHostKey(), network.GetSshHostKeyFingerprint()
}

func TestHostKeyIsLearnt(t *testing.T) {
	s := newSite(t, incustest.Options{})
	container := s.create(t, "alice")
	first := container.GetNetwork().GetSshHostKey()
	if got := container.GetNetwork().GetSshHostKeyFingerprint(); got != fingerprint(first) {
		t.Errorf("fingerprint %q, want that of %q", got, first)
	}

	response, err := s.CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: "bob", NoWait: true})
	if err != nil {
		t.Fatal(err)
	}
	if network := response.GetContainer().GetNetwork(); network.GetSshHostKey() != "" || network.GetSshHostKeyFingerprint() != "" {
		t.Errorf("nobody waited for sshd, and it has the key %v", network)
	}
	eventually(t, func() bool { key, _ := s.hostKey(t, "bob"); return key != "" })

	// An owner made another one.
	s.sim.ForgetHostKey("default", "alice-container")
	if _, err := s.RestartContainer(t.Context(), &pb.RestartContainerRequest{Username: "alice", Force: true}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { key, print := s.hostKey(t, "alice"); return key != first && print == fingerprint(key) })

	// One that was made or imported while no daemon ran.
	if _, err := s.incus.SetHostKey(t.Context(), "alice", ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { key, _ := s.hostKey(t, "alice"); return key == "" })
	if err := s.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { key, _ := s.hostKey(t, "alice"); return key != "" })
}
