package incusx_test

import (
	"net/http"
	"testing"

	"github.com/lxc/incus/v6/shared/api"

	"github.com/footprintai/containarium/incusx"
)

// noCluster: an Incus that is no cluster has no members, and takes no target. What a
// cluster does is in contrib/e2e, on a real one.
func (s *site) noCluster(t *testing.T) {
	ctx := bounded(t)
	if members, err := s.client.Members(ctx); len(members) > 0 || err != nil {
		t.Errorf("members %v, %v", members, err)
	}
	if name, err := s.client.Member(ctx); name != "" || err != nil {
		t.Errorf("the member is %q, %v", name, err)
	}
	if _, err := s.raw.GetClusterMembers(); err == nil || err.Error() != "Server is not clustered" {
		t.Errorf("members: %v", err)
	}
	user := newUser()
	_, err := s.raw.UseTarget("m1").CreateInstance(api.InstancesPost{
		Name: incusx.InstanceName(user), Source: api.InstanceSource{Type: "image", Alias: s.image}, InstancePut: api.InstancePut{Profiles: []string{s.profile}},
	})
	if !api.StatusErrorCheck(err, http.StatusBadRequest) {
		t.Errorf("create on a target: %v", err)
	}
	if exists, err := s.client.Exists(ctx, user); exists || err != nil {
		t.Errorf("exists: %t, %v", exists, err)
	}
}
