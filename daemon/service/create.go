package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/footprintai/containarium/daemon/jump"
	"github.com/footprintai/containarium/incusx"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// rollbackTimeout bounds the clean-up after a failed create. It runs on its own
// time: the create may have used up its own, or the daemon be stopping.
const rollbackTimeout = 30 * time.Second

// CreateContainer implements the RPC.
func (s *Service) CreateContainer(ctx context.Context, request *pb.CreateContainerRequest) (*pb.CreateContainerResponse, error) {
	spec, err := s.checkCreate(ctx, "", request)
	if err != nil {
		return nil, err
	}
	return s.create(ctx, spec, !request.GetNoWait(), func(*pb.CreateContainerStreamResponse) {})
}

// CreateContainerStream implements the RPC.
func (s *Service) CreateContainerStream(request *pb.CreateContainerStreamRequest, stream pb.ContainerService_CreateContainerStreamServer) error {
	spec, err := s.checkCreate(stream.Context(), "create.", request.GetCreate())
	if err != nil {
		return err
	}
	result, err := s.create(stream.Context(), spec, !request.GetCreate().GetNoWait(), func(progress *pb.CreateContainerStreamResponse) {
		// A caller that went away hears of no stage; the work goes on without it.
		_ = stream.Send(progress)
	})
	if err != nil {
		return err
	}
	return stream.Send(&pb.CreateContainerStreamResponse{Result: result, Percent: 100})
}

// create makes a container, or fails and leaves nothing of it.
func (s *Service) create(ctx context.Context, spec incusx.Spec, wait bool, report func(*pb.CreateContainerStreamResponse)) (*pb.CreateContainerResponse, error) {
	// A preparation has a time of its own, and so the create on either side of it.
	ctx, cancel := s.detach(ctx, 2*s.CreateTimeout+prepareTimeout)
	defer cancel()
	release, err := s.users.acquireCreate(ctx, spec.Username)
	if errors.Is(err, errBusy) {
		return nil, errExists(spec.Username, "is being created by another call")
	}
	if err != nil {
		return nil, statusOf(err)
	}
	defer release()
	defer s.reread(ctx, spec.Username)
	if err := s.checkFree(ctx, spec.Username); err != nil {
		return nil, statusOf(err)
	}

	c := &creation{Service: s, spec: spec, wait: wait, report: report}
	container, err := c.run(ctx)
	c.leave()
	if s.Observer != nil {
		s.Observer.Create(err)
	}
	if err != nil {
		s.Log.WithError(err).WithField("username", spec.Username).WithField("stage", c.stage).Warn("a create failed")
		return nil, c.failed(ctx, err)
	}
	s.Log.WithField("username", spec.Username).Info("created")
	return &pb.CreateContainerResponse{Container: s.toProto(container), Warnings: c.warnings}, nil
}

// checkFree reports why there can be no new container of that user. What a
// create of a dead daemon left under the name is removed.
func (s *Service) checkFree(ctx context.Context, username string) error {
	container, err := s.Incus.Get(ctx, username)
	switch {
	case err == nil && container.State == incusx.StateCreating:
		if others, err := s.othersWork(ctx, container); err != nil || others {
			return cmp.Or(err, errExists(username, "is being created through the cluster member "+container.Through))
		}
		if err := s.Incus.Remove(ctx, username); err != nil {
			return err
		}
	case err == nil:
		return errExists(username, "has a container on this host already")
	case errors.Is(err, incusx.ErrMemberDown):
		return errExists(username, "has a container already, on a cluster member that does not answer")
	case !errors.Is(err, incusx.ErrNotFound):
		return err
	}
	exists, err := s.Incus.Exists(ctx, username)
	if err != nil {
		return err
	}
	if exists {
		return errExists(incusx.InstanceName(username), "is an instance on this host that somebody else made: choose another user name")
	}
	return s.Hop.Check(ctx, username)
}

// creation is one create on its way.
type creation struct {
	*Service
	spec     incusx.Spec
	wait     bool
	report   func(*pb.CreateContainerStreamResponse)
	stage    pb.CreateStage
	entered  time.Time // when the stage began
	percent  percentage
	warnings []string
	// What there is to roll back.
	instance, account bool
}

func (c *creation) enter(stage pb.CreateStage) {
	c.leave()
	c.stage = stage
	c.say(createSpans[stage][0], "")
}

func (c *creation) say(percent int, detail string) {
	c.report(&pb.CreateContainerStreamResponse{Stage: c.stage, Percent: c.percent.at(percent), Detail: detail})
}

// within reports how far a stage is.
func (c *creation) within(percent int, detail string) {
	span := createSpans[c.stage]
	c.say(span[0]+(span[1]-span[0])*percent/100, detail)
}

