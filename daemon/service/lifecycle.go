package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/footprintai/containarium/incusx"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// StartContainer implements the RPC. A guest that missed a change of its keys
// while it was stopped gets them before the call returns.
func (s *Service) StartContainer(ctx context.Context, request *pb.StartContainerRequest) (*pb.StartContainerResponse, error) {
	username := request.GetUsername()
	ctx, done, err := s.change(ctx, username, changeTimeout)
	if err != nil {
		return nil, err
	}
	defer done()
	container, err := s.find(ctx, username)
	if err != nil {
		return nil, err
	}
	already := container.State == incusx.StateRunning
	if !already {
		// One that somebody started in the meantime is what is wanted.
		if err := s.Incus.Start(ctx, username); err != nil && !errors.Is(err, incusx.ErrRunning) {
			return nil, statusOf(err)
		}
	}
	container, err = s.settle(ctx, username)
	if err != nil {
		return nil, err
	}
	return &pb.StartContainerResponse{Container: s.toProto(container), Already: already}, nil
}

// StopContainer implements the RPC.
func (s *Service) StopContainer(ctx context.Context, request *pb.StopContainerRequest) (*pb.StopContainerResponse, error) {
	username := request.GetUsername()
	timeout, err := checkStop(username, request.GetTimeoutSeconds())
	if err != nil {
		return nil, err
	}
	ctx, done, err := s.change(ctx, username, changeTimeout+timeout)
	if err != nil {
		return nil, err
	}
	defer done()
	container, err := s.find(ctx, username)
	if err != nil {
		return nil, err
	}
	if container.State == incusx.StateStopped {
		return &pb.StopContainerResponse{Container: s.toProto(container), Already: true}, nil
	}
	if err := s.stop(ctx, username, request.GetForce(), timeout); err != nil {
		return nil, err
	}
	if container, err = s.find(ctx, username); err != nil {
		return nil, err
	}
	return &pb.StopContainerResponse{Container: s.toProto(container)}, nil
}

// RestartContainer implements the RPC.
func (s *Service) RestartContainer(ctx context.Context, request *pb.RestartContainerRequest) (*pb.RestartContainerResponse, error) {
	username := request.GetUsername()
	timeout, err := checkStop(username, request.GetTimeoutSeconds())
	if err != nil {
		return nil, err
	}
	ctx, done, err := s.change(ctx, username, changeTimeout+timeout)
	if err != nil {
		return nil, err
	}
	defer done()
	container, err := s.find(ctx, username)
	if err != nil {
		return nil, err
	}
	if container.State != incusx.StateStopped {
		if err := s.stop(ctx, username, request.GetForce(), timeout); err != nil {
			return nil, err
		}
	}
	// One that somebody started in the meantime is what is wanted.
	if err := s.Incus.Start(ctx, username); err != nil && !errors.Is(err, incusx.ErrRunning) {
		return nil, statusOf(err)
	}
	if container, err = s.settle(ctx, username); err != nil {
		return nil, err
	}
	return &pb.RestartContainerResponse{Container: s.toProto(container)}, nil
}

func checkStop(username string, seconds uint32) (time.Duration, error) {
	var v violations
	v.username("username", username)
	v.stopTimeout("timeout_seconds", seconds)
	if seconds == 0 {
		seconds = stopTimeoutless
	}
	return time.Duration(seconds) * time.Second, v.err()
}

func (s *Service) stop(ctx context.Context, username string, force bool, timeout time.Duration) error {
	err := s.Incus.Stop(ctx, username, force, timeout)
	if errors.Is(err, incusx.ErrStopped) { // by itself, in the meantime
		return nil
	}
	if errors.Is(err, incusx.ErrStopTimeout) {
		return newStatus(codeOf(err), reasonOf(err), fmt.Sprintf("the container of %s did not stop within %s: give it more time, or force", username, timeout))
	}
	return statusOf(err)
}

// settle brings a container that has just been started up to date.
func (s *Service) settle(ctx context.Context, username string) (incusx.Container, error) {
	container, err := s.find(ctx, username)
	if err != nil {
		return container, err
	}
	if err := s.applyKeys(ctx, container); err != nil {
		return container, newStatus(codeOf(err), reasonOf(err), fmt.Sprintf("the container of %s runs, and its keys are not up to date: %s", username, messageOf(err)))
	}
	s.learnHostKey(container)
	return container, nil
}
