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

// instance is a container. Server.mu guards it.
type instance struct {
	project   *project
	name      string
	location  string // the member of the cluster, or "none"
	put       api.InstancePut
	image     Image
	created   time.Time
	lastUsed  time.Time
	status    api.StatusCode
	busy      string // what is being done to it, or empty
	guest     *guest
	updates   chan struct{} // holds a token while one is under way
	snapshots map[string]*snapshot
	used      int64 // of its disk, in bytes
}

func instanceURL(inst *instance) string {
	url := "/1.0/instances/" + inst.name
	if inst.project.name != api.ProjectDefaultName {
		url += "?project=" + inst.project.name
	}
	return url
}

func resources(inst *instance) map[string][]string {
	return map[string][]string{"instances": {instanceURL(inst)}}
}

func (s *Server) instanceRoutes() {
	s.handle("GET /1.0/instances", s.listInstances)
	s.handle("POST /1.0/instances", s.createInstance)
	s.handle("GET /1.0/instances/{name}", s.getInstance)
	s.handle("PUT /1.0/instances/{name}", s.putInstance)
	s.handle("PATCH /1.0/instances/{name}", s.patchInstance)
	s.handle("DELETE /1.0/instances/{name}", s.deleteInstance)
	s.handle("GET /1.0/instances/{name}/state", s.getState)
	s.handle("PUT /1.0/instances/{name}/state", s.putState)
	s.handle("POST /1.0/instances/{name}/exec", s.execInstance)
	s.handle("GET /1.0/instances/{name}/files", s.getFile)
	s.handle("POST /1.0/instances/{name}/files", s.postFile)
	s.handle("DELETE /1.0/instances/{name}/files", s.deleteFile)
	s.handle("GET /1.0/instances/{name}/sftp", s.serveSFTP)
	s.snapshotRoutes()
}

// instance returns the instance of a request. Server.mu is held.
func (s *Server) instance(r *http.Request) (*instance, error) {
	p, err := s.project(r)
	if err != nil {
		return nil, err
	}
	name := r.PathValue("name")
	inst := p.instances[name]
	if inst == nil {
		return nil, errNoInstance(p.name, name)
	}
	if s.unreachable(inst) {
		return nil, s.member(inst.location).errMember()
	}
	return inst, nil
}

func errNoInstance(project, name string) error {
	return api.StatusErrorf(http.StatusNotFound, "Failed to fetch instance %q in project %q: Instance not found", name, project)
}

// begin says that something is being done to an instance; it fails where
// something else is. Server.mu is held.
func (inst *instance) begin(action string) error {
	if inst.busy != "" {
		return fmt.Errorf("Failed to create instance %s operation: Instance is busy running a %q operation", action, inst.busy) //nolint:staticcheck // Incus' words
	}
	inst.busy = action
	return nil
}

func (s *Server) listInstances(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*instance
	if r.URL.Query().Get("all-projects") == "true" {
		for _, p := range s.projects {
			found = slices.AppendSeq(found, maps.Values(p.instances))
		}
	} else if p := s.projects[projectName(r)]; p != nil { // of no project: none, as in Incus
		found = slices.AppendSeq(found, maps.Values(p.instances))
	}
	if kind := r.URL.Query().Get("instance-type"); kind != "" && kind != "container" {
		found = nil
	}
	slices.SortFunc(found, func(a, b *instance) int { return strings.Compare(a.name, b.name) })
	switch r.URL.Query().Get("recursion") {
	case "2":
		full := make([]api.InstanceFull, len(found))
		for i, inst := range found {
			full[i] = api.InstanceFull{Instance: inst.hidden()}
			if !s.unreachable(inst) {
				full[i] = api.InstanceFull{Instance: inst.render(), State: s.renderState(inst)}
			}
		}
		return writeSync(w, full, "")
	case "1":
		rendered := make([]api.Instance, len(found))
		for i, inst := range found {
			rendered[i] = inst.hidden()
			if !s.unreachable(inst) {
				rendered[i] = inst.render()
			}
		}
		return writeSync(w, rendered, "")
	}
	urls := make([]string, len(found))
	for i, inst := range found {
		urls[i] = instanceURL(inst)
	}
	return writeSync(w, urls, "")
}

func (s *Server) getInstance(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	inst, err := s.instance(r)
	if err != nil {
		return err
	}
	if recursive(r) {
		return writeSync(w, api.InstanceFull{Instance: inst.render(), State: s.renderState(inst)}, inst.etag())
	}
	return writeSync(w, inst.render(), inst.etag())
}

func (inst *instance) render() api.Instance {
	config, devices := inst.project.expand(&inst.put)
	put := inst.put
	put.Config, put.Devices = maps.Clone(put.Config), cloneDevices(put.Devices)
	return api.Instance{
		InstancePut: put, Name: inst.name, Type: "container", Project: inst.project.name, Location: inst.location,
		CreatedAt: inst.created, LastUsedAt: inst.lastUsed, Status: inst.status.String(), StatusCode: inst.status,
		ExpandedConfig: config, ExpandedDevices: cloneDevices(devices),
	}
}

