package incustest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/lxc/incus/v6/shared/api"
)

// counters are the files with which a kernel with control groups v2 counts what
// an instance uses, below Options.HostRoot; GROUP, NIC and MEMORY stand for what
// is the instance's own.
var counters = map[string]string{
	"sys/fs/cgroup/cgroup.controllers":      "cpu io memory pids\n",
	"sys/fs/cgroup/GROUP/cpu.stat":          "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\n",
	"sys/fs/cgroup/GROUP/cpu.pressure":      "some avg10=1.50 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
	"sys/fs/cgroup/GROUP/memory.current":    "62914560\n",
	"sys/fs/cgroup/GROUP/memory.max":        "MEMORY\n",
	"sys/fs/cgroup/GROUP/memory.events":     "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n",
	"sys/fs/cgroup/GROUP/memory.pressure":   "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
	"sys/fs/cgroup/GROUP/io.stat":           "8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n",
	"sys/fs/cgroup/GROUP/io.pressure":       "some avg10=0.25 avg60=0.00 avg300=0.00 total=1\n",
	"sys/fs/cgroup/GROUP/pids.current":      "11\n",
	"sys/class/net/NIC/statistics/rx_bytes": "1246\n",
	"sys/class/net/NIC/statistics/tx_bytes": "687\n",
}

// HostRoot is the folder of Options.HostRoot.
func (s *Server) HostRoot() string { return s.options.HostRoot }

// GroupName is the name of the control group of an instance.
func GroupName(project, instance string) string {
	if project == api.ProjectDefaultName {
		return "lxc.payload." + instance
	}
	return "lxc.payload." + project + "_" + instance
}

// beginCounters makes the files of an instance that boots, endCounters removes
// them. Server.mu is held.
func (s *Server) beginCounters(inst *instance) error {
	if s.options.HostRoot == "" {
		return nil
	}
	config, _ := inst.project.expand(&inst.put)
	memory := "max"
	if limit := config["limits.memory"]; limit != "" {
		memory = strconv.FormatInt(sizeOf(limit), 10)
	}
	own := strings.NewReplacer("GROUP", GroupName(inst.project.name, inst.name), "NIC", hostNIC(inst), "MEMORY", memory)
	for name, content := range counters {
		path := filepath.Join(s.options.HostRoot, own.Replace(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(own.Replace(content)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) endCounters(inst *instance) {
	if s.options.HostRoot != "" {
		_ = os.RemoveAll(filepath.Join(s.options.HostRoot, "sys/fs/cgroup", GroupName(inst.project.name, inst.name)))
		_ = os.RemoveAll(filepath.Join(s.options.HostRoot, "sys/class/net", hostNIC(inst)))
	}
}

// hostNIC is the host's end of an instance's NIC.
func hostNIC(inst *instance) string { return inst.put.Config["volatile.eth0.host_name"] }
