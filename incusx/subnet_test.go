package incusx_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/lxc/incus/v6/shared/api"

	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/incusx/incustest"
)

// TestAddressChosenAtInit: the address is known and pinned before the guest runs,
// and it is the one that the guest gets.
func TestAddressChosenAtInit(t *testing.T) {
	r := newRig(t)
	image, err := r.FindImage(t.Context(), incustest.DefaultImage)
	must(t, "find the image", err)
	chosen, err := r.Init(t.Context(), incusx.Spec{Username: "alice"}, image, nil)
	must(t, "init", err)
	if got := r.instance(t, "alice").Devices["eth0"]["ipv4.address"]; got != chosen || chosen == "" {
		t.Fatalf("chosen %q, pinned %q", chosen, got)
	}
	must(t, "start", r.Start(t.Context(), "alice"))
	looks := r.sim.Requests("GET", "/1.0/instances/alice-container/state")
	address, err := r.WaitAddress(bounded(t), "alice", chosen)
	if err != nil || address != chosen {
		t.Errorf("address %q, %v, want %q", address, err, chosen)
	}
	if got := r.sim.Requests("GET", "/1.0/instances/alice-container/state") - looks; got != 0 {
		t.Errorf("Incus was asked %d times for the address that was chosen", got)
	}
	puts := r.sim.Requests("PUT", "/1.0/instances/alice-container")
	container, err := r.Finish(t.Context(), "alice", incusx.Result{Address: address})
	must(t, "finish", err)
	if got := r.sim.Requests("PUT", "/1.0/instances/alice-container") - puts; got != 0 || container.Address != chosen {
		t.Errorf("finish replaced the instance's config %d times; address %q", got, container.Address)
	}
}

// TestAddressesChosenAtOnce: no two creates choose the same.
func TestAddressesChosenAtOnce(t *testing.T) {
	r := newRig(t)
	image, err := r.FindImage(t.Context(), incustest.DefaultImage)
	must(t, "find the image", err)
	var mu sync.Mutex
	var wg sync.WaitGroup
	chosen := map[string]bool{}
	const many = 40
	for i := range many {
		wg.Go(func() {
			address, err := r.Init(t.Context(), incusx.Spec{Username: fmt.Sprintf("user-%d", i)}, image, nil)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			chosen[address] = true
		})
	}
	wg.Wait()
	if len(chosen) != many {
		t.Errorf("%d addresses for %d instances", len(chosen), many)
	}
}

// TestChoose: only what the DHCP server may give and nobody has is chosen.
func TestChoose(t *testing.T) {
	network := func(config map[string]string) *api.Network {
		return &api.Network{Name: "br", Type: "bridge", Managed: true, NetworkPut: api.NetworkPut{Config: config}}
	}
	for name, test := range map[string]struct {
		network *api.Network
		taken   []string
		want    []string // all that may be chosen
	}{
		"a small subnet": {network(map[string]string{"ipv4.address": "10.0.0.1/29"}), []string{"10.0.0.1", "10.0.0.4"}, []string{"10.0.0.2", "10.0.0.3", "10.0.0.5", "10.0.0.6"}},
		"ranges":         {network(map[string]string{"ipv4.address": "10.0.0.1/24", "ipv4.dhcp.ranges": "10.0.0.8-10.0.0.9, 10.0.0.20-10.0.0.20"}), []string{"10.0.0.9"}, []string{"10.0.0.20", "10.0.0.8"}},
		"full":           {network(map[string]string{"ipv4.address": "10.0.0.1/30"}), []string{"10.0.0.1", "10.0.0.2"}, nil},
		"no DHCP":        {network(map[string]string{"ipv4.address": "10.0.0.1/24", "ipv4.dhcp": "false"}), nil, nil},
		"no IPv4":        {network(map[string]string{"ipv4.address": "none"}), nil, nil},
		"unmanaged":      {&api.Network{Name: "br", Type: "bridge"}, nil, nil},
	} {
		got := map[string]bool{}
		for range 500 {
			if address := incusx.Choose(test.network, test.taken); address != "" {
				got[address] = true
			}
		}
		want := map[string]bool{}
		for _, address := range test.want {
			want[address] = true
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
