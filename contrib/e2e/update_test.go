//go:build e2e

package e2e_test

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// memoryLimit prints the limit of the guest's control group, of v1 or of v2.
const memoryLimit = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null || true"

func TestLimitsChangeLive(t *testing.T) {
	t.Parallel()
	o := newOwner(t, "update")
	o.create(t, "--cpu", "1.5", "--memory", "256MiB", "--label", "old=1")
	session := o.openSession(t)
	boot := o.booted(t)
	r := get(t, o.site, new(pb.UpdateContainerResponse), "set", o.name, "--cpu", "1", "--memory", "512MiB", "--label", "team=web", "--unlabel", "old", "--autostart=false")
	if len(r.GetNeedsRestart()) > 0 {
		t.Errorf("not before a restart: %v", r.GetNeedsRestart())
	}
	c := o.info(t, o.name)
	if got := c.GetResources(); got.GetCpu() != "1" || got.GetMemory() != "512MiB" || c.GetLabels()["team"] != "web" || len(c.GetLabels()) != 1 || c.GetAutoStart() {
		t.Errorf("info says %v", c)
	}
	if got := o.sh(t, memoryLimit); got != "536870912" {
		t.Errorf("the memory limit is %s, want 512 MiB", got)
	}
	// Incus shares the cores out anew in the background.
	waitFor(t, "nproc to say 1", func() bool { return o.sh(t, "nproc") == "1" })
	o.do(t, "set", o.name, "--memory", "none", "--cpu", "none")
	if got := o.sh(t, memoryLimit); got == "536870912" {
		t.Error("the memory limit holds after it was taken away")
	}
	waitFor(t, "nproc to say all", func() bool { return o.sh(t, "nproc") == strconv.Itoa(runtime.NumCPU()) })
	if !session.echoes() {
		t.Error("the updates ended a session")
	}
	if got := o.booted(t); got != boot {
		t.Error("the updates booted it again")
	}
	// Less than is in use: refused as a whole.
	o.sh(t, "head -c 200M /dev/zero >/dev/shm/held")
	o.refused(t, []string{"less than what is in use"}, "set", o.name, "--memory", "64MiB", "--label", "a=b")
	if c := o.info(t, o.name); c.GetResources().GetMemory() != "" || c.GetLabels()["a"] != "" {
		t.Errorf("after a refused update info says %v", c)
	}
}

// Not beside other tests, as TestDiskLimitHoldsInside.
func TestDiskIsResized(t *testing.T) {
	o := newOwner(t, "resize")
	o.create(t, "--disk", "1GiB")
	if o.driver == "dir" {
		r := get(t, o.site, new(pb.UpdateContainerResponse), "set", o.name, "--disk", "2GiB")
		if got := r.GetContainer().GetResources(); got.DiskEnforced == nil || got.GetDiskEnforced() || len(r.GetWarnings()) != 1 {
			t.Errorf("on dir set says %v", r)
		}
		return
	}
	if out, err := exec.CommandContext(t.Context(), "btrfs", "quota", "rescan", "-w", filepath.Join(incusDir, "storage-pools", siteName)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	write := func(mib string) string {
		return strings.ToLower(o.ssh(t, "dd if=/dev/zero of=big-"+mib+" bs=1M count="+mib+" conv=fsync 2>&1").stdout)
	}
	if got := write("1200"); !strings.Contains(got, "quota exceeded") {
		t.Fatalf("1.2 GiB into 1 GiB: %s", got)
	}
	o.refused(t, []string{"disk is full", "--disk SIZE"}, "set", o.name, "--label", "a=b")
	o.do(t, "set", o.name, "--disk", "2GiB") // while it is full, and runs
	if got := write("300"); strings.Contains(got, "quota exceeded") {
		t.Errorf("300 MiB more into 2 GiB: %s", got)
	}
	o.refused(t, []string{"less than what is in use", "at least"}, "set", o.name, "--disk", "1GiB")
	if got := o.info(t, o.name).GetResources().GetDisk(); got != "2GiB" {
		t.Errorf("after a refused update the disk has %s", got)
	}

	// One that is full does not start; a larger disk mends that.
	if got := write("2500"); !strings.Contains(got, "quota exceeded") {
		t.Fatalf("2.5 GiB into 2 GiB: %s", got)
	}
	o.do(t, "stop", o.name, "--force")
	o.refused(t, []string{"disk quota exceeded", "--disk SIZE"}, "start", o.name)
	o.do(t, "set", o.name, "--disk", "3GiB")
	o.do(t, "start", o.name)
	waitFor(t, "the owner to log in again", func() bool { return o.ssh(t, "rm big-*").code == 0 })
	o.do(t, "set", o.name, "--disk", "1GiB")
	if got := write("1200"); !strings.Contains(got, "quota exceeded") {
		t.Errorf("1.2 GiB into 1 GiB that was 3: %s", got)
	}
}
