package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// unknown stands for what the daemon does not know, never for 0.
const unknown = "-"

// stateWord is a state as the tables show it and --state takes it.
func stateWord(state pb.ContainerState) string {
	if state == pb.ContainerState_CONTAINER_STATE_UNSPECIFIED {
		return unknown
	}
	return strings.ToLower(strings.TrimPrefix(state.String(), "CONTAINER_STATE_"))
}

// stateWords are all states but the unspecified one.
func stateWords() []string {
	var words []string
	for _, n := range slices.Sorted(maps.Keys(pb.ContainerState_name)) {
		if n != 0 {
			words = append(words, stateWord(pb.ContainerState(n)))
		}
	}
	return words
}

// size prints bytes in binary units with three digits, as in "1.50GiB"; nil is
// unknown.
func size(bytes *uint64) string {
	if bytes == nil {
		return unknown
	}
	if *bytes < 1<<10 {
		return fmt.Sprintf("%dB", *bytes)
	}
	value, unit := float64(*bytes), -1
	for ; value >= 999.5 && unit < len(sizeUnits)-1; unit++ {
		value /= 1 << 10
	}
	digits := 2
	if value >= 99.95 {
		digits = 0
	} else if value >= 9.995 {
		digits = 1
	}
	return fmt.Sprintf("%.*f%ciB", digits, value, sizeUnits[max(unit, 0)])
}

const sizeUnits = "KMGTPE"

// number prints a count; nil is unknown.
func number(n *uint64) string {
	if n == nil {
		return unknown
	}
	return fmt.Sprint(*n)
}

// span prints how long something takes or has been, in its largest unit.
func span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d >= 2*time.Minute:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return fmt.Sprintf("%ds", max(d, 0)/time.Second)
}

// age prints how long ago something was; absent is unknown.
func age(at *timestamppb.Timestamp, now time.Time) string {
	if at == nil {
		return unknown
	}
	return span(now.Sub(at.AsTime()))
}

// when prints an instant to the second in UTC; absent is unknown.
func when(at *timestamppb.Timestamp) string {
	if at == nil {
		return unknown
	}
	return at.AsTime().UTC().Format("2006-01-02 15:04:05 UTC")
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// limit prints a limit in force; an empty one means that there is none.
func limit(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// pairs prints a map as "a=1, b=2", with a comma of one's own.
func pairs(m map[string]string, comma string) string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		out = append(out, key+"="+m[key])
	}
	return strings.Join(out, comma)
}
