package service

import (
	"context"
	"errors"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/footprintai/containarium/daemon/sshkey"
	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/incusx/cache"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// ListContainers implements the RPC. It asks Incus nothing.
func (s *Service) ListContainers(ctx context.Context, request *pb.ListContainersRequest) (*pb.ListContainersResponse, error) {
	if err := checkFilter(request, "").err(); err != nil {
		return nil, err
	}
	entries, err := s.copied.List(ctx)
	if err != nil {
		return nil, statusOf(err)
	}
	response := &pb.ListContainersResponse{Freshness: s.freshness(), JumpHostKeys: s.jumpHostKeys()}
	for _, entry := range entries {
		if matches(&entry.Container, request) && s.May(ctx, "ContainerService/ListContainers", entry.Container.Username) {
			response.Containers = append(response.Containers, entry.View)
		}
	}
	return response, nil
}

// filter is what picks containers: the requests of a list and of a watch.
type filter interface {
	GetStates() []pb.ContainerState
	GetLabels() map[string]string
}

func checkFilter(f filter, version string) *violations {
	var v violations
	v.labels("labels", f.GetLabels())
	if len(f.GetStates()) > maxStates {
		v.add("states", "must have at most %d entries", maxStates)
	}
	if len(version) > maxVersion {
		v.add("version", "must have at most %d bytes", maxVersion)
	}
	return &v
}

// freshness says how good the copy of the containers is.
func (s *Service) freshness() *pb.Freshness {
	live, confirmed := s.copied.Freshness()
	freshness := &pb.Freshness{Live: live}
	if !confirmed.IsZero() {
		freshness.ConfirmedAt = timestamppb.New(confirmed)
	}
	return freshness
}

func matches(container *incusx.Container, f filter) bool {
	if states := f.GetStates(); len(states) > 0 && !slices.Contains(states, stateProto[container.State]) {
		return false
	}
	for key, value := range f.GetLabels() {
		if got, ok := container.Labels[key]; !ok || got != value {
			return false
		}
	}
	return true
}

// GetContainer implements the RPC.
func (s *Service) GetContainer(ctx context.Context, request *pb.GetContainerRequest) (*pb.GetContainerResponse, error) {
	if err := checkUsername(request.GetUsername()); err != nil {
		return nil, err
	}
	entry, err := s.copied.Get(ctx, request.GetUsername())
	if errors.Is(err, incusx.ErrNotFound) {
		return nil, errNoContainer(request.GetUsername())
	}
	if err != nil {
		return nil, statusOf(err)
	}
	return &pb.GetContainerResponse{Container: entry.View, Freshness: s.freshness(), JumpHostKeys: s.jumpHostKeys()}, nil
}

func (s *Service) jumpHostKeys() []string {
	if s.JumpHostKeys == nil {
		return nil
	}
	return s.JumpHostKeys()
}

// GetSystemInfo implements the RPC.
func (s *Service) GetSystemInfo(ctx context.Context, _ *pb.GetSystemInfoRequest) (*pb.GetSystemInfoResponse, error) {
	host, err := s.Incus.System(ctx)
	if err != nil {
		return nil, statusOf(err)
	}
	entries, err := s.copied.List(ctx)
	if err != nil {
		return nil, statusOf(err)
	}
	running := uint32(0)
	for _, entry := range entries {
		if entry.Container.State == incusx.StateRunning {
			running++
		}
	}
	members, err := s.membersProto(ctx, entries)
	if err != nil {
		return nil, statusOf(err)
	}
	return &pb.GetSystemInfoResponse{
		Hostname:          host.Hostname,
		Version:           s.Version,
		IncusVersion:      host.IncusVersion,
		KernelVersion:     host.KernelVersion,
		CpuCount:          uint32(host.CPUs), //nolint:gosec // a number of cores
		MemoryTotalBytes:  host.MemoryTotal,
		MemoryUsedBytes:   host.MemoryUsed,
		StoragePool:       host.StoragePool,
		StorageDriver:     host.StorageDriver,
		StorageTotalBytes: host.StorageTotal,
		StorageUsedBytes:  host.StorageUsed,
		Network:           host.Network,
		Subnet:            host.Subnet,
		ContainersTotal:   uint32(len(entries)), //nolint:gosec // far below
		ContainersRunning: running,
		JumpAddress:       s.JumpAddress,
		DefaultImage:      s.DefaultImage,
		StartedAt:         timestamppb.New(s.started),
		Generation:        s.Generation(),
		TrustSource:       s.TrustSource(),
		Cache:             s.cacheProto(),
		Members:           members,
	}, nil
}

func (s *Service) cacheProto() *pb.Cache {
	stats := s.copied.Stats()
	return &pb.Cache{
		Freshness:         s.freshness(),
		BoundMilliseconds: uint32(cache.Bound.Milliseconds()), //nolint:gosec // minutes
		Events:            stats.Events,
		Resyncs:           stats.Resyncs,
		LagMicroseconds:   uint64(stats.Lag.Microseconds()), //nolint:gosec // not negative
		Watchers:          uint32(s.watches.open.Load()),    //nolint:gosec // at most maxWatches
	}
}

// WhoAmI implements the RPC.
func (s *Service) WhoAmI(ctx context.Context, _ *pb.WhoAmIRequest) (*pb.WhoAmIResponse, error) {
	return s.Caller(ctx)
}

var stateProto = map[incusx.State]pb.ContainerState{
	incusx.StateCreating: pb.ContainerState_CONTAINER_STATE_CREATING,
	incusx.StateRunning:  pb.ContainerState_CONTAINER_STATE_RUNNING,
	incusx.StateStopped:  pb.ContainerState_CONTAINER_STATE_STOPPED,
	incusx.StateFrozen:   pb.ContainerState_CONTAINER_STATE_FROZEN,
	incusx.StateError:    pb.ContainerState_CONTAINER_STATE_ERROR,

	incusx.StateUnreachable: pb.ContainerState_CONTAINER_STATE_UNREACHABLE,
}

// toProto is a container as the API shows it.
func (s *Service) toProto(c incusx.Container) *pb.Container {
	container := &pb.Container{
		Name:             c.Name,
		Username:         c.Username,
		State:            stateProto[c.State],
		Resources:        &pb.Resources{Cpu: c.Limits.CPU, Memory: c.Limits.Memory, Disk: c.Limits.Disk},
		Labels:           c.Labels,
		Image:            c.Image,
		ImageFingerprint: c.ImageFingerprint,
		DockerEnabled:    c.Docker,
		AutoStart:        c.AutoStart,
		Location:         c.Location,
		Network: &pb.Network{
			IpAddress:   c.Address,
			MacAddress:  c.MAC,
			Interface:   c.Interface,
			Network:     c.Network,
			JumpAddress: s.JumpAddress,
			SshPort:     uint32(s.SSHPort), //nolint:gosec // a port
			SshHostKey:  c.HostKey,

			SshHostKeyFingerprint: hostKeyFingerprint(c.HostKey),
		},
	}
	if !c.CreatedAt.IsZero() { // else its member was unreachable all along
		container.CreatedAt = timestamppb.New(c.CreatedAt)
	}
	if c.Limits.Disk != "" {
		container.Resources.DiskEnforced = &c.DiskEnforced
	}
	if c.Docker {
		container.DockerInstalled = &c.DockerInstalled
	}
	for _, line := range c.SSHKeys {
		key, err := sshkey.Parse(line)
		if err != nil { // somebody edited the instance: shown as it is
			container.SshKeys = append(container.SshKeys, &pb.SSHKey{PublicKey: line})
			continue
		}
		container.SshKeys = append(container.SshKeys, &pb.SSHKey{PublicKey: line, Fingerprint: key.Fingerprint, Type: key.Type, Comment: key.Comment})
	}
	return container
}
