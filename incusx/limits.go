package incusx

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/lxc/incus/v6/shared/units"
)

// The least that is accepted, in bytes: below it a system container does not
// boot, and Incus says so only at the start.
const (
	MinMemory = 64 << 20
	MinDisk   = 512 << 20
)

// maxCores bounds a CPU limit; it is above any machine that runs Incus. maxCPU
// bounds its text, in bytes, and so the work of reading it: every other core of
// 128 takes that much.
const (
	maxCores = 4096
	maxCPU   = 256
)

// Limits are the resource limits of a container. Empty fields mean no limit.
type Limits struct {
	// CPU is a count ("2"), a set of cores ("0-3", "0,2") or a fraction ("1.5").
	CPU string
	// Memory and Disk are bytes with a unit, decimal (GB) or binary (GiB).
	Memory, Disk string
}

var (
	cpuCount    = regexp.MustCompile(`^[0-9]{1,4}$`)
	cpuSet      = regexp.MustCompile(`^[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?)*$`)
	cpuFraction = regexp.MustCompile(`^[0-9]{1,4}\.[0-9]{1,2}$`)
	size        = regexp.MustCompile(`^[0-9]{1,15}(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)$`)
)

// CPU is a checked CPU limit.
type CPU struct {
	// Cores is how many cores it may use, at most.
	Cores float64
	// Highest is the highest core that it names; -1 where it names none.
	Highest int
	// Limit and Allowance are the values of limits.cpu and limits.cpu.allowance.
	Limit, Allowance string
}

// ParseCPU checks a CPU limit: a count of 1 or more, a set of cores, or a
// fraction of 0.05 or more with at most two decimals.
func ParseCPU(s string) (CPU, error) {
	switch {
	case len(s) > maxCPU:
		return CPU{}, fmt.Errorf("must be at most %d bytes", maxCPU)
	case cpuCount.MatchString(s):
		n, _ := strconv.Atoi(s)
		if n < 1 || n > maxCores {
			return CPU{}, fmt.Errorf("must be between 1 and %d cores", maxCores)
		}
		return CPU{Cores: float64(n), Highest: -1, Limit: strconv.Itoa(n)}, nil
	case cpuFraction.MatchString(s):
		f, _ := strconv.ParseFloat(s, 64)
		if f < 0.05 || f > maxCores {
			return CPU{}, fmt.Errorf("must be between 0.05 and %d cores", maxCores)
		}
		// The count bounds what the guest sees, the quota (a share of each 100 ms)
		// what it gets: limits.cpu alone takes whole cores only.
		return CPU{
			Cores: f, Highest: -1,
			Limit:     strconv.Itoa(int(math.Ceil(f))),
			Allowance: fmt.Sprintf("%dms/100ms", int(math.Round(f*100))),
		}, nil
	case cpuSet.MatchString(s):
		return parseCPUSet(s)
	}
	return CPU{}, fmt.Errorf(`must be a count ("2"), a set of cores ("0-3") or a fraction ("1.5")`)
}

func parseCPUSet(s string) (CPU, error) {
	cores := map[int]bool{}
	cpu := CPU{Limit: s}
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(part, "-")
		low, _ := strconv.Atoi(from)
		high := low
		if isRange {
			high, _ = strconv.Atoi(to)
		}
		if high < low || high >= maxCores {
			return CPU{}, fmt.Errorf("has a range %q that is not ascending or beyond core %d", part, maxCores-1)
		}
		for core := low; core <= high; core++ {
			cores[core] = true
		}
		cpu.Highest = max(cpu.Highest, high)
	}
	cpu.Cores = float64(len(cores))
	return cpu, nil
}

// ParseSize checks an amount of bytes, at least atLeast, and returns it. GB is
// decimal, GiB binary; a number without unit is refused, since it is a mistake
// more often than not.
func ParseSize(s string, atLeast int64) (int64, error) {
	if !size.MatchString(s) {
		return 0, fmt.Errorf(`must be a whole number with a unit, such as "512MiB" or "4GB"`)
	}
	n, err := units.ParseByteSizeString(s)
	if err != nil {
		return 0, fmt.Errorf("is out of range")
	}
	if n < atLeast {
		return 0, fmt.Errorf("must be at least %dMiB", atLeast>>20)
	}
	return n, nil
}
