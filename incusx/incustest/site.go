package incustest

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"runtime"
	"slices"

	"github.com/lxc/incus/v6/shared/api"
)

// The one network and the one pool that every profile "default" uses.
const (
	networkName = "incusbr0"
	poolName    = "default"
)

// project is a project with what is in it.
type project struct {
	name      string
	instances map[string]*instance
	images    map[string]*image // by fingerprint
	aliases   map[string]string // to fingerprints
	profiles  map[string]*api.ProfilePut
}

func newProject(name string, images []Image) *project {
	p := &project{
		name:      name,
		instances: map[string]*instance{},
		images:    map[string]*image{},
		aliases:   map[string]string{},
		profiles: map[string]*api.ProfilePut{api.ProjectDefaultName: {
			Description: "Default Incus profile",
			Config:      map[string]string{},
			Devices: map[string]map[string]string{
				"eth0": {"name": "eth0", "network": networkName, "type": "nic"},
				"root": {"path": "/", "pool": poolName, "type": "disk"},
			},
		}},
	}
	for _, i := range standardImages {
		p.addImage(i)
	}
	for _, i := range images {
		p.addImage(i)
	}
	return p
}

func projectName(r *http.Request) string {
	if name := r.URL.Query().Get("project"); name != "" {
		return name
	}
	return api.ProjectDefaultName
}

// project returns the project of a request. Server.mu is held.
func (s *Server) project(r *http.Request) (*project, error) {
	return s.projectByName(projectName(r))
}

func (s *Server) projectByName(name string) (*project, error) {
	if p := s.projects[name]; p != nil {
		return p, nil
	}
	return nil, api.StatusErrorf(http.StatusNotFound, "Project not found")
}

func recursive(r *http.Request) bool {
	level := r.URL.Query().Get("recursion")
	return level != "" && level != "0"
}

func (s *Server) siteRoutes() {
	s.handle("GET /1.0", s.getServer)
	s.handle("GET /1.0/resources", s.getResources)
	s.handle("GET /1.0/projects/{name}", s.getProject)
	s.handle("POST /1.0/projects", s.createProject)
	s.handle("GET /1.0/profiles/{name}", s.getProfile)
	s.handle("PUT /1.0/profiles/{name}", s.putProfile)
	s.handle("POST /1.0/profiles", s.createProfile)
	s.handle("GET /1.0/profiles", s.listProfiles)
	s.handle("DELETE /1.0/profiles/{name}", s.deleteProfile)
	s.handle("GET /1.0/networks/{name}", s.getNetwork)
	s.handle("GET /1.0/storage-pools/{name}", s.getPool)
	s.handle("GET /1.0/storage-pools/{name}/resources", s.getPoolResources)
}

// apiExtensions are those that the client looks for before it makes the calls
// that are simulated.
var apiExtensions = []string{
	"api_filtering", "clustering", "container_full", "container_exec_recording", "container_exec_user_group_cwd", "directory_manipulation", "file_delete",
	"event_lifecycle", "file_append", "file_symlinks", "image_compression_algorithm", "image_types", "instance_all_projects", "instance_create_start", "instances", "network", "operation_wait",
	"projects", "resources", "resources_v2", "storage",
}

func (s *Server) getServer(w http.ResponseWriter, r *http.Request) error {
	hostname, _ := os.Hostname()
	server := api.Server{
		ServerUntrusted: api.ServerUntrusted{
			ServerPut:     api.ServerPut{Config: map[string]string{}},
			APIExtensions: apiExtensions, APIStatus: "stable", APIVersion: "1.0",
			Auth: "trusted", AuthMethods: []string{"tls"},
		},
		AuthUserName: "root", AuthUserMethod: "unix",
		Environment: api.ServerEnvironment{
			Architectures: []string{"x86_64"}, Driver: "lxc", DriverVersion: "5.0.2", Kernel: "Linux",
			KernelArchitecture: "x86_64", KernelVersion: "6.1.0-simulated", OSName: "Debian GNU/Linux", OSVersion: "12",
			Project: projectName(r), Server: "incus", ServerName: hostname, ServerPid: os.Getpid(), ServerVersion: "6.0.4",
			Storage: s.driver(),
		},
	}
	if len(s.members) > 0 {
		server.Environment.ServerClustered, server.Environment.ServerName = true, s.members[0].name
	}
	return writeSync(w, server, "server")
}

func (s *Server) driver() string {
	if s.options.StorageDriver != "" {
		return s.options.StorageDriver
	}
	return "btrfs"
}

func (s *Server) getResources(w http.ResponseWriter, _ *http.Request) error {
	return writeSync(w, api.Resources{
		CPU:    api.ResourcesCPU{Architecture: "x86_64", Total: uint64(max(1, runtime.NumCPU()))},
		Memory: api.ResourcesMemory{Used: 1 << 30, Total: 16 << 30},
	}, "")
}

func (s *Server) getProject(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.projectByName(r.PathValue("name"))
	if err != nil {
		return err
	}
	return writeSync(w, api.Project{Name: p.name, ProjectPut: api.ProjectPut{Config: map[string]string{
		"features.images": "true", "features.profiles": "true",
	}}}, p.name)
}

