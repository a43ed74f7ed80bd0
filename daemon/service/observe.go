package service

import (
	"strings"
	"time"

	"github.com/footprintai/containarium/incusx/cache"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// Observer counts creates; the daemon's metrics are one.
type Observer interface {
	// Stage is told of each stage of a create that is over, by the name of its
	// CreateStage without what all have in common, in lower case.
	Stage(stage string, took time.Duration)
	// Create is told of each create that is over.
	Create(err error)
}

// Counts are numbers of the containers as the copy has them.
type Counts struct {
	// States has each state that there is, also those that no container is in.
	States map[string]int
	Live   bool
	// Confirmed is when the copy was last known to be that of Incus.
	Confirmed time.Time
	cache.Stats
	Watchers int
}

// Counts asks Incus nothing and waits for nothing: where the copy is not good, it is
// what was known last.
func (s *Service) Counts() Counts {
	counts := Counts{States: map[string]int{}, Stats: s.copied.Stats(), Watchers: int(s.watches.open.Load())}
	counts.Live, counts.Confirmed = s.copied.Freshness()
	for _, state := range stateProto {
		counts.States[short(state.String(), "CONTAINER_STATE_")] = 0
	}
	for _, entry := range s.copied.Known() {
		counts.States[short(stateProto[entry.Container.State].String(), "CONTAINER_STATE_")]++
	}
	return counts
}

func short(name, prefix string) string { return strings.ToLower(strings.TrimPrefix(name, prefix)) }

// leave tells how long the stage took that is over.
func (c *creation) leave() {
	if c.Observer != nil && c.stage != pb.CreateStage_CREATE_STAGE_UNSPECIFIED {
		c.Observer.Stage(short(c.stage.String(), "CREATE_STAGE_"), time.Since(c.entered))
	}
	c.entered = time.Now()
}
