package incusx_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	incus "github.com/lxc/incus/v6/client"

	"github.com/footprintai/containarium/incusx"
)

// used: what a running container of life uses, by Incus and by the kernel.
func (s *site) used(t *testing.T, user string) {
	t.Helper()
	ctx := bounded(t)
	one, err := s.client.Usage(ctx, user)
	must(t, "usage", err)
	containers, err := s.client.List(ctx)
	must(t, "list", err)
	all, err := s.client.UsageAll(ctx, containers)
	must(t, "usage of all", err)
	if _, known := s.client.Counters(containers); !known {
		t.Error("the host shows the counters of no container")
	}
	usages := map[string]incusx.Usage{"of one": one}
	for i, usage := range all {
		if usage.Container.Name != containers[i].Name {
			t.Errorf("usage %d is of %s, want %s", i, usage.Container.Name, containers[i].Name)
		}
		if usage.Container.Username == user {
			usages["among all"] = usage
		}
	}
	if len(usages) != 2 {
		t.Errorf("usage of all lacks %s", user)
	}
	for name, usage := range usages {
		for figure, value := range map[string]*uint64{
			"CPU": usage.CPUNanoseconds, "memory": usage.MemoryBytes, "processes": usage.Processes,
			"received": usage.ReceivedBytes, "sent": usage.SentBytes, "OOM kills": usage.OOMKills,
		} {
			if value == nil {
				t.Errorf("usage %s: %s: unknown", name, figure)
			} else if (*value == 0) != (figure == "OOM kills") {
				t.Errorf("usage %s: %s: %d", name, figure, *value)
			}
		}
		for resource, percent := range map[string]*float64{"CPU": usage.Pressure.CPU, "memory": usage.Pressure.Memory, "IO": usage.Pressure.IO} {
			if percent == nil || *percent < 0 || *percent > 100 {
				t.Errorf("usage %s: pressure on %s: %v", name, resource, percent)
			}
		}
		if usage.MemoryMaxBytes == nil || *usage.MemoryMaxBytes != 512<<20 {
			t.Errorf("usage %s: memory limit: %v, want 512 MiB", name, usage.MemoryMaxBytes)
		}
		if enforced := usage.Container.DiskEnforced; enforced != (usage.DiskMaxBytes != nil && *usage.DiskMaxBytes == 2<<30) {
			t.Errorf("usage %s: disk limit: %v, and it is enforced: %t", name, usage.DiskMaxBytes, enforced)
		}
	}
	if one.Container.DiskEnforced && one.DiskBytes == nil {
		t.Error("the use of the disk is unknown, where its size is enforced")
	}
	// Incus counts the same.
	state, _, err := s.raw.GetInstanceState(incusx.InstanceName(user))
	must(t, "state", err)
	if got := *one.MemoryBytes; int64(got) < state.Memory.Usage/2 || int64(got) > state.Memory.Usage*2 { //nolint:gosec // far below
		t.Errorf("memory: %d, by Incus %d", got, state.Memory.Usage)
	}
	eth := state.Network["eth0"].Counters
	if got := *one.ReceivedBytes; int64(got) > eth.BytesReceived || got == 0 { //nolint:gosec // far below
		t.Errorf("received: %d, by Incus, later, %d", got, eth.BytesReceived)
	}
	if got := *one.SentBytes; int64(got) > eth.BytesSent || got == 0 { //nolint:gosec // far below
		t.Errorf("sent: %d, by Incus, later, %d", got, eth.BytesSent)
	}
}

