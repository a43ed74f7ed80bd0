package incusx_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"

	"github.com/footprintai/containarium/incusx"
)

// run makes a container that runs and is ready.
func (s *site) run(t *testing.T, spec incusx.Spec) incusx.Container {
	t.Helper()
	ctx := bounded(t)
	s.create(t, spec)
	must(t, "start", s.client.Start(ctx, spec.Username))
	_, err := s.client.EnsureAccount(ctx, spec.Username, spec.SSHKeys)
	must(t, "ensure the account", err)
	address, err := s.client.WaitAddress(ctx, spec.Username, "")
	must(t, "wait for the address", err)
	container, err := s.client.Finish(ctx, spec.Username, incusx.Result{Address: address})
	must(t, "finish", err)
	return container
}

func (s *site) update(t *testing.T, user string, change incusx.Change) (incusx.Container, []string) {
	t.Helper()
	_, deferred, err := s.client.Update(bounded(t), user, change)
	must(t, "update", err)
	container, err := s.client.Get(bounded(t), user)
	must(t, "get", err)
	return container, deferred
}

// config reads keys of an instance's config.
func (s *site) config(t *testing.T, user string, keys ...string) map[string]string {
	t.Helper()
	instance, _, err := s.raw.GetInstance(incusx.InstanceName(user))
	must(t, "get the instance", err)
	config := map[string]string{}
	for _, key := range keys {
		if value, ok := instance.Config[key]; ok {
			config[key] = value
		}
	}
	return config
}

// updates: limits change while the guest runs, and all of a change or none of it
// is made.
func (s *site) updates(t *testing.T) {
	user := newUser()
	before := s.run(t, incusx.Spec{
		Username: user, Limits: incusx.Limits{CPU: "1.5", Memory: "512MiB", Disk: "2GiB"},
		Labels: map[string]string{"a": "1", "b": "2"}, AutoStart: true,
	})
	off := false
	after, deferred := s.update(t, user, incusx.Change{
		CPU: new("1"), Memory: new("256MiB"), Disk: new("3GiB"), Labels: map[string]string{"b": "3", "c": "4"}, RemoveLabels: []string{"a", "x"}, AutoStart: &off,
	})
	if len(deferred) > 0 {
		t.Errorf("put off to the next start: %v", deferred)
	}
	want := before
	want.Limits = incusx.Limits{CPU: "1", Memory: "256MiB", Disk: "3GiB"}
	want.Labels, want.AutoStart = map[string]string{"b": "3", "c": "4"}, false
	if diff := cmp.Diff(want, after); diff != "" {
		t.Errorf("after the update (-want +got):\n%s", diff)
	}
	// Of the fraction nothing is left.
	if diff := cmp.Diff(map[string]string{"limits.cpu": "1", "limits.memory": "256MiB"}, s.config(t, user, "limits.cpu", "limits.cpu.allowance", "limits.memory")); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	if before.DiskEnforced {
		s.shrink(t, user)
	}
	after, _ = s.update(t, user, incusx.Change{CPU: new(""), Memory: new(""), Disk: new("")})
	if after.Limits != (incusx.Limits{}) || after.DiskEnforced {
		t.Errorf("limits after all are taken away: %+v, enforced %t", after.Limits, after.DiskEnforced)
	}
	after, _ = s.update(t, user, incusx.Change{CPU: new("0.5"), Disk: new("2GiB")})
	if after.Limits != (incusx.Limits{CPU: "0.5", Disk: "2GiB"}) || after.DiskEnforced != before.DiskEnforced {
		t.Errorf("limits after some are set anew: %+v, enforced %t", after.Limits, after.DiskEnforced)
	}
}

// shrink: a disk of 3 GiB becomes one of 1 GiB, and none of less than it holds.
func (s *site) shrink(t *testing.T, user string) {
	t.Helper()
	ctx := bounded(t)
	_, _, err := s.client.Update(ctx, user, incusx.Change{Disk: new("50MiB"), Labels: map[string]string{"d": "5"}})
	wantErr(t, "shrink below what is in use", err, incusx.ErrInUse)
	if after, _ := s.update(t, user, incusx.Change{Disk: new("1GiB")}); after.Limits.Disk != "1GiB" || after.Labels["d"] != "" {
		t.Errorf("after a refused and a good shrink: disk %s, labels %v", after.Limits.Disk, after.Labels)
	}
	must(t, "stop", s.client.Stop(ctx, user, true, 0))
	_, _, err = s.client.Update(ctx, user, incusx.Change{Disk: new("900MiB")})
	wantErr(t, "shrink what is stopped", err, incusx.ErrStopped)
	if after, _ := s.update(t, user, incusx.Change{Disk: new("2GiB")}); after.Limits.Disk != "2GiB" {
		t.Errorf("grown while stopped: disk %s", after.Limits.Disk)
	}
	must(t, "start", s.client.Start(ctx, user))
}

