package incustest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/lxc/incus/v6/shared/api"
)

// shutdownDefault is how long Incus waits for a shutdown where the request names
// no time-out.
const shutdownDefault = 600 * time.Second

func (s *Server) getState(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	inst, err := s.instance(r)
	if err != nil {
		return err
	}
	return writeSync(w, s.renderState(inst), "")
}

// renderState says what a guest uses: little, and constant. Server.mu is held.
func (s *Server) renderState(inst *instance) *api.InstanceState {
	state := &api.InstanceState{Status: inst.status.String(), StatusCode: inst.status, Disk: map[string]api.InstanceStateDisk{}}
	config, devices := inst.project.expand(&inst.put)
	for name, device := range devices {
		if device["type"] == "disk" && device["size"] != "" && s.driver() != "dir" {
			state.Disk[name] = api.InstanceStateDisk{Usage: inst.used, Total: sizeOf(device["size"])}
		}
	}
	if inst.status == api.Stopped {
		return state
	}
	state.Pid, state.Processes = 4242, 11
	state.StartedAt = inst.guest.started
	state.CPU.Usage = 1_500_000_000 + int64(time.Since(inst.guest.started))/100
	state.Memory = api.InstanceStateMemory{Usage: 60 << 20, UsagePeak: 64 << 20, Total: 16 << 30}
	if limit := config["limits.memory"]; limit != "" {
		state.Memory.Total = sizeOf(limit)
	}
	state.Network = inst.guest.network(devices, config)
	return state
}

func (s *Server) putState(w http.ResponseWriter, r *http.Request) error {
	put := api.InstanceStatePut{Timeout: -1}
	if err := readJSON(r, &put); err != nil {
		return err
	}
	s.mu.Lock()
	inst, err := s.instance(r)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	act := map[string]struct {
		description string
		run         func(context.Context) error
	}{
		"start":    {"Starting instance", func(ctx context.Context) error { return s.start(ctx, inst) }},
		"stop":     {"Stopping instance", func(ctx context.Context) error { return s.stop(ctx, inst, put) }},
		"restart":  {"Restarting instance", func(ctx context.Context) error { return s.restart(ctx, inst, put) }},
		"freeze":   {"Freezing instance", func(context.Context) error { return s.freeze(inst) }},
		"unfreeze": {"Unfreezing instance", func(context.Context) error { return s.unfreeze(inst) }},
	}
	action, known := act[put.Action]
	if !known {
		return api.StatusErrorf(http.StatusBadRequest, "Unknown action: '%s'", put.Action)
	}
	op := &operation{project: inst.project.name, description: action.description, resources: resources(inst)}
	return s.launch(w, r, op, action.run)
}

var errNotRunning = errors.New("The instance isn't running") //nolint:staticcheck // Incus' words

func (s *Server) start(ctx context.Context, inst *instance) error {
	s.mu.Lock()
	err := s.startBegin(inst)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	s.pause(ctx, s.options.StartDelay)
	s.mu.Lock()
	defer s.mu.Unlock()
	inst.busy = ""
	if err := s.boot(inst); err != nil {
		return fmt.Errorf("Failed to run: start %s: %w", inst.name, err) //nolint:staticcheck // Incus' words
	}
	s.happened(inst, api.EventLifecycleInstanceStarted)
	return nil
}

func (s *Server) startBegin(inst *instance) error {
	if inst.project.instances[inst.name] != inst {
		return errNoInstance(inst.project.name, inst.name)
	}
	if inst.status != api.Stopped {
		return errors.New("The instance is already running") //nolint:staticcheck // Incus' words
	}
	_, devices := inst.project.expand(&inst.put)
	if err := s.checkPins(inst, "start", devices); err != nil {
		return err
	}
	if s.diskFull(inst) {
		return errors.New("Failed clearing ownership: chown: disk quota exceeded") //nolint:staticcheck // Incus' words
	}
	return inst.begin("start")
}