// keys: they get into a running guest as account.sh would write them, also where
// its owner has changed something, and what is foreign stays.
func (s *site) keys(t *testing.T) {
	ctx := bounded(t)
	user := newUser()
	first, signer := newKey(t)
	s.create(t, incusx.Spec{Username: user, SSHKeys: []string{first}})
	must(t, "start", s.client.Start(ctx, user))
	_, err := s.client.EnsureAccount(ctx, user, []string{first})
	must(t, "ensure the account", err)
	address, err := s.client.WaitAddress(ctx, user, "")
	must(t, "wait for the address", err)
	_, err = s.client.WaitSSH(ctx, address, user, []string{first})
	must(t, "wait for sshd", err)
	_, err = s.client.Finish(ctx, user, incusx.Result{Address: address})
	must(t, "finish", err)

	second, _ := newKey(t)
	foreign, foreignSigner := newKey(t)
	file := "/home/" + user + "/.ssh/authorized_keys"
	begin, end := "# BEGIN containarium\n", "# END containarium\n"
	for _, step := range []struct {
		name, before, elsewhere, after string
		keys                           []string
	}{
		{name: "another key", keys: []string{second}, after: begin + second + "\n" + end},
		{name: "the same", keys: []string{second}, after: begin + second + "\n" + end},
		{
			name: "foreign lines, the last one open", keys: []string{first, second},
			before: "# mine\n" + begin + "x\n" + end + foreign, after: "# mine\n" + foreign + "\n" + begin + first + "\n" + second + "\n" + end,
		},
		{name: "a file without the part", before: foreign + "\n", keys: []string{second}, after: foreign + "\n" + begin + second + "\n" + end},
		{name: "a link to another file", elsewhere: foreign + "\n", keys: []string{first}, after: foreign + "\n" + begin + first + "\n" + end},
		{name: "no key", keys: nil, after: foreign + "\n" + begin + end},
		{name: "a key again", keys: []string{first}, after: foreign + "\n" + begin + first + "\n" + end},
	} {
		if step.before != "" {
			s.write(t, user, file, "file", step.before)
		}
		if step.elsewhere != "" {
			target := file + ".elsewhere"
			s.write(t, user, target, "file", step.elsewhere)
			must(t, "remove the file", s.raw.DeleteInstanceFile(incusx.InstanceName(user), file))
			s.write(t, user, file, "symlink", target)
		}
		container, err := s.client.SetKeys(ctx, user, step.keys)
		must(t, step.name+": set the keys", err)
		must(t, step.name+": sync the keys", s.client.SyncKeys(ctx, container))
		got, mode := s.read(t, user, file)
		if diff := cmp.Diff(step.after, got); diff != "" || mode != 0o600 {
			t.Errorf("%s: mode %o, authorized_keys (-want +got):\n%s", step.name, mode, diff)
		}
		if step.elsewhere != "" {
			if got, _ := s.read(t, user, file+".elsewhere"); got != step.elsewhere {
				t.Errorf("%s: what it led to is now %q", step.name, got)
			}
		}
		if container, err = s.client.Get(ctx, user); err != nil || !container.KeysInGuest {
			t.Errorf("%s: keys in the guest: %t, %v", step.name, container.KeysInGuest, err)
		}
	}
	// sshd is content with the owner of the file.
	s.login(t, address, user, signer)
	s.login(t, address, user, foreignSigner)

	// A stop right after a push does not wait for it.
	must(t, "stop", s.client.Stop(ctx, user, true, 0))
	container, err := s.client.SetKeys(ctx, user, []string{second})
	must(t, "set the keys of a stopped container", err)
	wantErr(t, "sync the keys of a stopped container", s.client.SyncKeys(ctx, container), incusx.ErrStopped)
	must(t, "remove", s.client.Remove(ctx, user))
	wantErr(t, "sync the keys of no container", s.client.SyncKeys(ctx, container), incusx.ErrNotFound)
}

// write writes a file of the guest as its root, or makes a link.
func (s *site) write(t *testing.T, user, path, kind, content string) {
	t.Helper()
	must(t, fmt.Sprintf("write %s", path), s.raw.CreateInstanceFile(incusx.InstanceName(user), path, incus.InstanceFileArgs{
		Type: kind, Content: strings.NewReader(content), Mode: 0o644, WriteMode: "overwrite",
	}))
}

func (s *site) read(t *testing.T, user, path string) (content string, mode int) {
	t.Helper()
	body, meta, err := s.raw.GetInstanceFile(incusx.InstanceName(user), path)
	must(t, "read "+path, err)
	defer func() { _ = body.Close() }()
	data, err := io.ReadAll(body)
	must(t, "read "+path, err)
	return string(data), meta.Mode
}
