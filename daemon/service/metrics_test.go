package service_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/footprintai/containarium/daemon/service"
	"github.com/footprintai/containarium/incusx/incustest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// count writes one of the counters of a user's container on the simulated host.
func (s *site) count(t *testing.T, username, name, content string) {
	t.Helper()
	group := incustest.GroupName("default", username+"-container")
	if err := os.WriteFile(filepath.Join(s.sim.HostRoot(), "sys/fs/cgroup", group, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *site) metrics(t *testing.T, username string) *pb.GetMetricsResponse {
	t.Helper()
	response, err := s.GetMetrics(t.Context(), &pb.GetMetricsRequest{Username: username})
	if err != nil {
		t.Fatal(err)
	}
	if response.GetTakenAt() == nil {
		t.Error("nothing says when they were taken")
	}
	return response
}

func TestMetricsComeFromTheKernel(t *testing.T) {
	s := newSite(t, incustest.Options{HostRoot: t.TempDir()})
	for _, username := range []string{"alice", "bob"} {
		if _, err := s.CreateContainer(t.Context(), &pb.CreateContainerRequest{
			Username: username, Resources: &pb.Resources{Memory: "1GiB", Disk: "2GiB"},
		}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.StopContainer(t.Context(), &pb.StopContainerRequest{Username: "bob", Force: true}); err != nil {
		t.Fatal(err)
	}
	s.count(t, "alice", "memory.events", "oom_kill 2\n")
	s.sim.Forget()
	all := s.metrics(t, "").GetMetrics()
	if len(all) != 2 || all[0].GetUsername() != "alice" {
		t.Fatalf("metrics %v", all)
	}
	alice, bob := all[0], all[1]
	if alice.GetCpuUsageNanoseconds() != 1_500_000_000 || alice.GetOomKills() != 2 || alice.GetPressure().GetCpu() != 1.5 || alice.GetMemoryLimitBytes() != 1<<30 ||
		alice.GetNetworkReceivedBytes() != 687 || alice.GetDiskReadBytes() != 4096 || alice.GetDiskLimitBytes() != 2<<30 || alice.GetDiskUsageBytes() == 0 {
		t.Errorf("alice: %v", alice)
	}
	if alice.CpuCores != nil || alice.NetworkReceivedRate != nil {
		t.Errorf("rates without a look before: %v", alice)
	}
	if bob.CpuUsageNanoseconds != nil || bob.OomKills != nil || bob.Pressure != nil || bob.MemoryUsageBytes != nil || bob.GetDiskUsageBytes() == 0 {
		t.Errorf("bob, who does not run: %v", bob)
	}
	if n := s.sim.Requests("GET", "/1.0/instances/*/state"); n != 2 {
		t.Errorf("for the disks Incus was asked %d times, want 2", n)
	}
	s.sim.Forget()
	if all := s.metrics(t, "").GetMetrics(); all[0].GetDiskUsageBytes() == 0 {
		t.Errorf("the disk is forgotten: %v", all[0])
	}
	// What else is asked about instances is for the copy, which may still hear of bob.
	if n := s.sim.Requests("", "/1.0/instances/*/state"); n != 0 {
		t.Errorf("the second time Incus was asked %d times", n)
	}

	s.count(t, "alice", "cpu.stat", "usage_usec 3500000\n")
	s.count(t, "alice", "io.stat", "8:0 rbytes=1004096 wbytes=8192\n")
	var one *pb.ContainerMetrics
	eventually(t, func() bool {
		one = s.metrics(t, "alice").GetMetrics()[0]
		return one.CpuCores != nil
	})
	// Over a second or more, by as much.
	if cores := one.GetCpuCores(); cores <= 0 || cores > 2 || one.GetDiskReadRate() < cores/2*1e6-1 || one.GetDiskReadRate() > cores/2*1e6+1 || one.DiskWrittenRate == nil || one.GetDiskWrittenRate() != 0 {
		t.Errorf("rates: %v", one)
	}
}

// Who may not see the system hears nothing of the host.
func TestHostMetricsAreForWhoMaySeeTheSystem(t *testing.T) {
	sees := true
	s := newSite(t, incustest.Options{}, func(c *service.Config) {
		c.May = func(_ context.Context, rpc, username string) bool {
			return rpc == "ContainerService/GetMetrics" || sees && rpc == "ContainerService/GetSystemInfo" && username == ""
		}
	})
	s.create(t, "alice")
	if host := s.metrics(t, "").GetHost(); host.GetDiskTotalBytes() == 0 {
		t.Errorf("host %v", host)
	}
	if host := s.metrics(t, "alice").GetHost(); host != nil {
		t.Errorf("with a container of one user: %v", host)
	}
	sees = false
	if host := s.metrics(t, "").GetHost(); host != nil {
		t.Errorf("without the right: %v", host)
	}
}

// A disk that Incus is slow to tell of is left out.
func TestMetricsDoNotWaitForDisks(t *testing.T) {
	s := newSite(t, incustest.Options{HostRoot: t.TempDir()})
	if _, err := s.CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: "alice", Resources: &pb.Resources{Disk: "2GiB"}}); err != nil {
		t.Fatal(err)
	}
	clear := s.sim.Fail(incustest.Fault{Method: "GET", Path: "/1.0/instances/*/state", Delay: time.Hour})
	alice := s.metrics(t, "").GetMetrics()[0]
	if alice.DiskUsageBytes != nil || alice.CpuUsageNanoseconds == nil {
		t.Errorf("metrics %v", alice)
	}
	clear()
	if alice := s.metrics(t, "").GetMetrics()[0]; alice.GetDiskUsageBytes() == 0 {
		t.Errorf("metrics later %v", alice)
	}
}

// TestSample: the daemon looks by itself, and so whoever asks once gets rates.
func TestSample(t *testing.T) {
	s := newSite(t, incustest.Options{HostRoot: t.TempDir()})
	s.create(t, "alice")
	s.Look(t.Context())
	s.count(t, "alice", "cpu.stat", "usage_usec 3500000\n")
	var alice *pb.ContainerMetrics
	eventually(t, func() bool {
		alice = s.metrics(t, "").GetMetrics()[0]
		return alice.CpuCores != nil
	})
	if alice.GetCpuCores() == 0 {
		t.Error("the rate is not since the daemon looked by itself")
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Sample(ctx) // which ends
}