// boot makes an instance run and its guest come up. Server.mu is held.
func (s *Server) boot(inst *instance) error {
	if err := s.up(inst); err != nil {
		return err
	}
	inst.status, inst.lastUsed = api.Running, time.Now()
	config := inst.put.Config
	delete(config, "volatile.apply_template")
	delete(config, "volatile.root.apply_quota")
	config["volatile.last_state.power"] = "RUNNING"
	config["volatile.eth0.host_name"] = "veth" + newUUID()[:8]
	return s.beginCounters(inst)
}

// halt is the end of a run. Server.mu is held.
func (s *Server) halt(inst *instance) {
	inst.guest.down()
	inst.status = api.Stopped
	inst.put.Config["volatile.last_state.power"] = "STOPPED"
	s.endCounters(inst)
	delete(inst.put.Config, "volatile.eth0.host_name")
}

func (s *Server) stop(ctx context.Context, inst *instance, put api.InstanceStatePut) error {
	s.mu.Lock()
	if inst.status == api.Stopped {
		s.mu.Unlock()
		return api.StatusErrorf(http.StatusBadRequest, "The instance is already stopped")
	}
	forced := put.Force || put.Timeout == 0
	if !forced {
		if err := inst.begin("stop"); err != nil {
			s.mu.Unlock()
			return err
		}
	}
	deaf := inst.image.IgnoresShutdown || inst.status == api.Frozen
	s.mu.Unlock()
	if !forced && deaf {
		timeout := shutdownDefault
		if put.Timeout > 0 {
			timeout = time.Duration(put.Timeout) * time.Second
		}
		// Incus goes on to call the instance busy until it stops, by force if need be.
		s.pause(ctx, timeout)
		return fmt.Errorf("Failed shutting down instance, status is \"Running\": %w", context.DeadlineExceeded) //nolint:staticcheck // Incus' words
	}
	s.pause(ctx, s.options.StopDelay)
	s.mu.Lock()
	defer s.mu.Unlock()
	inst.busy = ""
	if inst.status == api.Stopped {
		return api.StatusErrorf(http.StatusBadRequest, "The instance is already stopped")
	}
	s.halt(inst)
	if forced {
		s.happened(inst, api.EventLifecycleInstanceStopped)
	} else {
		s.happened(inst, api.EventLifecycleInstanceShutdown)
	}
	return nil
}

func (s *Server) restart(ctx context.Context, inst *instance, put api.InstanceStatePut) error {
	s.mu.Lock()
	stopped := inst.status == api.Stopped
	s.mu.Unlock()
	if stopped {
		return errNotRunning
	}
	if err := s.stop(ctx, inst, put); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.boot(inst); err != nil {
		return err
	}
	s.happened(inst, api.EventLifecycleInstanceRestarted)
	return nil
}

func (s *Server) freeze(inst *instance) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch inst.status {
	case api.Stopped:
		return errNotRunning
	case api.Frozen:
		return errors.New("The container is already frozen") //nolint:staticcheck // Incus' words
	}
	inst.status = api.Frozen
	s.happened(inst, api.EventLifecycleInstancePaused)
	return nil
}

func (s *Server) unfreeze(inst *instance) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch inst.status {
	case api.Stopped:
		return errors.New("The container isn't running") //nolint:staticcheck // Incus' words
	case api.Running:
		return errors.New("The container is already running") //nolint:staticcheck // Incus' words
	}
	inst.status = api.Running
	s.happened(inst, api.EventLifecycleInstanceResumed)
	return nil
}

// Crash stops an instance as if its guest had powered itself off. It reports
// whether it ran.
func (s *Server) Crash(project, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.projects[project]
	if p == nil || p.instances[name] == nil || p.instances[name].status == api.Stopped {
		return false
	}
	inst := p.instances[name]
	s.halt(inst)
	s.happened(inst, api.EventLifecycleInstanceShutdown)
	return true
}
