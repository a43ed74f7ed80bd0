package service

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/footprintai/containarium/incusx"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

const (
	// diskBudget is how long an answer about all containers waits for the use of
	// their disks, which costs Incus some 20 ms each.
	diskBudget = 250 * time.Millisecond
	// sampleEvery is how often the daemon looks by itself, so that rates are there
	// for whoever asks but once: some 200 µs for each running container.
	sampleEvery = time.Minute
)

// GetMetrics implements the RPC. For all containers the disks' figures may be ten
// minutes old, or absent until a later call has come to them.
func (s *Service) GetMetrics(ctx context.Context, request *pb.GetMetricsRequest) (*pb.GetMetricsResponse, error) {
	if username := request.GetUsername(); username != "" {
		return s.metricsOf(ctx, username)
	}
	containers, err := s.containers(ctx)
	if err != nil {
		return nil, statusOf(err)
	}
	s.samples.keep(containers)
	containers = slices.DeleteFunc(containers, func(c incusx.Container) bool { return !s.May(ctx, "ContainerService/GetMetrics", c.Username) })
	usages, err := s.Incus.UsageAll(ctx, containers)
	if err != nil {
		return nil, statusOf(err)
	}
	s.lookAtDisks(ctx, usages)
	slices.SortFunc(usages, func(a, b incusx.Usage) int { return cmp.Compare(a.Container.Username, b.Container.Username) })
	response := &pb.GetMetricsResponse{TakenAt: timestamppb.Now()}
	for i := range usages {
		response.Metrics = append(response.Metrics, metricsProto(usages[i], s.samples.add(usages[i])))
	}
	if s.May(ctx, "ContainerService/GetSystemInfo", "") {
		host, err := s.Incus.HostUsage(ctx)
		if err != nil {
			return nil, statusOf(err)
		}
		response.Host = hostProto(host, s.samples.addHost(host))
	}
	return response, nil
}

func (s *Service) metricsOf(ctx context.Context, username string) (*pb.GetMetricsResponse, error) {
	if err := checkUsername(username); err != nil {
		return nil, err
	}
	if entry, err := s.copied.Get(ctx, username); err == nil && entry.Container.State == incusx.StateUnreachable {
		usages, _ := s.Incus.Counters([]incusx.Container{entry.Container})
		return &pb.GetMetricsResponse{Metrics: []*pb.ContainerMetrics{metricsProto(usages[0], rates{})}, TakenAt: timestamppb.Now()}, nil
	}
	usage, err := s.Incus.Usage(ctx, username)
	if errors.Is(err, incusx.ErrNotFound) {
		return nil, errNoContainer(username)
	}
	if err != nil {
		return nil, statusOf(err)
	}
	s.samples.sawDisk(usage)
	metrics := metricsProto(usage, s.samples.add(usage))
	return &pb.GetMetricsResponse{Metrics: []*pb.ContainerMetrics{metrics}, TakenAt: timestamppb.New(usage.At)}, nil
}

// lookAtDisks adds to usages what their disks hold: anew where that is known for
// less than a minute, the oldest first, as long as diskBudget lasts.
func (s *Service) lookAtDisks(ctx context.Context, usages []incusx.Usage) {
	ctx, cancel := context.WithTimeout(ctx, diskBudget)
	defer cancel()
	for _, i := range s.samples.oldDisks(usages) {
		usage, err := s.Incus.Usage(ctx, usages[i].Container.Username)
		if ctx.Err() != nil {
			break
		}
		if err == nil { // else it has just been deleted, or Incus can not tell
			s.samples.sawDisk(usage)
		}
	}
	for i := range usages {
		s.samples.addDisk(&usages[i])
	}
}

// Sample looks at what containers use every so often, for the rates of a later
// GetMetrics. It returns when ctx ends.
func (s *Service) Sample(ctx context.Context) {
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	for {
		s.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (s *Service) look(ctx context.Context) {
	if containers, err := s.containers(ctx); err == nil { // else Supervise says so
		s.samples.keep(containers)
		for _, usage := range s.Incus.Totals(containers) {
			s.samples.add(usage)
		}
	}
	s.samples.addHost(s.Incus.HostCounters())
}

// containers are those of the copy that reads are answered from.
func (s *Service) containers(ctx context.Context) ([]incusx.Container, error) {
	entries, err := s.copied.List(ctx)
	containers := make([]incusx.Container, len(entries))
	for i, entry := range entries {
		containers[i] = entry.Container
	}
	return containers, err
}

func metricsProto(u incusx.Usage, r rates) *pb.ContainerMetrics {
	return &pb.ContainerMetrics{
		Username:             u.Container.Username,
		Name:                 u.Container.Name,
		State:                stateProto[u.Container.State],
		CpuUsageNanoseconds:  u.CPUNanoseconds,
		MemoryUsageBytes:     u.MemoryBytes,
		MemoryLimitBytes:     u.MemoryMaxBytes,
		DiskUsageBytes:       u.DiskBytes,
		DiskLimitBytes:       u.DiskMaxBytes,
		NetworkReceivedBytes: u.ReceivedBytes,
		NetworkSentBytes:     u.SentBytes,
		ProcessCount:         u.Processes,
		CpuCores:             r.cores,
		NetworkReceivedRate:  r.received,
		NetworkSentRate:      r.sent,
		DiskReadBytes:        u.ReadBytes,
		DiskWrittenBytes:     u.WrittenBytes,
		DiskReadRate:         r.read,
		DiskWrittenRate:      r.written,
		OomKills:             u.OOMKills,
		Pressure:             pressureProto(u.Pressure),
	}
}

func hostProto(u incusx.HostUsage, cores *float64) *pb.HostMetrics {
	return &pb.HostMetrics{
		CpuCount:         uint32(u.CPUs), //nolint:gosec // a number of cores
		CpuCores:         cores,
		Load:             u.Load,
		MemoryTotalBytes: u.MemoryTotalBytes,
		MemoryUsageBytes: u.MemoryBytes,
		DiskTotalBytes:   u.DiskTotalBytes,
		DiskUsageBytes:   u.DiskBytes,
		OomKills:         u.OOMKills,
		Pressure:         pressureProto(u.Pressure),
	}
}

func pressureProto(p incusx.Pressure) *pb.Pressure {
	if p == (incusx.Pressure{}) {
		return nil
	}
	return &pb.Pressure{Cpu: p.CPU, Memory: p.Memory, Io: p.IO}
}
