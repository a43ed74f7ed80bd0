package service

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/footprintai/containarium/incusx"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// snapshotTimeout bounds what is done with a snapshot: a storage that can not copy
// on write copies a whole disk for it.
const snapshotTimeout = 10 * time.Minute

// maxSnapshots bounds the snapshots of one container: each keeps what its disk had.
const maxSnapshots = 100

// snapshotTime is the name of a snapshot that was given none.
const snapshotTime = "20060102-150405"

// CreateSnapshot implements the RPC.
func (s *Service) CreateSnapshot(ctx context.Context, request *pb.CreateSnapshotRequest) (*pb.CreateSnapshotResponse, error) {
	username, name := request.GetUsername(), request.GetName()
	if name != "" {
		if err := checkSnapshot(username, name); err != nil {
			return nil, err
		}
	}
	ctx, done, err := s.change(ctx, username, snapshotTimeout)
	if err != nil {
		return nil, err
	}
	defer done()
	_, snapshots, err := s.findSnapshots(ctx, username)
	if err != nil {
		return nil, err
	}
	if len(snapshots) >= maxSnapshots {
		return nil, errPrecondition("TOO_MANY_SNAPSHOTS", "%s has %d snapshots, which is the most: remove one first", username, maxSnapshots)
	}
	if name == "" {
		name = freeName(snapshots, s.Now().UTC().Format(snapshotTime))
	} else if snapshotNamed(snapshots, name) != nil {
		return nil, errExists(username, "has a snapshot "+name+" already")
	}
	if err := s.Incus.CreateSnapshot(ctx, username, name); err != nil {
		return nil, statusOf(err)
	}
	if _, snapshots, err = s.findSnapshots(ctx, username); err != nil {
		return nil, err
	}
	snapshot := snapshotNamed(snapshots, name)
	if snapshot == nil { // removed in Incus in the meantime
		return nil, errNoSnapshot(username, name)
	}
	s.Log.WithField("username", username).WithField("snapshot", name).Info("took a snapshot")
	return &pb.CreateSnapshotResponse{Snapshot: snapshotProto(snapshot)}, nil
}

// ListSnapshots implements the RPC.
func (s *Service) ListSnapshots(ctx context.Context, request *pb.ListSnapshotsRequest) (*pb.ListSnapshotsResponse, error) {
	username := request.GetUsername()
	if err := checkUsername(username); err != nil {
		return nil, err
	}
	_, snapshots, err := s.findSnapshots(ctx, username)
	if err != nil {
		return nil, err
	}
	response := &pb.ListSnapshotsResponse{}
	for i := range snapshots {
		response.Snapshots = append(response.Snapshots, snapshotProto(&snapshots[i]))
	}
	return response, nil
}

// RestoreSnapshot implements the RPC. A container that runs is stopped for it and
// runs again when the call returns, with its keys in the guest.
func (s *Service) RestoreSnapshot(ctx context.Context, request *pb.RestoreSnapshotRequest) (*pb.RestoreSnapshotResponse, error) {
	username, name := request.GetUsername(), request.GetName()
	if err := checkSnapshot(username, name); err != nil {
		return nil, err
	}
	ctx, done, err := s.change(ctx, username, snapshotTimeout)
	if err != nil {
		return nil, err
	}
	defer done()
	container, snapshots, err := s.findSnapshots(ctx, username)
	if err != nil {
		return nil, err
	}
	snapshot := snapshotNamed(snapshots, name)
	if snapshot == nil {
		return nil, errNoSnapshot(username, name)
	}
	if !snapshot.Current && !request.GetForce() {
		stop := ""
		if container.State != incusx.StateStopped {
			stop = ", and stops it for that"
		}
		return nil, errPrecondition("LOSES_DATA", "to restore %s to %s throws away everything written since %s%s: force, if that is what you want",
			username, name, snapshot.CreatedAt.UTC().Format("2006-01-02 15:04:05 UTC"), stop)
	}
	_, resized, err := s.Incus.Restore(ctx, username, name)
	if err != nil {
		// What is left of it is done by the next call, or by Reconcile.
		s.unsettled.Add(1)
		return nil, statusOf(err)
	}
	s.Log.WithField("username", username).WithField("snapshot", name).Info("restored")
	if container, err = s.settle(ctx, username); err != nil {
		return nil, err
	}
	response := &pb.RestoreSnapshotResponse{Container: s.toProto(container)}
	if resized {
		size := "none"
		if container.Limits.Disk != "" {
			size = container.Limits.Disk
		}
		response.Warnings = append(response.Warnings, fmt.Sprintf("the disk limit is %s again, as it was then: what is on the disk now may not fit into less", size))
	}
	return response, nil
}

// DeleteSnapshot implements the RPC.
func (s *Service) DeleteSnapshot(ctx context.Context, request *pb.DeleteSnapshotRequest) (*pb.DeleteSnapshotResponse, error) {
	username, name := request.GetUsername(), request.GetName()
	if err := checkSnapshot(username, name); err != nil {
		return nil, err
	}
	ctx, done, err := s.change(ctx, username, snapshotTimeout)
	if err != nil {
		return nil, err
	}
	defer done()
	_, snapshots, err := s.findSnapshots(ctx, username)
	if err != nil {
		return nil, err
	}
	if snapshotNamed(snapshots, name) == nil {
		return nil, errNoSnapshot(username, name)
	}
	if err := s.Incus.RemoveSnapshot(ctx, username, name); err != nil {
		return nil, statusOf(err)
	}
	s.Log.WithField("username", username).WithField("snapshot", name).Info("removed a snapshot")
	return &pb.DeleteSnapshotResponse{}, nil
}

// findSnapshots returns a user's finished container with its snapshots.
func (s *Service) findSnapshots(ctx context.Context, username string) (incusx.Container, []incusx.Snapshot, error) {
	container, err := s.find(ctx, username)
	if err != nil {
		return container, nil, err
	}
	snapshots, err := s.Incus.Snapshots(ctx, username)
	return container, snapshots, statusOf(err)
}

func checkSnapshot(username, name string) error {
	var v violations
	v.username("username", username)
	v.snapshot("name", name)
	return v.err()
}

// snapshotNamed returns the snapshot of that name, or nil.
func snapshotNamed(snapshots []incusx.Snapshot, name string) *incusx.Snapshot {
	i := slices.IndexFunc(snapshots, func(s incusx.Snapshot) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return &snapshots[i]
}

// freeName adds a number to a name that is taken.
func freeName(snapshots []incusx.Snapshot, name string) string {
	free := name
	for n := 2; snapshotNamed(snapshots, free) != nil; n++ {
		free = fmt.Sprintf("%s-%d", name, n)
	}
	return free
}

func snapshotProto(s *incusx.Snapshot) *pb.Snapshot {
	return &pb.Snapshot{Name: s.Name, CreatedAt: timestamppb.New(s.CreatedAt), SizeBytes: s.Size}
}