// createProject makes a project that has its own profile and the images.
func (s *Server) createProject(w http.ResponseWriter, r *http.Request) error {
	var post api.ProjectsPost
	if err := readJSON(r, &post); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.projects[post.Name] != nil {
		return api.StatusErrorf(http.StatusConflict, "Project %q already exists", post.Name)
	}
	s.projects[post.Name] = newProject(post.Name, s.options.Images)
	return writeSync(w, nil, "")
}

func (s *Server) getProfile(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.project(r)
	if err != nil {
		return err
	}
	name := r.PathValue("name")
	profile := p.profiles[name]
	if profile == nil {
		return api.StatusErrorf(http.StatusNotFound, "Fetch profile: Profile not found")
	}
	return writeSync(w, api.Profile{ProfilePut: *profile, Name: name, Project: p.name, UsedBy: []string{}}, etagOf(profile))
}

func (s *Server) putProfile(w http.ResponseWriter, r *http.Request) error {
	var put api.ProfilePut
	if err := readJSON(r, &put); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.project(r)
	if err != nil {
		return err
	}
	profile := p.profiles[r.PathValue("name")]
	if profile == nil {
		return api.StatusErrorf(http.StatusNotFound, "Fetch profile: Profile not found")
	}
	*profile = put
	return writeSync(w, nil, "")
}

// listProfiles lists them as URLs or whole.
func (s *Server) listProfiles(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.project(r)
	if err != nil {
		return err
	}
	urls, profiles := []string{}, []api.Profile{}
	for _, name := range slices.Sorted(maps.Keys(p.profiles)) {
		profiles = append(profiles, api.Profile{ProfilePut: *p.profiles[name], Name: name, Project: p.name, UsedBy: []string{}})
		urls = append(urls, "/1.0/profiles/"+name)
	}
	if !recursive(r) {
		return writeSync(w, urls, "")
	}
	return writeSync(w, profiles, "")
}

// deleteProfile removes one that no instance has.
func (s *Server) deleteProfile(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.project(r)
	if err != nil {
		return err
	}
	name := r.PathValue("name")
	if p.profiles[name] == nil {
		return api.StatusErrorf(http.StatusNotFound, "Fetch profile: Profile not found")
	}
	for _, inst := range p.instances {
		if slices.Contains(inst.put.Profiles, name) {
			return api.StatusErrorf(http.StatusBadRequest, "Profile is currently in use")
		}
	}
	delete(p.profiles, name)
	return writeSync(w, nil, "")
}

func (s *Server) createProfile(w http.ResponseWriter, r *http.Request) error {
	var post api.ProfilesPost
	if err := readJSON(r, &post); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.project(r)
	if err != nil {
		return err
	}
	if p.profiles[post.Name] != nil {
		return api.StatusErrorf(http.StatusConflict, "Profile %q already exists", post.Name)
	}
	p.profiles[post.Name] = &post.ProfilePut
	return writeSync(w, nil, "")
}

// expand returns the config and the devices of an instance with those of its
// profiles under them.
func (p *project) expand(put *api.InstancePut) (config map[string]string, devices map[string]map[string]string) {
	config, devices = map[string]string{}, map[string]map[string]string{}
	for _, name := range put.Profiles {
		if profile := p.profiles[name]; profile != nil {
			maps.Copy(config, profile.Config)
			maps.Copy(devices, profile.Devices)
		}
	}
	maps.Copy(config, put.Config)
	maps.Copy(devices, put.Devices)
	return config, devices
}

func (s *Server) getNetwork(w http.ResponseWriter, r *http.Request) error {
	if r.PathValue("name") != networkName {
		return api.StatusErrorf(http.StatusNotFound, "Network not found")
	}
	return writeSync(w, api.Network{
		Name: networkName, Type: "bridge", Managed: true, Status: "Created", Locations: []string{"none"}, Project: api.ProjectDefaultName,
		NetworkPut: api.NetworkPut{Config: map[string]string{"ipv4.address": fmt.Sprintf("%s/%d", s.ssh.gateway, s.ssh.subnet.Bits()), "ipv4.nat": "true", "ipv6.address": "none"}},
	}, networkName)
}

func (s *Server) getPool(w http.ResponseWriter, r *http.Request) error {
	if r.PathValue("name") != poolName {
		return api.StatusErrorf(http.StatusNotFound, "Storage pool not found")
	}
	return writeSync(w, api.StoragePool{Name: poolName, Driver: s.driver(), Status: "Created", Locations: []string{"none"}}, poolName)
}

func (s *Server) getPoolResources(w http.ResponseWriter, r *http.Request) error {
	if r.PathValue("name") != poolName {
		return api.StatusErrorf(http.StatusNotFound, "Storage pool not found")
	}
	return writeSync(w, api.ResourcesStoragePool{Space: api.ResourcesStoragePoolSpace{Used: 1 << 30, Total: 100 << 30}}, "")
}

func etagOf(v any) string { return fmt.Sprintf("%x", digest(v)) }
