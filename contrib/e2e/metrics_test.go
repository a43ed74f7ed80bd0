//go:build e2e

package e2e_test

import (
	"os"
	"strings"
	"testing"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

func (o *owner) metrics(t *testing.T) *pb.ContainerMetrics {
	t.Helper()
	response := get(t, o.site, new(pb.GetMetricsResponse), "metrics", o.name)
	if len(response.GetMetrics()) != 1 {
		t.Fatalf("metrics %v", response)
	}
	return response.GetMetrics()[0]
}

func TestMetricsOfContainersAndHost(t *testing.T) {
	t.Parallel()
	o := newOwner(t, "metrics")
	o.create(t, "--cpu", "1", "--memory", "256MiB", "--disk", "1GiB")
	before := o.metrics(t)
	if before.GetMemoryLimitBytes() != 256<<20 || before.GetMemoryUsageBytes() == 0 || before.GetProcessCount() == 0 ||
		before.GetNetworkReceivedBytes() == 0 || before.GetNetworkSentBytes() == 0 || before.OomKills == nil || before.GetOomKills() != 0 {
		t.Errorf("metrics %v", before)
	}
	if enforced := o.driver != "dir"; enforced != (before.GetDiskLimitBytes() == 1<<30) || enforced && before.GetDiskUsageBytes() == 0 {
		t.Errorf("on %s the disk has %d of %d bytes", o.driver, before.GetDiskUsageBytes(), before.GetDiskLimitBytes())
	}
	if _, err := os.Stat("/proc/pressure/memory"); err == nil && (before.GetPressure() == nil || before.Pressure.Cpu == nil || before.Pressure.Memory == nil) {
		t.Errorf("the kernel tells the pressure, and the metrics do not: %v", before)
	}
	// What its owner sees.
	if lxcfs := o.ssh(t, "grep -q lxcfs /proc/mounts").code == 0; lxcfs {
		if got := o.sh(t, "awk '/^MemTotal:/ { print $2 }' /proc/meminfo"); got != "262144" {
			t.Errorf("free goes by %s kB, want 256 MiB", got)
		}
	}

	// tail keeps a line whole in memory, and this one does not end.
	if r := o.ssh(t, "head -c 512M /dev/zero | tail -n 1 | wc -c"); strings.TrimSpace(r.stdout) == "536870912" {
		t.Error("512 MiB fit into 256")
	}
	var after *pb.ContainerMetrics
	waitFor(t, "rates", func() bool {
		after = o.metrics(t)
		return after.CpuCores != nil && after.NetworkSentRate != nil
	})
	if after.GetOomKills() == 0 {
		t.Errorf("a process was killed for want of memory, and the metrics do not say so: %v", after)
	}
	if after.GetCpuUsageNanoseconds() <= before.GetCpuUsageNanoseconds() || after.GetNetworkReceivedBytes() <= before.GetNetworkReceivedBytes() {
		t.Errorf("before %v, after %v", before, after)
	}
	// Some more than the limit may go by within a period of the scheduler.
	if cores := after.GetCpuCores(); cores < 0 || cores > 1.5 {
		t.Errorf("%v cores of 1", cores)
	}

	all := get(t, o.site, new(pb.GetMetricsResponse), "metrics")
	host := all.GetHost()
	if host.GetCpuCount() == 0 || host.GetMemoryUsageBytes() == 0 || host.GetMemoryUsageBytes() > host.GetMemoryTotalBytes() || len(host.GetLoad()) != 3 || host.GetDiskTotalBytes() == 0 {
		t.Errorf("host %v", host)
	}
	if r := o.as(t, t.Context(), operator, "metrics", "-o", "json"); r.code != 0 {
		t.Errorf("as an operator: %+v", r)
	}

	o.do(t, "stop", o.name, "--force")
	stopped := o.metrics(t)
	if stopped.CpuUsageNanoseconds != nil || stopped.MemoryUsageBytes != nil || stopped.CpuCores != nil || stopped.OomKills != nil {
		t.Errorf("of a stopped container: %v", stopped)
	}
	if all := get(t, o.site, new(pb.GetMetricsResponse), "metrics"); len(all.GetMetrics()) == 0 {
		t.Error("a stopped container fails the whole")
	}
}