func cloneDevices(devices map[string]map[string]string) map[string]map[string]string {
	cloned := make(map[string]map[string]string, len(devices))
	for name, device := range devices {
		cloned[name] = maps.Clone(device)
	}
	return cloned
}

func (s *Server) createInstance(w http.ResponseWriter, r *http.Request) error {
	post := api.InstancesPost{}
	if err := readJSON(r, &post); err != nil {
		return err
	}
	if err := checkName(post.Name); err != nil {
		return api.StatusErrorf(http.StatusBadRequest, "Invalid instance name: %s", err)
	}
	s.mu.Lock()
	p, err := s.project(r)
	if err == nil && post.Profiles == nil {
		post.Profiles = []string{api.ProjectDefaultName}
	}
	if err == nil {
		err = p.checkProfiles(post.Profiles)
	}
	location := ""
	if err == nil {
		location, err = s.place(p, r.URL.Query().Get("target"))
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	var inst *instance
	op := &operation{
		project: p.name, description: "Creating instance",
		resources: map[string][]string{"instances": {"/1.0/instances/" + post.Name}},
	}
	return s.launch(w, r, op, func(ctx context.Context) error {
		s.mu.Lock()
		inst, err = s.makeInstance(p, &post, location)
		s.mu.Unlock()
		if err != nil || !post.Start {
			return err
		}
		return s.start(ctx, inst)
	})
}

func (p *project) checkProfiles(names []string) error {
	for _, name := range names {
		if p.profiles[name] == nil {
			return fmt.Errorf("Requested profile %q doesn't exist", name) //nolint:staticcheck // Incus' words
		}
	}
	return nil
}

// errNameTaken is what Incus' database says of a name that is taken.
var errNameTaken = errors.New(`Add instance info to the database: Failed to create "instances" entry: UNIQUE constraint failed: instances.project_id, instances.name`) //nolint:staticcheck // Incus' words

// makeInstance is what the operation of a create does. Server.mu is held.
func (s *Server) makeInstance(p *project, post *api.InstancesPost, location string) (*instance, error) {
	failed := func(err error) error {
		return fmt.Errorf("Failed creating instance record: %w", err) //nolint:staticcheck // Incus' words
	}
	source, err := p.sourceImage(&post.Source)
	if err != nil {
		return nil, err
	}
	if err := checkConfig(post.Config); err != nil {
		return nil, failed(err)
	}
	if p.instances[post.Name] != nil {
		return nil, failed(errNameTaken)
	}
	inst := &instance{
		project: p, name: post.Name, location: location, put: post.InstancePut, image: source.Image,
		created: time.Now(), lastUsed: time.Unix(0, 0).UTC(), used: usedAtFirst, status: api.Stopped, updates: make(chan struct{}, 1),
	}
	if inst.put.Config == nil {
		inst.put.Config = map[string]string{}
	}
	if inst.put.Devices == nil {
		inst.put.Devices = map[string]map[string]string{}
	}
	inst.put.Architecture = "x86_64"
	_, devices := p.expand(&inst.put)
	if err := s.checkDevices(p.name, devices); err != nil {
		return nil, failed(err)
	}
	config := inst.put.Config
	for key, value := range source.put.Properties {
		config["image."+key] = value
	}
	config["volatile.base_image"] = source.fingerprint
	config["volatile.apply_template"] = "create"
	config["volatile.uuid"] = newUUID()
	for name, device := range devices {
		if device["type"] == "nic" && device["hwaddr"] == "" {
			config["volatile."+name+".hwaddr"] = newMAC()
		}
	}
	p.instances[inst.name] = inst
	inst.guest = newGuest(inst)
	s.reserve(inst)
	s.happened(inst, api.EventLifecycleInstanceCreated)
	return inst, nil
}

// sourceImage finds the image that an instance is to be made from. That of a
// remote server is there, and fit.
func (p *project) sourceImage(source *api.InstanceSource) (*image, error) {
	missing := errors.New("Image not provided for instance creation")
	switch {
	case source.Type != "image":
		return nil, api.StatusErrorf(http.StatusBadRequest, "Unknown source type %s", source.Type)
	case source.Server != "":
		return newImage(Image{Alias: source.Alias + source.Fingerprint}), nil
	case source.Fingerprint != "":
		if i, err := p.findImage(source.Fingerprint); err == nil {
			return i, nil
		}
		return nil, missing
	}
	if i := p.images[p.aliases[source.Alias]]; i != nil {
		return i, nil
	}
	return nil, missing
}

func (s *Server) deleteInstance(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	inst, err := s.instance(r)
	if err == nil && inst.status != api.Stopped {
		err = api.StatusErrorf(http.StatusBadRequest, "Instance is running")
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	op := &operation{project: inst.project.name, description: "Deleting instance", resources: resources(inst)}
	return s.launch(w, r, op, func(context.Context) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if inst.project.instances[inst.name] != inst {
			return errNoInstance(inst.project.name, inst.name)
		}
		if err := inst.begin("delete"); err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(inst.snapshots)) {
			s.dropSnapshot(inst, name)
		}
		delete(inst.project.instances, inst.name)
		s.unreserve(inst)
		s.happened(inst, api.EventLifecycleInstanceDeleted)
		return nil
	})
}
