package incusx_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lxc/incus/v6/shared/api"

	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/incusx/incustest"
)

func newClusterRig(t *testing.T) *rig {
	t.Helper()
	return newRig(t, incustest.Options{Members: []string{"m1", "m2", "m3"}})
}

func TestMembers(t *testing.T) {
	r := newClusterRig(t)
	r.sim.Lose("m2", true)
	members, err := r.Members(t.Context())
	must(t, "members", err)
	want := []incusx.Member{
		{Name: "m1", Status: "Online", Message: "Fully operational", Roles: []string{"database", "database-leader"}, Local: true},
		{Name: "m2", Status: "Offline", Message: "No heartbeat for 25s (simulated)", Roles: []string{"database"}},
		{Name: "m3", Status: "Online", Message: "Fully operational", Roles: []string{"database"}},
	}
	if diff := cmp.Diff(want, members); diff != "" {
		t.Error(diff)
	}
	for i, online := range []bool{true, false, true} {
		if members[i].Online() != online || members[i].Away() == online {
			t.Errorf("%s: online %t, away %t", members[i].Name, members[i].Online(), members[i].Away())
		}
	}
	if name, err := r.Member(t.Context()); name != "m1" || err != nil {
		t.Errorf("the member is %q, %v", name, err)
	}
}

// plainInstance is one of the default image that is nobody's.
func plainInstance(name string) api.InstancesPost {
	return api.InstancesPost{Name: name, Source: api.InstanceSource{Type: "image", Alias: incustest.DefaultImage}}
}

// Incus is asked whether it is a cluster once in a while, and not for each call.
func TestMemberIsRemembered(t *testing.T) {
	r := newClusterRig(t)
	for range 10 {
		if name, err := r.Member(t.Context()); name != "m1" || err != nil {
			t.Fatalf("the member is %q, %v", name, err)
		}
	}
	if n := r.sim.Requests("GET", "/1.0"); n != 1 {
		t.Errorf("Incus was asked %d times", n)
	}
}

func TestNoCluster(t *testing.T) {
	r := newRig(t)
	if members, err := r.Members(t.Context()); len(members) > 0 || err != nil {
		t.Errorf("members %v, %v", members, err)
	}
	if name, err := r.Member(t.Context()); name != "" || err != nil {
		t.Errorf("the member is %q, %v", name, err)
	}
	r.init(t, incusx.Spec{Username: "alice"})
	container, err := r.Get(t.Context(), "alice")
	if err != nil || container.Location != "" || container.Through != "" {
		t.Errorf("alice is on %q, made through %q, %v", container.Location, container.Through, err)
	}
	if _, there := r.instance(t, "alice").Config["user.containarium.through"]; there {
		t.Error("the instance says through which member it was made")
	}
}

// Of a container that is unreachable a list has name and member, and every other call
// says why it fails.
func TestUnreachable(t *testing.T) {
	r := newClusterRig(t)
	r.init(t, incusx.Spec{Username: "alice", Target: "m2"})
	r.init(t, incusx.Spec{Username: "bob", Target: "m1"})
	for _, noticed := range []bool{false, true} {
		r.sim.Lose("m2", noticed)
		containers, err := r.List(t.Context())
		must(t, "list", err)
		want := incusx.Container{Name: "alice-container", Username: "alice", State: incusx.StateUnreachable, Location: "m2"}
		if len(containers) != 2 || containers[0].State != want.State || containers[0].Name != want.Name || containers[0].Username != want.Username || containers[0].Location != want.Location {
			t.Errorf("the list has %+v", containers)
		}
		_, err = r.Get(t.Context(), "alice")
		for what, err := range map[string]error{
			"get": err, "start": r.Start(t.Context(), "alice"), "stop": r.Stop(t.Context(), "alice", true, time.Second), "remove": r.Remove(t.Context(), "alice"),
		} {
			if !errors.Is(err, incusx.ErrMemberDown) {
				t.Errorf("%s (noticed %t): %v", what, noticed, err)
			}
		}
	}
	r.sim.Find("m2")
	container, err := r.Get(t.Context(), "alice")
	if err != nil || container.State != incusx.StateCreating || container.Through != "m1" {
		t.Errorf("back is %+v, %v", container, err)
	}
}

