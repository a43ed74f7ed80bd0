//go:build e2e

package e2e_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// A restore brings back the disk alone: what was removed of the keys since stays
// removed, on both hops.
func TestSnapshotAndRestore(t *testing.T) {
	t.Parallel()
	o := newOwner(t, "snapshot")
	o.create(t, "--memory", "512MiB")
	first, second := o.key, newKey(t, "second")
	o.sh(t, "echo before >file")
	if got := strings.TrimSpace(o.do(t, "snapshot", "create", o.name, "s1").stdout); got != "s1" {
		t.Errorf("snapshot create printed %q", got)
	}
	o.sh(t, "echo after >file && sync && touch more")
	o.do(t, "snapshot", "create", o.name)
	o.do(t, "key", "add", o.name, second.file+".pub")
	o.key = second
	o.do(t, "key", "rm", o.name, first.fingerprint())
	o.do(t, "set", o.name, "--memory", "600MiB", "--label", "a=b")

	o.refused(t, []string{"throws away everything written since 20", "--force"}, "snapshot", "restore", o.name, "s1")
	if got := o.sh(t, "cat file"); got != "after" {
		t.Errorf("after a refused restore the file has %q", got)
	}
	boot := o.booted(t)
	begun := time.Now()
	r := get(t, o.site, new(pb.RestoreSnapshotResponse), "snapshot", "restore", o.name, "s1", "--force")
	t.Logf("figure: restore_running %d ms", time.Since(begun).Milliseconds())
	if c := r.GetContainer(); c.GetState() != pb.ContainerState_CONTAINER_STATE_RUNNING || c.GetResources().GetMemory() != "600MiB" || c.GetLabels()["a"] != "b" {
		t.Errorf("restore returned %v", r)
	}
	if host, guest := o.opens(t, first); host || guest {
		t.Errorf("a removed key opens the host: %t, the guest: %t", host, guest)
	}
	o.ready(t, boot) // by the second key, at the same address, with the same host key
	if got := o.sh(t, "cat file; ls"); got != "before\nfile" {
		t.Errorf("after the restore: %q", got)
	}

	// Later snapshots are still there, and a stopped one needs no force.
	var list pb.ListSnapshotsResponse
	if got := get(t, o.site, &list, "snapshot", "ls", o.name).GetSnapshots(); len(got) != 2 || got[0].GetName() != "s1" {
		t.Fatalf("snapshots %v", got)
	}
	o.do(t, "stop", o.name)
	o.do(t, "snapshot", "create", o.name, "s3")
	o.do(t, "snapshot", "restore", o.name, "s3")
	o.do(t, "snapshot", "restore", o.name, list.GetSnapshots()[1].GetName(), "--force")
	o.do(t, "start", o.name)
	waitFor(t, "the owner to log in again", func() bool { return o.ssh(t, "true").code == 0 })
	if got := o.sh(t, "cat file; ls"); got != "after\nfile\nmore" {
		t.Errorf("after the restore to the later one: %q", got)
	}
	o.do(t, "snapshot", "rm", o.name, "s3")
	if got := o.do(t, "rm", o.name, "--force").stderr; !strings.Contains(got, "its 2 snapshots with it") {
		t.Errorf("rm says %q", got)
	}
	o.wantNothing(t, o.name)
}

// TestDaemonKilledInARestore: no key that was removed comes back by it.
func TestDaemonKilledInARestore(t *testing.T) {
	s := theSite(t)
	s.withDaemon(t)
	o := newOwner(t, "halfway")
	o.create(t)
	first, second := o.key, newKey(t, "second")
	o.do(t, "snapshot", "create", o.name, "s1")
	o.do(t, "key", "add", o.name, second.file+".pub")
	o.key = second
	o.do(t, "key", "rm", o.name, first.fingerprint())
	for name, point := range map[string]func() bool{
		"before it stops":      func() bool { return len(o.aside(t)) > 0 },
		"as it has stopped":    func() bool { return !o.runs(t) },
		"with the old config":  func() bool { return strings.Contains(o.configured(t, "user.containarium.ssh-keys"), first.public) },
		"with the new config":  func() bool { return strings.HasSuffix(o.configured(t, "user.containarium.restored"), " s1") },
		"as it has ended well": func() bool { return false },
	} {
		t.Run(name, func(t *testing.T) {
			o.do(t, "set", o.name, "--label", "at="+strings.ReplaceAll(name, " ", "-"))
			j := o.begin(t, "snapshot", "restore", o.name, "s1", "--force")
			waitFor(t, "the restore to get there", func() bool { return point() || !j.running() })
			_ = s.daemon.end(sigKill)
			j.wait()
			s.restartDaemon(t)
			waitFor(t, "what was put aside to be put back", func() bool { return len(o.aside(t)) == 0 })
			waitFor(t, "the owner to log in again", func() bool { return o.ssh(t, "true").code == 0 })
			if host, guest := o.opens(t, first); host || guest {
				t.Errorf("a removed key opens the host: %t, the guest: %t", host, guest)
			}
			c := o.info(t, o.name)
			if keys := c.GetSshKeys(); len(keys) != 1 || keys[0].GetFingerprint() != second.fingerprint() || c.GetLabels()["at"] != strings.ReplaceAll(name, " ", "-") {
				t.Errorf("info says %v", c)
			}
		})
	}
}

// aside are the profiles in which a restore has put the config aside.
func (o *owner) aside(t *testing.T) []string {
	t.Helper()
	names, err := o.incus().GetProfileNames()
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, "containarium-restore-") })
}

func (o *owner) configured(t *testing.T, key string) string {
	t.Helper()
	instance, _, err := o.incus().GetInstance(o.name + "-container")
	if err != nil {
		t.Fatal(err)
	}
	return instance.Config[key]
}