// run makes the container, if need be from an image that is prepared first: that
// an image is unfit shows where it is known to be, or when its guest runs.
func (c *creation) run(ctx context.Context) (incusx.Container, error) {
	c.enter(pb.CreateStage_CREATE_STAGE_IMAGE)
	image, err := c.findImage(ctx)
	if err != nil {
		return incusx.Container{}, err
	}
	container, err := c.make(ctx, image)
	if _, unfit := errors.AsType[*incusx.ImageError](err); !unfit || c.stage != pb.CreateStage_CREATE_STAGE_ACCOUNT || image.Prepared() || !c.PrepareImages {
		return container, err
	}
	if err := c.rollBack(ctx); err != nil {
		return incusx.Container{}, err
	}
	if image, err = c.prepareImage(ctx); err != nil {
		return incusx.Container{}, err
	}
	return c.make(ctx, image)
}

// make goes through the stages. The account on the host is made while the guest
// boots, which is where the time goes.
func (c *creation) make(ctx context.Context, image incusx.Image) (incusx.Container, error) {
	ctx, cancel := context.WithTimeout(ctx, c.CreateTimeout)
	defer cancel()
	c.enter(pb.CreateStage_CREATE_STAGE_INSTANCE)
	chosen, err := c.Incus.Init(ctx, c.spec, image, c.within)
	// One of that name that was made since we looked is not ours to roll back.
	c.instance = !errors.Is(err, incusx.ErrExists)
	if err != nil {
		return incusx.Container{}, err
	}
	hop := c.startHop(ctx, chosen)
	defer func() { _ = hop() }() // nothing is rolled back while it is at work
	return c.bringUp(ctx, chosen, hop)
}

// startHop makes the account on the jump host, with its keys where the address is
// known, while the caller goes on; the returned function waits for it. One that
// was there before stays as it was until all else is well.
func (c *creation) startHop(ctx context.Context, address string) (wait func() error) {
	done := make(chan struct{})
	var err error
	go func() {
		defer close(done)
		if c.account, err = c.Hop.Prepare(ctx, c.spec.Username); err == nil && c.account && address != "" {
			err = c.Hop.Ensure(ctx, c.spec.Username, address, c.spec.SSHKeys)
		}
	}()
	return func() error { <-done; return err }
}

// bringUp starts the instance and waits until its owner can log in. Its guest has
// the chosen address or, where that is empty, one from DHCP; hop waits for the
// account on the jump host.
func (c *creation) bringUp(ctx context.Context, chosen string, hop func() error) (incusx.Container, error) {
	var result incusx.Result
	username := c.spec.Username
	c.enter(pb.CreateStage_CREATE_STAGE_START)
	if err := c.Incus.Start(ctx, username); err != nil {
		return incusx.Container{}, err
	}
	c.enter(pb.CreateStage_CREATE_STAGE_ACCOUNT)
	var err error
	if result.DockerInstalled, err = c.Incus.EnsureAccount(ctx, username, c.spec.SSHKeys); err != nil {
		return incusx.Container{}, err
	}
	if err := hop(); err != nil { // done by now, as a rule
		c.enter(pb.CreateStage_CREATE_STAGE_JUMP)
		return incusx.Container{}, err
	}
	warnings := c.warn(ctx, result)
	c.enter(pb.CreateStage_CREATE_STAGE_ADDRESS)
	if result.Address, err = c.Incus.WaitAddress(ctx, username, chosen); err != nil {
		return incusx.Container{}, err
	}
	c.enter(pb.CreateStage_CREATE_STAGE_JUMP)
	if !c.account || result.Address != chosen {
		if err = c.Hop.Ensure(ctx, username, result.Address, c.spec.SSHKeys); err != nil {
			return incusx.Container{}, err
		}
	}
	if c.wait {
		c.enter(pb.CreateStage_CREATE_STAGE_SSH)
		if result.HostKey, err = c.Incus.WaitSSH(ctx, result.Address, username, c.spec.SSHKeys); err != nil {
			return incusx.Container{}, err
		}
	}
	container, err := c.Incus.Finish(ctx, username, result)
	if err == nil && !c.wait {
		c.learnHostKey(container)
	}
	c.warnings = <-warnings
	return container, err
}

