package incusx

import (
	"context"
	"slices"
	"time"

	"github.com/lxc/incus/v6/shared/api"
)

// Usage is what a container uses now. What the host can not tell is nil, never
// 0; of a stopped container everything but the disk is.
type Usage struct {
	Container Container
	At        time.Time
	// CPUNanoseconds is the CPU time used since the start.
	CPUNanoseconds              *uint64
	MemoryBytes, MemoryMaxBytes *uint64
	// DiskMaxBytes is the size of the root disk where the storage holds it.
	DiskBytes, DiskMaxBytes *uint64
	// Totals since the start over the NIC, or all interfaces but loopback where
	// Incus was asked.
	ReceivedBytes, SentBytes *uint64
	// Totals since the start over all block devices.
	ReadBytes, WrittenBytes *uint64
	Processes               *uint64
	// OOMKills are processes that the kernel killed for want of memory since the
	// start.
	OOMKills *uint64
	Pressure Pressure
}

// Pressure is the share of the last ten seconds in which some process waited for
// a resource, in percent.
type Pressure struct{ CPU, Memory, IO *float64 }

// Usage returns what a user's container uses. It costs Incus about 20 ms, most
// of it for the disk.
func (c *Client) Usage(ctx context.Context, username string) (Usage, error) {
	server, err := c.connect(ctx)
	if err != nil {
		return Usage{}, err
	}
	container, instance, _, err := get(server, username)
	if err != nil {
		return Usage{}, err
	}
	state, _, err := server.GetInstanceState(instance.Name)
	if err != nil {
		return Usage{}, classify("read the usage of "+instance.Name, err)
	}
	usage := usageOf(container, state)
	c.count(&usage, true)
	return usage, nil
}

// Counters returns what each of containers uses, in their order, by the kernel's
// counters alone: without the disk, and without a question to Incus. known is
// false where containers run and this host shows the counters of none.
func (c *Client) Counters(containers []Container) (usages []Usage, known bool) {
	usages = make([]Usage, len(containers))
	running := 0
	for i, container := range containers {
		usages[i] = usageOf(container, nil)
		if usages[i].runs() {
			running++
			known = c.count(&usages[i], true) || known
		}
	}
	return usages, known || running == 0
}

// Totals is Counters of what grows alone, for rates: at a third of the cost.
func (c *Client) Totals(containers []Container) []Usage {
	usages := make([]Usage, len(containers))
	for i, container := range containers {
		usages[i] = usageOf(container, nil)
		c.count(&usages[i], false)
	}
	return usages
}

// elsewhereTimeout bounds the question for what other members of a cluster use: for
// one that was lost just now Incus waits for longer.
const elsewhereTimeout = 5 * time.Second

// UsageAll returns what each of containers uses, in their order. Where the host
// shows the kernel's counters it costs Incus nothing, and lacks the disk; else it
// costs one call, whose time grows by about 15 ms for each instance. What other
// members of a cluster do not tell in time is unknown.
func (c *Client) UsageAll(ctx context.Context, containers []Container) ([]Usage, error) {
	usages, known := c.Counters(containers)
	elsewhere := slices.ContainsFunc(usages, func(u Usage) bool { return u.elsewhere() })
	if known && !elsewhere {
		return usages, nil
	}
	if elsewhere {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, elsewhereTimeout)
		defer cancel()
	}
	server, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	instances, err := server.GetInstancesFull(api.InstanceTypeContainer)
	if elsewhere && ctx.Err() != nil {
		return usages, nil
	}
	if err != nil {
		return nil, classify("read the usage of the containers", err)
	}
	states := map[string]*api.InstanceState{}
	for i := range instances {
		states[instances[i].Name] = instances[i].State
	}
	for i := range usages {
		if !known || usages[i].elsewhere() {
			usages[i] = usageOf(containers[i], states[containers[i].Name])
		}
	}
	return usages, nil
}

// usageOf is what Incus says of a container, which may be nothing.
func usageOf(container Container, state *api.InstanceState) Usage {
	usage := Usage{Container: container, At: time.Now()}
	if size, err := ParseSize(container.Limits.Disk, 0); err == nil && container.DiskEnforced {
		usage.DiskMaxBytes = known(size)
	}
	if state == nil {
		return usage
	}
	if disk, ok := state.Disk["root"]; ok {
		usage.DiskBytes = known(disk.Usage)
	}
	if !usage.runs() {
		return usage
	}
	usage.CPUNanoseconds = known(state.CPU.Usage)
	usage.MemoryBytes = known(state.Memory.Usage)
	if container.Limits.Memory != "" {
		usage.MemoryMaxBytes = known(state.Memory.Total)
	}
	usage.Processes = known(state.Processes)
	var received, sent int64
	for name, nic := range state.Network {
		if name != "lo" {
			received += nic.Counters.BytesReceived
			sent += nic.Counters.BytesSent
		}
	}
	if len(state.Network) > 0 {
		usage.ReceivedBytes, usage.SentBytes = known(received), known(sent)
	}
	return usage
}

// elsewhere reports whether it runs on a member of a cluster whose counters are not
// those of this host.
func (u *Usage) elsewhere() bool {
	return u.Container.Location != "" && u.runs() && u.CPUNanoseconds == nil
}

func (u *Usage) runs() bool {
	return u.Container.State == StateRunning || u.Container.State == StateFrozen
}

// known turns Incus' 0 and -1, which stand for "can not tell" in figures that a
// running container never has, into nil.
func known(n int64) *uint64 {
	if n <= 0 {
		return nil
	}
	u := uint64(n)
	return &u
}
