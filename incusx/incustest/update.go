package incustest

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"

	"github.com/lxc/incus/v6/shared/api"
)

// etag covers what a client may write, and so volatile keys as well: an instance
// that starts has another one.
func (inst *instance) etag() string { return etagOf(inst.put) }

func digest(v any) [sha256.Size]byte {
	raw, _ := json.Marshal(v) // maps come sorted
	return sha256.Sum256(raw)
}

// putInstance replaces the config, or restores a snapshot. From the look at the ETag to the end of the
// operation no other update gets in between.
func (s *Server) putInstance(w http.ResponseWriter, r *http.Request) error {
	var put api.InstancePut
	if err := readJSON(r, &put); err != nil {
		return err
	}
	inst, unlock, err := s.beginUpdate(r)
	if err != nil {
		return err
	}
	op := &operation{project: inst.project.name, description: "Updating instance", resources: resources(inst), finally: unlock}
	return s.launch(w, r, op, func(context.Context) error {
		if put.Restore != "" {
			return s.restoreSnapshot(inst, put.Restore)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.update(inst, put)
	})
}

// beginUpdate waits for its turn to update the instance of a request, and checks
// that the client read what is there now.
func (s *Server) beginUpdate(r *http.Request) (inst *instance, unlock func(), err error) {
	s.mu.Lock()
	inst, err = s.instance(r)
	s.mu.Unlock()
	if err != nil {
		return nil, nil, err
	}
	select {
	case inst.updates <- struct{}{}:
	case <-r.Context().Done():
		return nil, nil, r.Context().Err()
	}
	unlock = func() { <-inst.updates }
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := inst.checkETag(r); err != nil {
		unlock()
		return nil, nil, err
	}
	return inst, unlock, nil
}

func (inst *instance) checkETag(r *http.Request) error {
	match := strings.Trim(r.Header.Get("If-Match"), `"`)
	if match != "" && match != inst.etag() {
		return api.StatusErrorf(http.StatusPreconditionFailed, "ETag doesn't match: %s vs %s", inst.etag(), match)
	}
	return nil
}

// patchInstance adds to the config and the devices. Incus answers it at once.
func (s *Server) patchInstance(w http.ResponseWriter, r *http.Request) error {
	var patch api.InstancePut
	if err := readJSON(r, &patch); err != nil {
		return err
	}
	inst, unlock, err := s.beginUpdate(r)
	if err != nil {
		return err
	}
	defer unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	put := inst.put
	put.Config, put.Devices = maps.Clone(put.Config), cloneDevices(put.Devices)
	maps.Copy(put.Config, patch.Config)
	maps.Copy(put.Devices, patch.Devices)
	if err := s.update(inst, put); err != nil {
		return err
	}
	return writeSync(w, map[string]any{}, "")
}

// update gives an instance another config, if that is valid. Server.mu is held.
func (s *Server) update(inst *instance, put api.InstancePut) error {
	if inst.project.instances[inst.name] != inst {
		return errNoInstance(inst.project.name, inst.name)
	}
	if err := inst.begin("update"); err != nil {
		return err
	}
	inst.busy = ""
	if put.Config == nil {
		put.Config = map[string]string{}
	}
	if put.Devices == nil {
		put.Devices = map[string]map[string]string{}
	}
	if put.Architecture == "" {
		put.Architecture = inst.put.Architecture
	}
	if err := inst.project.checkProfiles(put.Profiles); err != nil {
		return err
	}
	if err := checkConfig(put.Config); err != nil {
		return fmt.Errorf("Invalid config: %w", err) //nolint:staticcheck // Incus' words
	}
	_, devices := inst.project.expand(&put)
	if err := s.checkDevices(inst.project.name, devices); err != nil {
		return fmt.Errorf("Invalid devices: %w", err) //nolint:staticcheck // Incus' words
	}
	if err := s.checkPins(inst, "update", devices); err != nil {
		return err
	}
	if err := s.checkQuota(inst, &put); err != nil {
		return err
	}
	inst.put = put
	s.reserve(inst)
	s.happened(inst, api.EventLifecycleInstanceUpdated)
	return nil
}
