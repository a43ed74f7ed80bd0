package service

import (
	"context"
	"errors"

	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/incusx/cache"
)

// ClearUp removes the account on the jump host of a container that goes away by
// other hands than a call's: an Incus that ends late what a daemon began that died,
// or its operator; on a cluster it brings accounts up to what other members' daemons
// do. It returns when ctx ends.
func (s *Service) ClearUp(ctx context.Context) {
	var at cache.Version
	for ctx.Err() == nil {
		delta, changed := s.copied.Since(at)
		at = delta.Version
		gone := delta.Reset
		for _, change := range delta.Changes {
			gone = gone || change.After == nil
		}
		// While events do not come in the copy tells nothing; once they do, Supervise
		// looks at everything.
		if live, _ := s.copied.Freshness(); gone && live {
			if err := s.clearUp(ctx); err != nil && ctx.Err() == nil {
				s.Log.WithError(err).Warn("an account may be left on the jump host whose container is gone; it goes with the next look")
			}
		}
		s.followOthers(ctx, delta.Changes)
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
}

// clearUp removes the accounts that no container in the copy has; Incus is asked
// before one goes.
func (s *Service) clearUp(ctx context.Context) error {
	accounts, err := s.Hop.Usernames(ctx)
	if err != nil {
		return err
	}
	for _, username := range accounts {
		_, err := s.copied.Get(ctx, username)
		if errors.Is(err, incusx.ErrNotFound) {
			err = s.mend(ctx, username, s.mendAccount)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
