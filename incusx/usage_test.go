package incusx_test

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/incusx/incustest"
)

// TestUsageByIncus: where the host shows no counters.
func TestUsageByIncus(t *testing.T) {
	r := newRig(t)
	r.runAlice(t)
	r.init(t, incusx.Spec{Username: "bob", Limits: incusx.Limits{Memory: "1GiB", Disk: "5GiB"}})
	_, err := r.Finish(bounded(t), "bob", incusx.Result{})
	must(t, "finish", err)

	alice, err := r.Usage(t.Context(), "alice")
	must(t, "usage", err)
	if alice.CPUNanoseconds == nil || alice.MemoryBytes == nil || alice.Processes == nil || alice.ReceivedBytes == nil || alice.SentBytes == nil {
		t.Errorf("usage of a running container has gaps: %+v", alice)
	}
	if alice.MemoryMaxBytes != nil || alice.DiskBytes != nil || alice.DiskMaxBytes != nil {
		t.Errorf("limits that were not set: memory %v, disk %v of %v", alice.MemoryMaxBytes, alice.DiskBytes, alice.DiskMaxBytes)
	}
	if alice.OOMKills != nil || alice.Pressure != (incusx.Pressure{}) || alice.ReadBytes != nil {
		t.Errorf("figures that Incus does not tell: %+v", alice)
	}
	bob, err := r.Usage(t.Context(), "bob")
	must(t, "usage", err)
	if bob.CPUNanoseconds != nil || bob.MemoryBytes != nil || bob.MemoryMaxBytes != nil || bob.Processes != nil || bob.SentBytes != nil {
		t.Errorf("usage of a stopped container: %+v, want but the disk", bob)
	}
	if bob.DiskBytes == nil || bob.DiskMaxBytes == nil || *bob.DiskMaxBytes != 5<<30 {
		t.Errorf("disk of a stopped container: %v of %v", bob.DiskBytes, bob.DiskMaxBytes)
	}
	must(t, "start", r.Start(t.Context(), "bob"))
	containers, err := r.List(t.Context())
	must(t, "list", err)
	all, err := r.UsageAll(t.Context(), containers)
	must(t, "usage of all", err)
	if len(all) != 2 || all[1].Container.Username != "bob" || all[1].MemoryMaxBytes == nil || *all[1].MemoryMaxBytes != 1<<30 || all[1].DiskBytes == nil {
		t.Errorf("usage of all: %+v", all)
	}
}

// TestUsageAllCostsIncusNothing: the kernel's counters are files.
func TestUsageAllCostsIncusNothing(t *testing.T) {
	r := newRig(t, incustest.Options{HostRoot: t.TempDir()})
	r.runAlice(t)
	r.init(t, incusx.Spec{Username: "bob"})
	containers, err := r.List(t.Context())
	must(t, "list", err)
	r.sim.Forget()
	all, err := r.UsageAll(t.Context(), containers)
	must(t, "usage of all", err)
	if n := r.sim.Requests("", ""); n > 0 {
		t.Errorf("Incus was asked %d times", n)
	}
	if alice := all[0]; alice.CPUNanoseconds == nil || *alice.CPUNanoseconds != 1_500_000_000 || alice.OOMKills == nil || *alice.OOMKills != 0 {
		t.Errorf("alice: %+v", alice)
	}
	if bob := all[1]; bob.Container.Username != "bob" || bob.CPUNanoseconds != nil || bob.Processes != nil {
		t.Errorf("bob, who does not run: %+v", bob)
	}
	must(t, "stop", r.Stop(t.Context(), "alice", true, 0))
	if usages, known := r.Counters(containers); known || usages[0].CPUNanoseconds != nil {
		t.Errorf("one that has stopped since it was listed: known %t, %+v", known, usages[0])
	}
}

// figures are what a kernel counts, as text for a comparison.
func figures(u incusx.Usage) map[string]any {
	got := map[string]any{}
	for name, value := range map[string]*uint64{
		"cpu": u.CPUNanoseconds, "memory": u.MemoryBytes, "memory max": u.MemoryMaxBytes, "processes": u.Processes, "oom": u.OOMKills,
		"received": u.ReceivedBytes, "sent": u.SentBytes, "read": u.ReadBytes, "written": u.WrittenBytes,
	} {
		if value != nil {
			got[name] = *value
		}
	}
	for name, value := range map[string]*float64{"cpu pressure": u.Pressure.CPU, "memory pressure": u.Pressure.Memory, "io pressure": u.Pressure.IO} {
		if value != nil {
			got[name] = *value
		}
	}
	return got
}

