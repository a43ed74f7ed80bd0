package service

import (
	"context"
	"errors"
	"time"

	"github.com/footprintai/containarium/incusx"
)

// passes is how often everything is looked at once Incus answers: what it had
// under way for a daemon that died, such as a delete, may end after the first.
const passes = 2

// Supervise looks every so often whether Incus answers, says so to Serving, and
// reconciles when it answers for the first time or anew. It asks Incus nothing
// while the copy of the containers is good. It returns when ctx ends.
func (s *Service) Supervise(ctx context.Context) {
	ticker := time.NewTicker(retryAfter)
	defer ticker.Stop()
	up, clean := false, 0
	for first := true; ; first = false {
		err := s.copied.Ready(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && (up || first):
			s.Log.WithError(err).Warn("Incus does not answer; calls get Unavailable until it does")
		case err == nil && !up:
			s.Log.Info("Incus answers")
			clean = 0
		}
		up = err == nil
		s.Serving(up)
		if up && (clean < passes || s.unsettled.Load() != 0) {
			err := s.Reconcile(ctx)
			if err != nil && ctx.Err() == nil {
				s.Log.WithError(err).Warn("not everything is as it should be; trying again")
			}
			clean++
			if err != nil {
				clean = 0
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Reconcile mends what a daemon or a host that died left: restores are finished,
// unfinished instances are removed, the accounts on the host are made to match the
// containers. What carries no mark of ours is not touched, and neither is a user
// for whom a call is under way. It goes on after a failure and returns all of them.
func (s *Service) Reconcile(ctx context.Context) error {
	restoring, err := s.finishRestores(ctx)
	if err != nil && restoring == nil {
		return err
	}
	errs := []error{err}
	containers, err := s.Incus.List(ctx)
	if err != nil {
		return err
	}
	have := map[string]bool{}
	for i := range containers {
		have[containers[i].Username] = true
		if containers[i].State == incusx.StateUnreachable { // its account stays as it is
			continue
		}
		if restoring[containers[i].Username] { // its keys may be old ones
			continue
		}
		errs = append(errs, s.mend(ctx, containers[i].Username, s.mendContainer))
	}
	accounts, err := s.Hop.Usernames(ctx)
	errs = append(errs, err)
	for _, username := range accounts {
		if !have[username] {
			errs = append(errs, s.mend(ctx, username, s.mendAccount))
		}
	}
	errs = append(errs, s.Incus.RemoveBuilders(ctx))
	return errors.Join(errs...)
}

// mend runs fix under the user's lock, unless a call has it.
func (s *Service) mend(ctx context.Context, username string, fix func(context.Context, string) error) error {
	release, ok := s.users.tryAcquire(username)
	if !ok {
		return nil
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	return fix(ctx, username)
}

func (s *Service) mendContainer(ctx context.Context, username string) error {
	container, err := s.Incus.Get(ctx, username) // anew: it may have changed since the list
	if errors.Is(err, incusx.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if container.State != incusx.StateCreating {
		if container.HostKey == "" {
			s.learnHostKey(container)
		}
		return s.applyKeys(ctx, container)
	}
	if others, err := s.othersWork(ctx, container); err != nil || others {
		return err
	}
	if err := s.Incus.Remove(ctx, username); err != nil && !errors.Is(err, incusx.ErrNotFound) {
		return err
	}
	s.Log.WithField("username", username).Warn("removed the container of a create that was cut off")
	return s.mendAccount(ctx, username)
}

// mendAccount removes an account without container.
func (s *Service) mendAccount(ctx context.Context, username string) error {
	if _, err := s.Incus.Get(ctx, username); !errors.Is(err, incusx.ErrNotFound) {
		return err
	}
	if err := s.Hop.Remove(ctx, username); err != nil {
		return err
	}
	s.Log.WithField("username", username).Warn("no container has the jump account of this name: it is removed")
	return nil
}
