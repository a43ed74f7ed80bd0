package main

import (
	"fmt"
	"time"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// warnStale says so where what is shown may be behind the server's Incus. An older
// daemon does not tell, and asks its Incus each time.
func warnStale(t *terminal, server string, f *pb.Freshness) {
	for _, warning := range stale(server, f) {
		t.warnf("%s", warning)
	}
}

func stale(server string, f *pb.Freshness) []string {
	if f == nil || f.GetLive() {
		return nil
	}
	return []string{fmt.Sprintf("%s does not hear from its Incus: this is as of %s", server, when(f.GetConfirmedAt()))}
}

// cacheRow shows how good the copy is that the server answers from.
func cacheRow(c *pb.Cache, now time.Time) []string {
	f := c.GetFreshness()
	state := "live"
	if !f.GetLive() {
		state = "NOT LIVE"
	}
	return []string{"copy of Incus:", fmt.Sprintf("%s, confirmed %s ago; the last event took %s, a lost one at most %s; %d events, %d full reads, %d watches",
		state, age(f.GetConfirmedAt(), now), time.Duration(c.GetLagMicroseconds())*time.Microsecond, //nolint:gosec // hardly 292,000 years
		span(time.Duration(c.GetBoundMilliseconds())*time.Millisecond), c.GetEvents(), c.GetResyncs(), c.GetWatchers())}
}
