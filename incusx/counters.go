package incusx

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/lxc/incus/v6/shared/api"
)

// The kernel's counters of a container are those of its control group on the
// host, which LXC names after it. They are files that anybody may read, at some
// 25 µs each, where Incus needs milliseconds.

// host is where the host's /proc and /sys are.
type host struct{ root string }

func (c *Client) host() host { return host{c.cfg.HostRoot} }

func (h host) path(elements ...string) string {
	return filepath.Join(append([]string{"/", h.root}, elements...)...)
}

// payload is the name of the control group of an instance's processes. Where one
// of an earlier run could not be removed LXC takes another name, which might be
// another instance's: those counters are unknown.
func (c *Client) payload(instance string) string {
	if c.cfg.Project == api.ProjectDefaultName {
		return "lxc.payload." + instance
	}
	return "lxc.payload." + c.cfg.Project + "_" + instance
}

// count replaces what usage says by the kernel's counters where this host shows
// them, and reports whether it does; without all only what grows, and processes.
func (c *Client) count(usage *Usage, all bool) bool {
	if !usage.runs() {
		return false
	}
	group := group{c.host(), c.payload(usage.Container.Name)}
	counted := *usage
	if _, err := os.Stat(group.path("sys/fs/cgroup/cgroup.controllers")); err == nil {
		group.unified(&counted, all)
	} else {
		group.split(&counted, all)
	}
	if counted.Processes == nil || *counted.Processes == 0 { // an empty group is one of an earlier run
		return false
	}
	if usage.Container.Limits.Memory == "" {
		counted.MemoryMaxBytes = nil
	}
	if nic := usage.Container.HostInterface; nic != "" && nic == filepath.Base(nic) {
		// What the host's end sends is what the container receives.
		counted.ReceivedBytes = number(group.path("sys/class/net", nic, "statistics/tx_bytes"))
		counted.SentBytes = number(group.path("sys/class/net", nic, "statistics/rx_bytes"))
	}
	*usage = counted
	return true
}

// group is a control group of a host.
type group struct {
	host
	name string
}

// unified reads control groups v2, where a group counts what is below it too.
func (g group) unified(u *Usage, all bool) {
	file := func(name string) string { return g.path("sys/fs/cgroup", g.name, name) }
	u.CPUNanoseconds = times(field(file("cpu.stat"), "usage_usec"), 1000)
	u.Processes = number(file("pids.current"))
	u.ReadBytes, u.WrittenBytes = ioStat(file("io.stat"))
	if !all {
		return
	}
	u.MemoryBytes = number(file("memory.current"))
	u.MemoryMaxBytes = number(file("memory.max"))
	u.OOMKills = field(file("memory.events"), "oom_kill")
	u.Pressure = pressure(file("cpu.pressure"), file("memory.pressure"), file("io.pressure"))
}

// split reads control groups v1, one tree for each controller; where systemd has
// a v2 tree beside them that has the pressure.
func (g group) split(u *Usage, all bool) {
	file := func(controller, name string) string { return g.path("sys/fs/cgroup", controller, g.name, name) }
	u.CPUNanoseconds = number(file("cpuacct", "cpuacct.usage"))
	u.Processes = number(file("pids", "pids.current"))
	u.ReadBytes, u.WrittenBytes = ioService(file("blkio", "blkio.throttle.io_service_bytes_recursive"))
	if !all {
		return
	}
	u.MemoryBytes = number(file("memory", "memory.usage_in_bytes"))
	u.MemoryMaxBytes = number(file("memory", "memory.limit_in_bytes"))
	u.OOMKills = killsBelow(file("memory", ""))
	u.Pressure = pressure(file("unified", "cpu.pressure"), file("unified", "memory.pressure"), file("unified", "io.pressure"))
}

// mostGroups bounds a walk over control groups: who is root in a container may
// make as many as they like.
const mostGroups = 1000

// killsBelow sums OOM kills over a v1 group and those below it, since each counts
// its own. Those of groups that have ended are not counted any more.
func killsBelow(dir string) *uint64 {
	var sum *uint64
	seen := 0
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil // it ended
		case !entry.IsDir():
			return nil
		case seen == mostGroups:
			return fs.SkipAll
		}
		seen++
		if kills := field(filepath.Join(path, "memory.oom_control"), "oom_kill"); kills != nil {
			if sum == nil {
				sum = new(uint64)
			}
			*sum += *kills
		}
		return nil
	})
	return sum
}

// text is a file of the kernel, "" where it can not be read.
func text(path string) string {
	data, _ := os.ReadFile(path)
	return string(data)
}

// number is a file that is one number; nil where it is not, as in "max".
func number(path string) *uint64 { return parse(strings.TrimSpace(text(path))) }

func parse(s string) *uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return nil
	}
	return &n
}

// field is the number after a key at the beginning of a line.
func field(path, key string) *uint64 {
	for line := range strings.Lines(text(path)) {
		if words := strings.Fields(line); len(words) >= 2 && strings.TrimSuffix(words[0], ":") == key {
			return parse(words[1])
		}
	}
	return nil
}

func times(n *uint64, factor uint64) *uint64 {
	if n != nil {
		*n *= factor
	}
	return n
}

// ioStat sums up lines such as "8:0 rbytes=1 wbytes=2 rios=3 wios=4".
func ioStat(path string) (read, written *uint64) {
	if _, err := os.Stat(path); err != nil {
		return nil, nil
	}
	read, written = new(uint64), new(uint64)
	for word := range strings.FieldsSeq(text(path)) {
		key, value, _ := strings.Cut(word, "=")
		if n := parse(value); n != nil {
			switch key {
			case "rbytes":
				*read += *n
			case "wbytes":
				*written += *n
			}
		}
	}
	return read, written
}

// ioService sums up lines such as "8:0 Read 1". Without any nothing is known: v1
// does not count what is written through the cache.
func ioService(path string) (read, written *uint64) {
	for line := range strings.Lines(text(path)) {
		words := strings.Fields(line)
		if len(words) != 3 {
			continue
		}
		n := parse(words[2])
		if n == nil {
			continue
		}
		switch words[1] {
		case "Read":
			read = sum(read, *n)
		case "Write":
			written = sum(written, *n)
		}
	}
	return read, written
}

func sum(total *uint64, n uint64) *uint64 {
	if total != nil {
		n += *total
	}
	return &n
}

// pressure reads PSI files, as in "some avg10=0.12 avg60=0.00 ...".
func pressure(cpu, memory, io string) Pressure {
	return Pressure{some(cpu), some(memory), some(io)}
}

func some(path string) *float64 {
	for line := range strings.Lines(text(path)) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "some" {
			continue
		}
		if at := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "avg10=") }); at > 0 {
			if percent, err := strconv.ParseFloat(strings.TrimPrefix(words[at], "avg10="), 64); err == nil {
				return &percent
			}
		}
	}
	return nil
}
