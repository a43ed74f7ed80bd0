package incusx

import (
	"context"
	"strconv"
	"strings"
	"time"
)

// HostUsage is what the host as a whole uses now. What can not be told is nil.
type HostUsage struct {
	At time.Time
	// CPUs is the number of logical cores, CPUNanoseconds the time that they were
	// in use since the boot.
	CPUs           int
	CPUNanoseconds *uint64
	// Load averages over 1, 5 and 15 minutes, or none.
	Load []float64
	// MemoryBytes is without caches that can be given back.
	MemoryBytes, MemoryTotalBytes *uint64
	// Of the pool on which the profile puts containers.
	DiskBytes, DiskTotalBytes *uint64
	OOMKills                  *uint64
	Pressure                  Pressure
}

// HostUsage returns what the host uses. It costs Incus two calls, for the pool.
func (c *Client) HostUsage(ctx context.Context) (HostUsage, error) {
	usage := c.HostCounters()
	server, err := c.connect(ctx)
	if err != nil {
		return usage, err
	}
	profile, _, err := server.GetProfile(c.cfg.Profile)
	if err != nil {
		return usage, classify("read the usage of the host", err)
	}
	if _, root := rootDisk(profile.Devices); root != nil {
		if space, err := server.GetStoragePoolResources(root["pool"]); err == nil { // not every driver can tell
			usage.DiskTotalBytes, usage.DiskBytes = &space.Space.Total, &space.Space.Used
		}
	}
	return usage, nil
}

// HostCounters is HostUsage without the disk, and without a question to Incus.
func (c *Client) HostCounters() HostUsage {
	proc := func(name string) string { return c.host().path("proc", name) }
	usage := HostUsage{At: time.Now()}
	usage.CPUs, usage.CPUNanoseconds = processors(text(proc("stat")))
	for word := range strings.FieldsSeq(text(proc("loadavg"))) {
		if load, err := strconv.ParseFloat(word, 64); err == nil && len(usage.Load) < 3 {
			usage.Load = append(usage.Load, load)
		}
	}
	total, available := field(proc("meminfo"), "MemTotal"), field(proc("meminfo"), "MemAvailable")
	if total != nil && available != nil && *available <= *total {
		used := *total - *available
		usage.MemoryTotalBytes, usage.MemoryBytes = times(total, 1024), times(&used, 1024)
	}
	usage.OOMKills = field(proc("vmstat"), "oom_kill")
	usage.Pressure = pressure(proc("pressure/cpu"), proc("pressure/memory"), proc("pressure/io"))
	return usage
}

// tick is the unit of /proc/stat, which is the same on all of Linux.
const tick = 10 * time.Millisecond

// processors reads /proc/stat: a line for each core, and one with the sums of
// user, nice, system, idle, iowait, irq, softirq and steal.
func processors(stat string) (cores int, inUse *uint64) {
	for line := range strings.Lines(stat) {
		words := strings.Fields(line)
		if len(words) < 9 || !strings.HasPrefix(words[0], "cpu") {
			continue
		}
		if words[0] != "cpu" {
			cores++
			continue
		}
		var busy uint64
		for i, word := range words[1:9] {
			n := parse(word)
			if n == nil {
				return cores, nil
			}
			if i != 3 && i != 4 { // idle, and idle until a disk answers
				busy += *n
			}
		}
		inUse = times(&busy, uint64(tick))
	}
	return cores, inUse
}
