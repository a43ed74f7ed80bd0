package incustest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/lxc/incus/v6/shared/api"
)

// snapshot is an instance as it was: its config, and its disk. Server.mu guards it.
type snapshot struct {
	name    string
	created time.Time
	put     api.InstancePut
	disk    disk
}

// disk is what a restore brings back.
type disk struct {
	files map[string]file
	users map[string]int
	used  int64
}

func (inst *instance) copyDisk() disk {
	return disk{maps.Clone(inst.guest.files), maps.Clone(inst.guest.users), inst.used}
}

func (s *Server) snapshotRoutes() {
	s.handle("GET /1.0/instances/{name}/snapshots", s.listSnapshots)
	s.handle("POST /1.0/instances/{name}/snapshots", s.createSnapshot)
	s.handle("GET /1.0/instances/{name}/snapshots/{snapshot}", s.getSnapshot)
	s.handle("DELETE /1.0/instances/{name}/snapshots/{snapshot}", s.deleteSnapshot)
}

func (s *Server) listSnapshots(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	inst, err := s.instance(r)
	if err != nil {
		return err
	}
	urls, whole := []string{}, []api.InstanceSnapshot{}
	for _, name := range slices.Sorted(maps.Keys(inst.snapshots)) {
		urls = append(urls, "/1.0/instances/"+inst.name+"/snapshots/"+name)
		whole = append(whole, inst.renderSnapshot(inst.snapshots[name]))
	}
	if recursive(r) {
		return writeSync(w, whole, "")
	}
	return writeSync(w, urls, "")
}

func (inst *instance) renderSnapshot(snap *snapshot) api.InstanceSnapshot {
	config, devices := inst.project.expand(&snap.put)
	return api.InstanceSnapshot{
		Name: snap.name, CreatedAt: snap.created, Architecture: snap.put.Architecture, Profiles: snap.put.Profiles,
		Config: maps.Clone(snap.put.Config), Devices: cloneDevices(snap.put.Devices),
		ExpandedConfig: config, ExpandedDevices: cloneDevices(devices), Size: 16 << 10,
	}
}

func (s *Server) getSnapshot(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	inst, snap, err := s.snapshot(r)
	if err != nil {
		return err
	}
	return writeSync(w, inst.renderSnapshot(snap), "")
}

func (s *Server) snapshot(r *http.Request) (*instance, *snapshot, error) {
	inst, err := s.instance(r)
	if err != nil {
		return nil, nil, err
	}
	name := r.PathValue("snapshot")
	if snap := inst.snapshots[name]; snap != nil {
		return inst, snap, nil
	}
	return nil, nil, api.StatusErrorf(http.StatusNotFound, "Failed to fetch snapshot %q of instance %q in project %q: Instance_snapshot not found", name, inst.name, inst.project.name)
}

func (s *Server) createSnapshot(w http.ResponseWriter, r *http.Request) error {
	var post api.InstanceSnapshotsPost
	if err := readJSON(r, &post); err != nil {
		return err
	}
	s.mu.Lock()
	inst, err := s.instance(r)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	op := &operation{project: inst.project.name, description: "Snapshotting instance", resources: resources(inst)}
	return s.launch(w, r, op, func(context.Context) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.takeSnapshot(inst, post.Name)
	})
}

// takeSnapshot takes one. Server.mu is held.
func (s *Server) takeSnapshot(inst *instance, name string) error {
	failed := func(err error) error {
		return fmt.Errorf("Failed creating instance snapshot record %q: %w", name, err) //nolint:staticcheck // Incus' words
	}
	switch {
	case strings.ContainsAny(name, " /"):
		return failed(errors.New("Invalid instance snapshot name: Cannot contain space or / characters")) //nolint:staticcheck // Incus' words
	case inst.snapshots[name] != nil:
		return failed(errors.New(`Add snapshot info to the database: Failed to create "instances_snapshots" entry: UNIQUE constraint failed: instances_snapshots.instance_id, instances_snapshots.name`)) //nolint:staticcheck // Incus' words
	case s.diskFull(inst):
		return errors.New("Create instance snapshot: Failed to run: btrfs property set: exit status 1 (ERROR: Could not set subvolume flags: Disk quota exceeded)") //nolint:staticcheck // Incus' words
	}
	if inst.snapshots == nil {
		inst.snapshots = map[string]*snapshot{}
	}
	inst.snapshots[name] = &snapshot{name, time.Now(), clonePut(inst.put), inst.copyDisk()}
	s.happenedTo(inst, name, api.EventLifecycleInstanceSnapshotCreated)
	return nil
}

func clonePut(put api.InstancePut) api.InstancePut {
	put.Config, put.Devices = maps.Clone(put.Config), cloneDevices(put.Devices)
	return put
}

func (s *Server) deleteSnapshot(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	inst, snap, err := s.snapshot(r)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	op := &operation{project: inst.project.name, description: "Deleting snapshot", resources: resources(inst)}
	return s.launch(w, r, op, func(context.Context) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.dropSnapshot(inst, snap.name)
		return nil
	})
}

func (s *Server) dropSnapshot(inst *instance, name string) {
	delete(inst.snapshots, name)
	s.happenedTo(inst, name, api.EventLifecycleInstanceSnapshotDeleted)
}

// happenedTo sends a lifecycle event about a snapshot, which names no instance but
// in its source. Server.mu is held.
func (s *Server) happenedTo(inst *instance, snapshot, action string) {
	instance, query, _ := strings.Cut(instanceURL(inst), "?")
	source := instance + "/snapshots/" + snapshot
	if query != "" {
		source += "?" + query
	}
	s.send(inst.project.name, api.EventTypeLifecycle, api.EventLifecycle{Action: action, Source: source, Project: inst.project.name})
}

// restoreSnapshot brings back the disk and with it, like Incus 6.0, all of the
// config. A guest that runs is stopped for it and started again.
func (s *Server) restoreSnapshot(inst *instance, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	snap := inst.snapshots[name]
	if snap == nil {
		return fmt.Errorf("Snapshot %s/%s does not exist", inst.name, name) //nolint:staticcheck // Incus' words
	}
	if err := inst.begin("restore"); err != nil {
		return err
	}
	inst.busy = ""
	if s.driver() == "zfs" {
		for _, other := range inst.snapshots {
			if other.created.After(snap.created) {
				return fmt.Errorf("Snapshot %q cannot be restored due to subsequent snapshot(s). Set zfs.remove_snapshots to override", name) //nolint:staticcheck // Incus' words
			}
		}
	}
	ran := inst.status != api.Stopped
	if ran {
		s.halt(inst)
	}
	power := inst.put.Config["volatile.last_state.power"]
	inst.put = clonePut(snap.put)
	inst.put.Config["volatile.last_state.power"] = power
	inst.put.Config["volatile.uuid.generation"] = newUUID()
	delete(inst.put.Config, "volatile.eth0.host_name")
	inst.guest.files, inst.guest.users, inst.used = maps.Clone(snap.disk.files), maps.Clone(snap.disk.users), snap.disk.used
	s.reserve(inst)
	if ran {
		if err := s.boot(inst); err != nil {
			return err
		}
		s.happened(inst, api.EventLifecycleInstanceStarted)
	}
	s.happened(inst, api.EventLifecycleInstanceRestored)
	return nil
}