// fullDisk: Incus writes into the disk of an instance, and so refuses what is not
// a larger size.
func (s *site) fullDisk(t *testing.T) {
	ctx := bounded(t)
	user := newUser()
	if !s.run(t, incusx.Spec{Username: user, Limits: incusx.Limits{Disk: "512MiB"}}).DiskEnforced {
		return // and so never full
	}
	code, _, _, err := s.client.Exec(ctx, user, []string{"dd", "if=/dev/urandom", "of=/root/full", "bs=1M", "count=1000", "conv=fsync"}, "")
	must(t, "fill the disk", err)
	if code == 0 {
		t.Fatal("1000 MiB fit into 512: the quota does not hold")
	}
	_, _, err = s.client.Update(ctx, user, incusx.Change{Labels: map[string]string{"a": "1"}})
	wantErr(t, "label what is full", err, incusx.ErrDiskFull)
	wantErr(t, "take a snapshot of what is full", s.client.CreateSnapshot(ctx, user, "full"), incusx.ErrDiskFull)
	if snapshots, err := s.client.Snapshots(ctx, user); err != nil || len(snapshots) > 0 {
		t.Errorf("snapshots after that: %v, %v", snapshots, err)
	}
	must(t, "stop", s.client.Stop(ctx, user, true, 0))
	wantErr(t, "start what is full", s.client.Start(ctx, user), incusx.ErrDiskFull)
	s.update(t, user, incusx.Change{Disk: new("700MiB"), Labels: map[string]string{"a": "1"}})
	must(t, "start what is full no longer", s.client.Start(ctx, user))
}

// snapshots: a restore brings back the disk and nothing else.
func (s *site) snapshots(t *testing.T) {
	ctx := bounded(t)
	user := newUser()
	first, _ := newKey(t)
	second, _ := newKey(t)
	created := s.run(t, incusx.Spec{Username: user, Limits: incusx.Limits{Disk: "1GiB", Memory: "256MiB"}, SSHKeys: []string{first}, Labels: map[string]string{"a": "1"}})
	s.put(t, user, "/root/before", "before")
	events := s.listen(t)
	must(t, "take a snapshot", s.client.CreateSnapshot(ctx, user, "s1"))
	events.wantOfSnapshot(t, user, "s1", api.EventLifecycleInstanceSnapshotCreated)
	wantErr(t, "take another of that name", s.client.CreateSnapshot(ctx, user, "s1"), incusx.ErrExists)
	wantErr(t, "of a container that is missing", s.client.CreateSnapshot(ctx, newUser(), "s1"), incusx.ErrNotFound)
	wantErr(t, "remove one that is missing", s.client.RemoveSnapshot(ctx, user, "s9"), incusx.ErrNotFound)

	s.put(t, user, "/root/after", "after")
	container, err := s.client.SetKeys(ctx, user, []string{second})
	must(t, "set the keys", err)
	must(t, "write the keys", s.client.SyncKeys(ctx, container))
	s.update(t, user, incusx.Change{Memory: new("300MiB"), Labels: map[string]string{"b": "2"}})
	must(t, "take a later snapshot", s.client.CreateSnapshot(ctx, user, "s2"))
	s.wantSnapshots(t, user, "s1", "s2")

	if _, resized, err := s.client.Restore(ctx, user, "s1"); err != nil || resized {
		t.Fatalf("restore: resized %t, %v", resized, err)
	}
	events.want(t, user, api.EventLifecycleInstanceRestored)
	s.restored(t, user, created, second)
	s.wantSnapshots(t, user, "s1", "s2")

	// The size of that time comes back where what is on the disk may need it.
	s.update(t, user, incusx.Change{Disk: new("900MiB")})
	container, resized, err := s.client.Restore(ctx, user, "s1")
	must(t, "restore to a larger disk", err)
	if resized != created.DiskEnforced || created.DiskEnforced && container.Limits.Disk != "1GiB" {
		t.Errorf("disk of %s, resized %t", container.Limits.Disk, resized)
	}

	must(t, "stop", s.client.Stop(ctx, user, true, 0))
	must(t, "take a snapshot of what is stopped", s.client.CreateSnapshot(ctx, user, "s3"))
	s.wantSnapshots(t, user, "s1", "s2", "s3!")
	_, _, err = s.client.Restore(ctx, user, "s2")
	must(t, "restore what is stopped", err)
	s.state(t, user, incusx.StateStopped)
	s.wantSnapshots(t, user, "s1", "s2!", "s3")
	must(t, "start", s.client.Start(ctx, user))
	s.wantSnapshots(t, user, "s1", "s2", "s3")
	s.wantFile(t, user, "/root/after", "after")

	must(t, "remove a snapshot", s.client.RemoveSnapshot(ctx, user, "s2"))
	events.wantOfSnapshot(t, user, "s2", api.EventLifecycleInstanceSnapshotDeleted)
	s.wantSnapshots(t, user, "s1", "s3")
	must(t, "remove a container with snapshots", s.client.Remove(ctx, user))
	events.wantOfSnapshot(t, user, "s1", api.EventLifecycleInstanceSnapshotDeleted)
}