const psi = "some avg10=%s avg60=0.00 avg300=0.00 total=9\nfull avg10=9.00 avg60=0.00 avg300=0.00 total=9\n"

func TestCounters(t *testing.T) {
	container := incusx.Container{
		Name: "alice-container", Username: "alice", State: incusx.StateRunning, HostInterface: "veth1", Limits: incusx.Limits{Memory: "1GiB"},
	}
	network := map[string]string{
		"sys/class/net/veth1/statistics/rx_bytes": "20\n", "sys/class/net/veth1/statistics/tx_bytes": "10\n",
	}
	for _, test := range []struct {
		name  string
		files map[string]string
		edit  func(*incusx.Container)
		want  map[string]any // none: unknown
	}{
		{
			name: "v2",
			files: map[string]string{
				"cgroup.controllers": "cpu\n", "GROUP/cpu.stat": "usage_usec 5\nuser_usec 3\n", "GROUP/memory.current": "100\n", "GROUP/memory.max": "1073741824\n",
				"GROUP/memory.events": "low 0\noom 4\noom_kill 3\noom_group_kill 7\n", "GROUP/pids.current": "8\n",
				"GROUP/io.stat":      "8:0 rbytes=1 wbytes=2 rios=9 wios=9 dbytes=0 dios=0\n8:16 rbytes=10 wbytes=20 rios=9 wios=9\n253:0 \n",
				"GROUP/cpu.pressure": strings.ReplaceAll(psi, "%s", "1.50"), "GROUP/memory.pressure": strings.ReplaceAll(psi, "%s", "0.00"),
			},
			want: map[string]any{
				"cpu": uint64(5000), "memory": uint64(100), "memory max": uint64(1 << 30), "oom": uint64(3), "processes": uint64(8), "read": uint64(11), "written": uint64(22),
				"cpu pressure": 1.5, "memory pressure": 0.0, "received": uint64(10), "sent": uint64(20),
			},
		},
		{
			name: "v1",
			files: map[string]string{
				"cpuacct/GROUP/cpuacct.usage": "5000\n", "memory/GROUP/memory.usage_in_bytes": "100\n", "memory/GROUP/memory.limit_in_bytes": "1073741824\n",
				"memory/GROUP/memory.oom_control":                          "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
				"memory/GROUP/system.slice/ssh.service/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
				"pids/GROUP/pids.current":                                  "8\n", "unified/GROUP/io.pressure": strings.ReplaceAll(psi, "%s", "99.00"),
				"blkio/GROUP/blkio.throttle.io_service_bytes_recursive": "8:0 Read 1\n8:0 Write 2\n8:0 Total 3\n8:16 Read 10\nTotal 13\n",
			},
			want: map[string]any{
				"cpu": uint64(5000), "memory": uint64(100), "memory max": uint64(1 << 30), "oom": uint64(3), "processes": uint64(8), "read": uint64(11), "written": uint64(2),
				"io pressure": 99.0, "received": uint64(10), "sent": uint64(20),
			},
		},
		{
			name:  "no limit, and what v1 does not count",
			files: map[string]string{"memory/GROUP/memory.limit_in_bytes": "9223372036854771712\n", "pids/GROUP/pids.current": "8\n", "blkio/GROUP/blkio.throttle.io_service_bytes_recursive": "Total 0\n"},
			edit:  func(c *incusx.Container) { c.Limits.Memory = "" },
			want:  map[string]any{"processes": uint64(8), "received": uint64(10), "sent": uint64(20)},
		},
		{
			name:  "a NIC that is not the host's, and garbage",
			files: map[string]string{"cgroup.controllers": "", "GROUP/pids.current": "8\n", "GROUP/memory.current": "x\n", "GROUP/memory.max": "max\n", "GROUP/cpu.stat": "usage_usec\n", "GROUP/cpu.pressure": "some\n"},
			edit:  func(c *incusx.Container) { c.HostInterface = "../net/veth1" },
			want:  map[string]any{"processes": uint64(8)},
		},
		{name: "the group of an earlier run", files: map[string]string{"cgroup.controllers": "", "GROUP/pids.current": "0\n", "GROUP/cpu.stat": "usage_usec 5\n"}},
		{name: "no group", files: map[string]string{"cgroup.controllers": ""}},
		{name: "nothing"},
	} {
		for project, group := range map[string]string{"default": "lxc.payload.alice-container", "p": "lxc.payload.p_alice-container"} {
			root := t.TempDir()
			for name, content := range test.files {
				lay(t, filepath.Join(root, "sys/fs/cgroup", strings.ReplaceAll(name, "GROUP", group)), content)
			}
			for name, content := range network {
				lay(t, filepath.Join(root, name), content)
			}
			container := container
			if test.edit != nil {
				test.edit(&container)
			}
			client := incusx.New(incusx.Config{Project: project, HostRoot: root})
			usages, known := client.Counters([]incusx.Container{container})
			if known != (test.want != nil) {
				t.Errorf("%s: known: %t", test.name, known)
			}
			want := test.want
			if want == nil {
				want = map[string]any{}
			}
			if diff := cmp.Diff(want, figures(usages[0])); diff != "" {
				t.Errorf("%s in project %s (-want +got):\n%s", test.name, project, diff)
			}
			growing := maps.Clone(want)
			maps.DeleteFunc(growing, func(figure string, _ any) bool {
				return strings.HasPrefix(figure, "memory") || strings.HasSuffix(figure, "pressure") || figure == "oom"
			})
			if diff := cmp.Diff(growing, figures(client.Totals([]incusx.Container{container})[0])); diff != "" {
				t.Errorf("%s in project %s, totals (-want +got):\n%s", test.name, project, diff)
			}
		}
	}
}

