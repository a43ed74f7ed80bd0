package service

import (
	"context"
	"errors"

	"github.com/footprintai/containarium/incusx"
)

// finishRestores finishes the restores that a daemon or an Incus that died cut
// off. It returns the users whose restore is still unfinished: because that failed,
// or since a call is at work on their container. nil where not even that is known.
func (s *Service) finishRestores(ctx context.Context) (unfinished map[string]bool, err error) {
	seen := s.unsettled.Load()
	usernames, err := s.Incus.UnfinishedRestores(ctx)
	if err != nil {
		return nil, err
	}
	unfinished = map[string]bool{}
	var errs []error
	for _, username := range usernames {
		unfinished[username] = true
		err := s.mend(ctx, username, func(ctx context.Context, username string) error {
			if err := s.finishRestore(ctx, username); err != nil {
				return err
			}
			delete(unfinished, username)
			return nil
		})
		errs = append(errs, err)
	}
	if len(unfinished) == 0 {
		s.unsettled.CompareAndSwap(seen, 0)
	}
	return unfinished, errors.Join(errs...)
}

// settleRestore finishes a restore of a user whose lock the caller holds, if there
// may be one: what is done next must not meet the config of the snapshot.
func (s *Service) settleRestore(ctx context.Context, username string) error {
	if s.unsettled.Load() == 0 {
		return nil
	}
	return s.finishRestore(ctx, username)
}

func (s *Service) finishRestore(ctx context.Context, username string) error {
	if _, _, err := s.Incus.FinishRestore(ctx, username); err != nil && !errors.Is(err, incusx.ErrNotFound) {
		return err
	}
	return nil
}