// wantOfSnapshot waits for an event about a snapshot, which names it in its source
// alone.
func (l *listening) wantOfSnapshot(t *testing.T, user, snapshot, action string) {
	t.Helper()
	ctx := bounded(t)
	for {
		select {
		case event := <-l.seen:
			source, _, _ := strings.Cut(event.Source, "?")
			if event.Action == action && event.Name == "" && source == "/1.0/instances/"+incusx.InstanceName(user)+"/snapshots/"+snapshot {
				return
			}
		case <-ctx.Done():
			t.Fatalf("no event %s of snapshot %s of %s", action, snapshot, user)
		}
	}
}

// restored looks at a container that was restored to what it was when created,
// and whose key is another one since.
func (s *site) restored(t *testing.T, user string, created incusx.Container, key string) {
	t.Helper()
	got, err := s.client.Get(bounded(t), user)
	must(t, "get", err)
	want := created
	want.SSHKeys, want.Limits.Memory, want.Labels = []string{key}, "300MiB", map[string]string{"a": "1", "b": "2"}
	want.HostInterface = got.HostInterface // another at each start
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("after the restore (-want +got):\n%s", diff)
	}
	s.wantFile(t, user, "/root/before", "before")
	s.wantFile(t, user, "/root/after", "")
	s.wantFile(t, user, "/home/"+user+"/.ssh/authorized_keys", "# BEGIN containarium\n"+key+"\n# END containarium\n")
	profiles, err := s.raw.GetProfileNames()
	must(t, "list the profiles", err)
	if slices.ContainsFunc(profiles, func(name string) bool { return strings.Contains(name, user) }) {
		t.Errorf("profiles %v: what was put aside is still there", profiles)
	}
}

func (s *site) put(t *testing.T, user, path, content string) {
	t.Helper()
	must(t, "write "+path, s.raw.CreateInstanceFile(incusx.InstanceName(user), path, incus.InstanceFileArgs{Content: strings.NewReader(content), Mode: 0o600}))
}

// wantFile checks a file in a guest; an empty content is one that is missing.
func (s *site) wantFile(t *testing.T, user, path, want string) {
	t.Helper()
	body, _, err := s.raw.GetInstanceFile(incusx.InstanceName(user), path)
	if want == "" {
		wantErr(t, "read "+path, incusx.Classify("", err), incusx.ErrNotFound)
		return
	}
	must(t, "read "+path, err)
	content, err := io.ReadAll(body)
	must(t, "read "+path, errors.Join(err, body.Close()))
	if string(content) != want {
		t.Errorf("%s: got %q, want %q", path, content, want)
	}
}

// wantSnapshots checks the names of the snapshots; "!" marks what is current.
func (s *site) wantSnapshots(t *testing.T, user string, want ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	snapshots, err := s.client.Snapshots(ctx, user)
	must(t, "list the snapshots", err)
	var got []string
	for _, snapshot := range snapshots {
		name := snapshot.Name
		if snapshot.Current {
			name += "!"
		}
		got = append(got, name)
		if age := time.Since(snapshot.CreatedAt); age < 0 || age > 5*time.Minute {
			t.Errorf("snapshot %s was made at %s, %s ago", name, snapshot.CreatedAt, age)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("snapshots (-want +got):\n%s", diff)
	}
}