// createSpans are the percents at which a stage begins and ends, by how long
// they take.
var createSpans = map[pb.CreateStage][2]int{
	pb.CreateStage_CREATE_STAGE_IMAGE:    {1, 5},
	pb.CreateStage_CREATE_STAGE_PREPARE:  {5, 60},
	pb.CreateStage_CREATE_STAGE_INSTANCE: {5, 40},
	pb.CreateStage_CREATE_STAGE_START:    {40, 60},
	pb.CreateStage_CREATE_STAGE_ACCOUNT:  {60, 65},
	pb.CreateStage_CREATE_STAGE_ADDRESS:  {65, 88},
	pb.CreateStage_CREATE_STAGE_JUMP:     {88, 90},
	pb.CreateStage_CREATE_STAGE_SSH:      {90, 99},
}

// failed rolls back and returns the status that the caller gets: the cause, the
// stage, and whether something is left.
func (c *creation) failed(ctx context.Context, cause error) error {
	hint := ""
	if c.stage == pb.CreateStage_CREATE_STAGE_SSH {
		hint = c.elsewhere(context.WithoutCancel(ctx), c.spec.Username)
	}
	left := "nothing of it is left"
	if err := c.rollBack(ctx); err != nil {
		// The marker on the instance still says "creating", so Reconcile finishes
		// this, and no list shows it as running.
		c.Log.WithError(err).WithField("username", c.spec.Username).Error("a failed create could not be cleaned up; the daemon goes on trying")
		left = "what is left of it will be removed as soon as Incus allows"
		c.unsettled.Add(1)
	}
	stage := stageName(c.stage)
	message := fmt.Sprintf("create %s failed at stage %s: %s%s; %s", c.spec.Username, stage, messageOf(cause), hint, left)
	return newStatus(codeOf(cause), reasonOf(cause), message, "stage", stage)
}

// rollBack removes what this create made so far.
func (c *creation) rollBack(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	var errs []error
	if c.instance {
		if err := c.Incus.Remove(ctx, c.spec.Username); err != nil && !errors.Is(err, incusx.ErrNotFound) {
			errs = append(errs, err)
		}
	}
	if c.account {
		errs = append(errs, c.Hop.Remove(ctx, c.spec.Username))
	}
	c.instance, c.account = false, false
	return errors.Join(errs...)
}

// stageName is "ssh" for CREATE_STAGE_SSH.
func stageName(stage pb.CreateStage) string {
	return strings.ToLower(strings.TrimPrefix(stage.String(), "CREATE_STAGE_"))
}

// warn finds what the caller should know of what it asked for, while the create
// goes on: the one look at the host takes as long as several steps of it.
func (c *creation) warn(ctx context.Context, result incusx.Result) <-chan []string {
	done := make(chan []string, 1)
	var warnings []string
	if c.spec.Docker && !result.DockerInstalled {
		warnings = append(warnings, fmt.Sprintf("the image %s has no Docker engine: the container is ready for one, install it inside", c.spec.Image))
	}
	if len(c.spec.SSHKeys) == 0 {
		warnings = append(warnings, "no SSH key was given: nobody can log in until one is added")
	}
	if c.spec.Limits == (incusx.Limits{}) {
		done <- warnings
		return done
	}
	go func() {
		host, err := c.Incus.System(ctx)
		if err != nil { // the create itself will meet what is wrong
			host = incusx.System{}
		}
		done <- append(warnings, capacityWarnings(c.spec.Limits, host)...)
	}()
	return done
}

// capacityWarnings names the limits above what the host has. A host that could
// not be asked gives none.
func capacityWarnings(limits incusx.Limits, host incusx.System) []string {
	var warnings []string
	if cpu, err := incusx.ParseCPU(limits.CPU); err == nil && host.CPUs > 0 && (cpu.Cores > float64(host.CPUs) || cpu.Highest >= host.CPUs) {
		warnings = append(warnings, fmt.Sprintf("the CPU limit %s is more than the host's %d cores", limits.CPU, host.CPUs))
	}
	if memory, err := incusx.ParseSize(limits.Memory, 0); err == nil && host.MemoryTotal > 0 && uint64(memory) > host.MemoryTotal { //nolint:gosec // a size is not negative
		warnings = append(warnings, fmt.Sprintf("the memory limit %s is more than the host's %d MiB", limits.Memory, host.MemoryTotal>>20))
	}
	if disk, err := incusx.ParseSize(limits.Disk, 0); err == nil {
		if host.StorageTotal != nil && uint64(disk) > *host.StorageTotal { //nolint:gosec // a size is not negative
			warnings = append(warnings, fmt.Sprintf("the disk limit %s is more than the pool's %d GiB", limits.Disk, *host.StorageTotal>>30))
		}
		if host.StorageDriver == "dir" {
			warnings = append(warnings, "the host's storage (dir) does not enforce the disk limit")
		}
	}
	return warnings
}

var _ Hop = (*jump.Accounts)(nil)
