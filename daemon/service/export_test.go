package service

import (
	"context"
	"time"
)

// Look is one look of Sample, for the tests of package service_test.
func (s *Service) Look(ctx context.Context) { s.look(ctx) }

// SetHeartbeat sets how often a watch on which nothing happens says so; before the
// watch begins.
func (s *Service) SetHeartbeat(every time.Duration) { s.watches.heartbeat = every }

// RoamOnce is one look of Roam, at the first few.
func (s *Service) RoamOnce(ctx context.Context) {
	r := roamer{Service: s, refused: map[string]string{}}
	r.look(ctx)
}
