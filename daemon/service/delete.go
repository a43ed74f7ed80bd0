package service

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/footprintai/containarium/daemon/jump"
	"github.com/footprintai/containarium/incusx"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// changeTimeout bounds what is done to one container besides what its caller
// asks to wait for: Incus needs a second or two, on a busy disk many.
const changeTimeout = 2 * time.Minute

// DeleteContainer implements the RPC. The account on the host goes first, so
// that nobody is logged in when the container goes, and a call that died in
// between can be repeated.
func (s *Service) DeleteContainer(ctx context.Context, request *pb.DeleteContainerRequest) (*pb.DeleteContainerResponse, error) {
	username := request.GetUsername()
	ctx, done, err := s.take(ctx, username, changeTimeout)
	if err != nil {
		return nil, err
	}
	defer done()
	container, err := s.Incus.Get(ctx, username)
	if errors.Is(err, incusx.ErrNotFound) {
		return s.deleteRest(ctx, username)
	}
	if err != nil {
		return nil, statusOf(err)
	}
	if !request.GetForce() && container.State != incusx.StateStopped && container.State != incusx.StateCreating {
		return nil, errPrecondition("RUNNING", "the container of %s is %s: stop it first, or force", username, container.State)
	}
	switch err := s.Hop.Remove(ctx, username); {
	case errors.Is(err, jump.ErrForeign): // put there since, by somebody who keeps it
		s.Log.WithError(err).Warn("an account is left alone")
	case err != nil:
		return nil, statusOf(err)
	}
	if err := s.Incus.Remove(ctx, username); err != nil && !errors.Is(err, incusx.ErrNotFound) {
		return nil, statusOf(err)
	}
	s.Log.WithField("username", username).Info("deleted")
	return &pb.DeleteContainerResponse{}, nil
}

// deleteRest finishes a delete that was cut off after the container was gone.
func (s *Service) deleteRest(ctx context.Context, username string) (*pb.DeleteContainerResponse, error) {
	usernames, err := s.Hop.Usernames(ctx)
	if err != nil {
		return nil, statusOf(err)
	}
	if !slices.Contains(usernames, username) {
		return nil, errNoContainer(username)
	}
	if err := s.Hop.Remove(ctx, username); err != nil {
		return nil, statusOf(err)
	}
	return &pb.DeleteContainerResponse{}, nil
}

// change is take for a call that changes a container: a restore of it that was cut
// off is finished first.
func (s *Service) change(ctx context.Context, username string, timeout time.Duration) (_ context.Context, done func(), err error) {
	ctx, done, err = s.take(ctx, username, timeout)
	if err != nil {
		return nil, nil, err
	}
	if err := s.settleRestore(ctx, username); err != nil {
		done()
		return nil, nil, statusOf(err)
	}
	return ctx, done, nil
}

// take checks the user name of a call, detaches the call from its caller and takes
// the user's lock; done, at the end of the call, gives it back and has reads show
// what was changed.
func (s *Service) take(ctx context.Context, username string, timeout time.Duration) (_ context.Context, done func(), err error) {
	if err := checkUsername(username); err != nil {
		return nil, nil, err
	}
	ctx, cancel := s.detach(ctx, timeout)
	release, err := s.users.acquire(ctx, username)
	if err != nil {
		cancel()
		return nil, nil, statusOf(err)
	}
	return ctx, func() { s.reread(ctx, username); release(); cancel() }, nil
}

// find returns a user's finished container, with the status of why there is
// none.
func (s *Service) find(ctx context.Context, username string) (incusx.Container, error) {
	container, err := s.Incus.Get(ctx, username)
	switch {
	case errors.Is(err, incusx.ErrNotFound):
		return incusx.Container{}, errNoContainer(username)
	case err != nil:
		return incusx.Container{}, statusOf(err)
	case container.State == incusx.StateCreating:
		return incusx.Container{}, errPrecondition("UNFINISHED", "the create of %s's container was cut off: the daemon removes it, or delete it", username)
	}
	return container, nil
}