// lay writes a file and the folders above it.
func lay(t *testing.T, path, content string) {
	t.Helper()
	must(t, "make a folder", os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, "write a file", os.WriteFile(path, []byte(content), 0o600))
}

func TestHostCounters(t *testing.T) {
	root := t.TempDir()
	for name, content := range map[string]string{
		"stat":         "cpu  100 1 20 5000 700 3 4 5 60 7\ncpu0 1 1 1 1 1 1 1 1\ncpu1 1 1 1 1 1 1 1 1\nintr 5\n",
		"loadavg":      "0.50 1.25 2.00 3/400 5000\n",
		"meminfo":      "MemTotal:        1000 kB\nMemFree:          100 kB\nMemAvailable:     600 kB\n",
		"vmstat":       "nr_free_pages 1\noom_kill 13\n",
		"pressure/cpu": strings.ReplaceAll(psi, "%s", "16.42"),
	} {
		lay(t, filepath.Join(root, "proc", name), content)
	}
	host := incusx.New(incusx.Config{HostRoot: root}).HostCounters()
	if host.CPUs != 2 || host.CPUNanoseconds == nil || *host.CPUNanoseconds != 133*10_000_000 {
		t.Errorf("%d cores, %v", host.CPUs, host.CPUNanoseconds)
	}
	if diff := cmp.Diff([]float64{0.5, 1.25, 2}, host.Load); diff != "" {
		t.Error(diff)
	}
	if *host.MemoryTotalBytes != 1000<<10 || *host.MemoryBytes != 400<<10 || *host.OOMKills != 13 || *host.Pressure.CPU != 16.42 || host.Pressure.IO != nil {
		t.Errorf("host %+v", host)
	}
	none := incusx.New(incusx.Config{HostRoot: t.TempDir()}).HostCounters()
	if none.CPUNanoseconds != nil || none.Load != nil || none.MemoryBytes != nil || none.OOMKills != nil || none.Pressure != (incusx.Pressure{}) {
		t.Errorf("a host that tells nothing: %+v", none)
	}
	r := newRig(t)
	pool, err := r.HostUsage(t.Context())
	must(t, "usage of the host", err)
	if pool.DiskTotalBytes == nil || pool.DiskBytes == nil {
		t.Errorf("the pool: %+v", pool)
	}
}
