package incusx_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/incusx/incustest"
)

// TestInitConfig: what a create asks Incus for, to the letter.
func TestInitConfig(t *testing.T) {
	common := map[string]string{"user.containarium.username": "alice", "user.containarium.phase": "creating", "boot.autostart": "false"}
	for name, c := range map[string]struct {
		spec incusx.Spec
		want map[string]string
	}{
		"nothing": {incusx.Spec{}, nil},
		"all": {
			incusx.Spec{
				SSHKeys: []string{"k1", "k2"}, Labels: map[string]string{"a.b": "c"}, Docker: true, AutoStart: true,
				Limits: incusx.Limits{CPU: "0.5", Memory: "1GiB", Disk: "5GB"},
			},
			map[string]string{
				"boot.autostart": "true", "limits.cpu": "1", "limits.cpu.allowance": "50ms/100ms", "limits.memory": "1GiB",
				"security.nesting": "true", "security.syscalls.intercept.mknod": "true", "security.syscalls.intercept.setxattr": "true",
				"user.containarium.cpu": "0.5", "user.containarium.disk-enforced": "true", "user.containarium.docker": "missing",
				"user.containarium.label.a.b": "c", "user.containarium.ssh-keys": "k1\nk2",
			},
		},
		"a set of cores": {incusx.Spec{Limits: incusx.Limits{CPU: "0-3"}}, map[string]string{"limits.cpu": "0-3", "user.containarium.cpu": "0-3"}},
	} {
		r := newRig(t)
		c.spec.Username = "alice"
		r.init(t, c.spec)
		instance := r.instance(t, "alice")
		got := map[string]string(maps.Clone(instance.Config))
		maps.DeleteFunc(got, func(key, value string) bool {
			return value == "" || strings.HasPrefix(key, "volatile.") || strings.HasPrefix(key, "image.")
		})
		want := maps.Clone(common)
		want["user.containarium.image"] = incustest.DefaultImage
		maps.Copy(want, c.want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: config (-want +got):\n%s", name, diff)
		}
		if got, want := instance.Devices["root"]["size"], c.spec.Limits.Disk; got != want {
			t.Errorf("%s: disk: got %q, want %q", name, got, want)
		}
		if !slices.Equal(instance.Profiles, []string{"default"}) {
			t.Errorf("%s: profiles %q", name, instance.Profiles)
		}
	}
}

// TestDiskEnforced: a size that the driver does not hold is said to be so.
func TestDiskEnforced(t *testing.T) {
	for driver, want := range map[string]bool{"btrfs": true, "zfs": true, "dir": false} {
		r := newRig(t, incustest.Options{StorageDriver: driver})
		r.init(t, incusx.Spec{Username: "alice", Limits: incusx.Limits{Disk: "5GB"}})
		container, err := r.Get(t.Context(), "alice")
		must(t, "get", err)
		if container.DiskEnforced != want || container.Limits.Disk != "5GB" {
			t.Errorf("%s: disk %q, enforced %v, want %v", driver, container.Limits.Disk, container.DiskEnforced, want)
		}
	}
}

// TestInitRefused: a create that fails leaves nothing.
func TestInitRefused(t *testing.T) {
	r := newRig(t)
	image, err := r.FindImage(t.Context(), incustest.DefaultImage)
	must(t, "find the image", err)
	for name, spec := range map[string]incusx.Spec{
		"CPU":    {Limits: incusx.Limits{CPU: "none"}},
		"memory": {Limits: incusx.Limits{Memory: "0"}},
		"disk":   {Limits: incusx.Limits{Disk: "much"}},
	} {
		spec.Username = "alice"
		_, err := r.Init(t.Context(), spec, image, nil)
		wantErr(t, name, err, incusx.ErrInvalid)
		exists, err := r.Exists(t.Context(), "alice")
		if exists || err != nil {
			t.Errorf("%s: exists: got %v, %v, want false", name, exists, err)
		}
	}
}

// TestFinish: the address is reserved, and what was found out is on the instance.
func TestFinish(t *testing.T) {
	r := newRig(t)
	r.init(t, incusx.Spec{Username: "alice", SSHKeys: []string{"k"}, Docker: true})
	must(t, "start", r.Start(t.Context(), "alice"))
	address, err := r.WaitAddress(bounded(t), "alice", "")
	must(t, "wait for the address", err)
	returned, err := r.Finish(bounded(t), "alice", incusx.Result{Address: address, HostKey: "ssh-ed25519 AAAA", DockerInstalled: true})
	must(t, "finish", err)
	container, err := r.Get(t.Context(), "alice")
	must(t, "get", err)
	if diff := cmp.Diff(container, returned); diff != "" {
		t.Errorf("finish returned something else than is there (-there +returned):\n%s", diff)
	}
	if container.State != incusx.StateRunning || container.Address != address || container.HostKey != "ssh-ed25519 AAAA" ||
		!container.Docker || !container.DockerInstalled || !container.KeysInGuest {
		t.Errorf("container %+v", container)
	}
	if got := r.instance(t, "alice").Devices["eth0"]["ipv4.address"]; got != address {
		t.Errorf("pinned address: got %q, want %q", got, address)
	}
	// Docker that nobody asked for is not reported, whatever the guest has.
	r.init(t, incusx.Spec{Username: "bob"})
	container, err = r.Finish(bounded(t), "bob", incusx.Result{DockerInstalled: true})
	must(t, "finish", err)
	if container.Docker || container.DockerInstalled {
		t.Error("Docker is on where it was not asked for")
	}
}

// TestForeignNetwork: an address that another DHCP server gave is not pinned.
func TestForeignNetwork(t *testing.T) {
	r := newRig(t)
	profile, _, err := r.raw.GetProfile("default")
	must(t, "get the profile", err)
	put := profile.Writable()
	put.Devices["eth0"] = map[string]string{"type": "nic", "nictype": "bridged", "parent": "br0", "name": "eth0"}
	must(t, "update the profile", r.raw.UpdateProfile("default", put, ""))
	address := r.runAlice(t)
	if devices := r.instance(t, "alice").Devices; len(devices) != 0 {
		t.Errorf("devices %v, want none", devices)
	}
	container, err := r.Get(t.Context(), "alice")
	must(t, "get", err)
	if container.Address != address || container.Network != "br0" {
		t.Errorf("container %+v", container)
	}
}
