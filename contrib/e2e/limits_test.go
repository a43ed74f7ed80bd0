//go:build e2e

package e2e_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestLimitsHoldInside(t *testing.T) {
	t.Parallel()
	o := newOwner(t, "limits")
	o.create(t, "--cpu", "1", "--memory", "256MiB", "--disk", "1GiB")
	r := o.container.GetResources()
	if r.GetCpu() != "1" || r.GetMemory() != "256MiB" || r.GetDisk() != "1GiB" || r.DiskEnforced == nil || r.GetDiskEnforced() != (o.driver != "dir") {
		t.Errorf("on %s the response says %v", o.driver, r)
	}
	if got := o.sh(t, "nproc"); got != "1" {
		t.Errorf("nproc says %s, want 1", got)
	}
	// The first is of control groups v1, the second of v2.
	if got := o.sh(t, "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null || true"); got != "268435456" {
		t.Errorf("the memory limit is %s, want 256 MiB", got)
	}
	// tail keeps a line whole in memory, and this one does not end.
	if r := o.ssh(t, "head -c 128M /dev/zero | tail -n 1 | wc -c"); strings.TrimSpace(r.stdout) != "134217728" {
		t.Errorf("128 MiB do not fit into 256: %+v", r)
	}
	if r := o.ssh(t, "head -c 512M /dev/zero | tail -n 1 | wc -c"); strings.TrimSpace(r.stdout) == "536870912" {
		t.Error("512 MiB fit into 256")
	}
}

// Not beside other tests: a btrfs that drops other subvolumes may lose count of
// its quota groups, and enforces none until they are counted anew.
func TestDiskLimitHoldsInside(t *testing.T) {
	o := newOwner(t, "disk")
	o.create(t, "--disk", "1GiB")
	if o.driver == "dir" { // which the response says, and TestDiskSizeOnDirIsNotPromised
		return
	}
	if out, err := exec.CommandContext(t.Context(), "btrfs", "quota", "rescan", "-w", filepath.Join(incusDir, "storage-pools", siteName)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const write = "dd if=/dev/zero of=big-%s bs=1M count=%s conv=fsync 2>&1"
	if r := o.ssh(t, strings.NewReplacer("%s", "200").Replace(write)); r.code != 0 {
		t.Errorf("200 MiB do not fit into 1 GiB: %+v", r)
	}
	o.sh(t, "sync") // btrfs counts at its next commit
	if m := o.metrics(t); m.GetDiskUsageBytes() < 200<<20 || m.GetDiskUsageBytes() > 1<<30 || m.GetDiskLimitBytes() != 1<<30 {
		t.Errorf("with 200 MiB written the metrics say %d of %d bytes", m.GetDiskUsageBytes(), m.GetDiskLimitBytes())
	}
	if r := o.ssh(t, strings.NewReplacer("%s", "1200").Replace(write)); r.code == 0 || !strings.Contains(strings.ToLower(r.stdout), "quota exceeded") {
		t.Errorf("1.2 GiB into 1 GiB: %+v, want the quota exceeded", r)
	}
	// Incus starts no container whose disk is full; what stops and removes it works.
	o.do(t, "stop", o.name, "--force")
	o.refused(t, []string{"disk quota exceeded"}, "start", o.name)
	o.do(t, "rm", o.name, "--force")
	o.wantNothing(t, o.name)
}

// A pool that can not enforce a size must not be said to. The daemon is given a
// profile with its root on such a pool.
func TestDiskSizeOnDirIsNotPromised(t *testing.T) {
	s := theSite(t)
	s.withDaemon(t)
	s.makeDirProfile(t)
	if err := s.daemon.end(sigTerm); err != nil {
		t.Fatal(err)
	}
	if err := s.configure("dir"); err != nil {
		t.Fatal(err)
	}
	s.restartDaemon(t)
	o := newOwner(t, "dir")
	o.create(t, "--disk", "1GiB")
	if r := o.container.GetResources(); r.GetDisk() != "1GiB" || r.DiskEnforced == nil || r.GetDiskEnforced() {
		t.Errorf("the response says %v", r)
	}
	if len(o.warnings) != 1 || !strings.Contains(o.warnings[0], "does not enforce the disk limit") {
		t.Errorf("warnings %q", o.warnings)
	}
	if got := o.do(t, "info", o.name).stdout; !strings.Contains(got, "1GiB (not enforced") {
		t.Errorf("info says %s", got)
	}
	if got := o.sh(t, "id -un"); got != o.name {
		t.Errorf("id says %q", got)
	}
}
