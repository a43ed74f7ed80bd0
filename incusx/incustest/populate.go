package incustest

import (
	"fmt"
	"time"

	"github.com/lxc/incus/v6/shared/api"
)

// Populate makes n instances out of nothing, stopped and without a word to whoever
// listens. The config of each is what config returns for its number, from 0, and
// its name what that has there as the user name with "-container".
func (s *Server) Populate(project string, n int, config func(i int) map[string]string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.projectByName(project)
	if err != nil {
		return err
	}
	silent := s.silent
	s.silent = true
	defer func() { s.silent = silent }()
	for i := range n {
		c := config(i)
		location, err := s.place(p, "")
		if err != nil {
			return err
		}
		_, err = s.makeInstance(p, &api.InstancesPost{
			Name:        c["user.containarium.username"] + "-container",
			Source:      api.InstanceSource{Type: "image", Alias: DefaultImage},
			InstancePut: api.InstancePut{Config: c, Profiles: []string{api.ProjectDefaultName}},
		}, location)
		if err != nil {
			return fmt.Errorf("make instance %d: %w", i, err)
		}
	}
	return nil
}

// Age has an instance have been made that long ago.
func (s *Server) Age(project, name string, age time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.projects[project]; p != nil && p.instances[name] != nil {
		p.instances[name].created = time.Now().Add(-age)
	}
}