// A foreign instance stays invisible also where it is unreachable, unless its name is
// one of ours.
func TestUnreachableForeign(t *testing.T) {
	r := newClusterRig(t)
	op, err := r.raw.UseTarget("m2").CreateInstance(plainInstance("somebodys"))
	must(t, "create", err)
	must(t, "create", op.Wait())
	r.sim.Lose("m2", true)
	if containers, err := r.List(t.Context()); len(containers) > 0 || err != nil {
		t.Errorf("the list has %+v, %v", containers, err)
	}
}

// An address is chosen by each member's own DHCP server, which the Client may not be
// beside.
func TestAddressesOfAClusterAreDHCPs(t *testing.T) {
	r := newClusterRig(t)
	image, err := r.FindImage(t.Context(), incustest.DefaultImage)
	must(t, "find the image", err)
	address, err := r.Init(t.Context(), incusx.Spec{Username: "alice", Target: "m3"}, image, nil)
	if err != nil || address != "" {
		t.Errorf("the address %q was chosen, %v", address, err)
	}
}

// What is being prepared by another member's daemon is left to it; see also
// TestRemoveBuilders.
func TestOthersBuildersStay(t *testing.T) {
	r := newClusterRig(t)
	for name, through := range map[string]string{"theirs": "m2", "ours": "m1", "old": "m3"} {
		instance := plainInstance(name)
		instance.Config = map[string]string{"user.containarium.builder": name, "user.containarium.through": through}
		op, err := r.raw.CreateInstance(instance)
		must(t, "create", err)
		must(t, "create", op.Wait())
	}
	r.sim.Age("default", "old", incusx.OthersFor+time.Minute)
	must(t, "remove the builders", r.RemoveBuilders(bounded(t)))
	names, err := r.raw.GetInstanceNames("")
	must(t, "list", err)
	if !slices.Equal(names, []string{"theirs"}) {
		t.Errorf("left are %v", names)
	}
}

// A restore by another member's daemon is left to it, until it is old.
func TestOthersRestoresStay(t *testing.T) {
	r := newClusterRig(t)
	r.init(t, incusx.Spec{Username: "alice"})
	for _, test := range []struct {
		through string
		age     time.Duration
		want    int
	}{{"m2", time.Minute, 0}, {"m1", time.Minute, 1}, {"m2", incusx.OthersFor + time.Minute, 1}} {
		aside := fmt.Sprintf(`{"Username": "alice", "Stamp": %q, "Through": %q}`, time.Now().Add(-test.age).UTC().Format(time.RFC3339Nano), test.through)
		const name = "containarium-restore-default-alice-container"
		must(t, "put aside", r.raw.CreateProfile(api.ProfilesPost{Name: name, ProfilePut: api.ProfilePut{Config: map[string]string{"user.containarium.aside": aside}}}))
		users, err := r.UnfinishedRestores(t.Context())
		if err != nil || len(users) != test.want {
			t.Errorf("through %s, %s ago: %v, %v; want %d", test.through, test.age, users, err, test.want)
		}
		must(t, "delete", r.raw.DeleteProfile(name))
	}
}

// What others use that this host does not show is asked for, and left out where nobody
// tells in time.
func TestUsageOnOtherMembers(t *testing.T) {
	r := newClusterRig(t)
	r.runAlice(t)
	containers, err := r.List(t.Context())
	must(t, "list", err)
	usages, err := r.UsageAll(t.Context(), containers)
	if err != nil || usages[0].CPUNanoseconds == nil {
		t.Errorf("usage %+v, %v", usages, err)
	}
	clear := r.sim.Fail(incustest.Fault{Method: "GET", Path: "/1.0/instances", Delay: time.Minute})
	defer clear()
	usages, err = r.UsageAll(t.Context(), containers)
	if err != nil || len(usages) != 1 || usages[0].CPUNanoseconds != nil {
		t.Errorf("usage %+v, %v", usages, err)
	}
}
