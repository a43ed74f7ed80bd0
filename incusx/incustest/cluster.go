package incustest

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/lxc/incus/v6/shared/api"
)

// member is a member of the simulated cluster. All instances are in one Incus: what a
// member adds is where they are, and that they can not be asked for while it is lost.
type member struct {
	name string
	// lost says that it does not answer, noticed that Incus knows.
	lost, noticed bool
}

// members are those of Options.Members, the first of which answers on the socket.
func newMembers(names []string) []*member {
	members := make([]*member, len(names))
	for i, name := range names {
		members[i] = &member{name: name}
	}
	return members
}

// Lose has a member not answer any more; noticed says whether Incus has found out, as
// it does after cluster.offline_threshold.
func (s *Server) Lose(name string, noticed bool) {
	s.setMember(name, true, noticed)
}

// Find has a member answer again.
func (s *Server) Find(name string) {
	s.setMember(name, false, false)
}

func (s *Server) setMember(name string, lost, noticed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.member(name); m != nil {
		m.lost, m.noticed = lost, noticed
	}
}

// member returns a member, or nil. Server.mu is held.
func (s *Server) member(name string) *member {
	for _, m := range s.members {
		if m.name == name {
			return m
		}
	}
	return nil
}

// unreachable reports whether an instance is on a member that does not answer.
// Server.mu is held.
func (s *Server) unreachable(inst *instance) bool {
	m := s.member(inst.location)
	return m != nil && m.lost
}

// errMember is what Incus says when it is to ask such a member for an instance.
func (m *member) errMember() error {
	if m.noticed {
		return errors.New("Server isn't ready yet")
	}
	return fmt.Errorf("Get \"https://%s:8443/1.0/instances\": Unable to connect to: %s:8443 ([dial tcp: connect: connection refused])", m.name, m.name) //nolint:staticcheck // Incus' words
}

// hidden is what a list tells of an instance that can not be asked for.
func (inst *instance) hidden() api.Instance {
	return api.Instance{Name: inst.name, Type: "container", Project: inst.project.name, Location: inst.location, Status: api.Error.String(), StatusCode: api.Error}
}

// place chooses the member for a new instance: the one asked for, or as Incus'
// scheduler does the one with the fewest, among those that it takes for online.
// Server.mu is held.
func (s *Server) place(p *project, target string) (string, error) {
	if len(s.members) == 0 {
		if target != "" {
			return "", api.StatusErrorf(http.StatusBadRequest, "Target only allowed when clustered")
		}
		return "none", nil
	}
	var best *member
	if target != "" {
		if best = s.member(target); best == nil {
			return "", api.StatusErrorf(http.StatusNotFound, "Cluster member %q not found", target)
		}
	} else {
		count := map[string]int{}
		for _, inst := range p.instances {
			count[inst.location]++
		}
		for _, m := range s.members {
			if (!m.lost || !m.noticed) && (best == nil || count[m.name] < count[best.name]) {
				best = m
			}
		}
	}
	if best.lost {
		return "", fmt.Errorf("Post \"https://%s:8443/1.0/instances?target=%s\": Unable to connect to: %s:8443 ([dial tcp: connect: connection refused])", best.name, best.name, best.name) //nolint:staticcheck // Incus' words
	}
	return best.name, nil
}

func (s *Server) clusterRoutes() {
	s.handle("GET /1.0/cluster/members", s.listMembers)
}

func (s *Server) listMembers(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.members) == 0 {
		return errors.New("Server is not clustered")
	}
	urls, members := []string{}, []api.ClusterMember{}
	for i, m := range s.members {
		rendered := api.ClusterMember{
			ServerName: m.name, URL: "https://" + m.name + ":8443", Database: true, Architecture: "x86_64",
			ClusterMemberPut: api.ClusterMemberPut{Roles: []string{"database"}}, Status: "Online", Message: "Fully operational",
		}
		if i == 0 {
			rendered.Roles = []string{"database-leader", "database"}
		}
		if m.lost && m.noticed {
			rendered.Status, rendered.Message = "Offline", "No heartbeat for 25s (simulated)"
		}
		urls, members = append(urls, "/1.0/cluster/members/"+m.name), append(members, rendered)
	}
	slices.Reverse(members) // in no order
	if !recursive(r) {
		return writeSync(w, urls, "")
	}
	return writeSync(w, members, "")
}
