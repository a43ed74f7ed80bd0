package incusx_test

import (
	"context"
	"testing"
	"time"

	"github.com/lxc/incus/v6/shared/api"

	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/incusx/incustest"
)

func TestAddressOf(t *testing.T) {
	global := func(address string) api.InstanceStateNetwork {
		return api.InstanceStateNetwork{Addresses: []api.InstanceStateNetworkAddress{
			{Family: "inet6", Address: "fd00::1", Scope: "global"},
			{Family: "inet", Address: "169.254.0.9", Scope: "link"},
			{Family: "inet", Address: address, Scope: "global"},
		}}
	}
	none := api.InstanceStateNetwork{Addresses: []api.InstanceStateNetworkAddress{{Family: "inet6", Address: "fe80::1", Scope: "link"}}}
	for name, c := range map[string]struct {
		networks map[string]api.InstanceStateNetwork
		want     string
	}{
		"none":                     {nil, ""},
		"loopback does not count":  {map[string]api.InstanceStateNetwork{"lo": global("127.0.0.1")}, ""},
		"eth0":                     {map[string]api.InstanceStateNetwork{"lo": global("127.0.0.1"), "eth0": global("10.0.0.2")}, "10.0.0.2"},
		"eth0 before docker0":      {map[string]api.InstanceStateNetwork{"docker0": global("172.17.0.1"), "eth0": global("10.0.0.2")}, "10.0.0.2"},
		"the first other, by name": {map[string]api.InstanceStateNetwork{"wlan0": global("10.0.0.4"), "enp5s0": global("10.0.0.3"), "eth0": none}, "10.0.0.3"},
		"no IPv4":                  {map[string]api.InstanceStateNetwork{"eth0": none}, ""},
	} {
		for range 20 { // maps have no order
			if got := incusx.AddressOf(&api.InstanceState{Network: c.networks}); got != c.want {
				t.Fatalf("%s: got %q, want %q", name, got, c.want)
			}
		}
	}
}

// TestWhyNoAddress: a wait in vain says which it was.
func TestWhyNoAddress(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for image, want := range map[string]string{
		"nodhcp":  "nothing in the guest asks for an address",
		"nolease": "got no lease",
	} {
		r.init(t, incusx.Spec{Username: image, Image: image})
		must(t, "start", r.Start(t.Context(), image))
		_, err := r.WaitAddress(within(t, 300*time.Millisecond), image, "")
		wantErr(t, image, err, context.DeadlineExceeded)
		wantText(t, image, err, want)
	}
	profile, _, err := r.raw.GetProfile("default")
	must(t, "get the profile", err)
	put := profile.Writable()
	delete(put.Devices, "eth0")
	must(t, "update the profile", r.raw.UpdateProfile("default", put, ""))
	r.init(t, incusx.Spec{Username: "nonic"})
	must(t, "start", r.Start(t.Context(), "nonic"))
	_, err = r.WaitAddress(within(t, 300*time.Millisecond), "nonic", "")
	wantText(t, "nonic", err, "the container has no NIC")
}

func TestWaitAddress(t *testing.T) {
	r := newRig(t, incustest.Options{AddressDelay: 50 * time.Millisecond})
	r.init(t, incusx.Spec{Username: "alice"})
	must(t, "start", r.Start(t.Context(), "alice"))
	address, err := r.WaitAddress(bounded(t), "alice", "")
	if err != nil || address == "" {
		t.Errorf("got %q, %v", address, err)
	}
	// A guest that went down is not waited for.
	r.init(t, incusx.Spec{Username: "bob", Image: "nodhcp"})
	must(t, "start", r.Start(t.Context(), "bob"))
	ended := make(chan error, 1)
	go func() { _, err := r.WaitAddress(bounded(t), "bob", ""); ended <- err }()
	until(t, "the first look", func() bool { return r.sim.Requests("GET", "/1.0/instances/bob-container/state") > 0 })
	r.sim.Crash("default", "bob-container")
	wantText(t, "bob", <-ended, "stopped while it booted")
}
