package main

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// The operator sees how far the answers of a server may be behind its Incus.
func TestCacheRow(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := timestamppb.New(now.Add(-3 * time.Second))
	for want, cache := range map[string]*pb.Cache{
		"copy of Incus: live, confirmed 3s ago; the last event took 1.5ms, a lost one at most 2m; 7 events, 2 full reads, 1 watches": {
			Freshness: &pb.Freshness{Live: true, ConfirmedAt: at}, BoundMilliseconds: 120_000, Events: 7, Resyncs: 2, LagMicroseconds: 1500, Watchers: 1,
		},
		"copy of Incus: NOT LIVE, confirmed - ago; the last event took 0s, a lost one at most 2m; 0 events, 0 full reads, 0 watches": {
			Freshness: &pb.Freshness{}, BoundMilliseconds: 120_000,
		},
	} {
		if got := strings.Join(cacheRow(cache, now), " "); got != want {
			t.Errorf("%s\nwant\n%s", got, want)
		}
	}
}
