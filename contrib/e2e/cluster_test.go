//go:build e2e

package e2e_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// clusterAnswer bounds a list at any time, also while a member is being lost.
const clusterAnswer = 30 * time.Second

// TestCluster is a real cluster of three, two daemons on it, and members that are
// killed and come back.
func TestCluster(t *testing.T) {
	s := theSite(t)
	c := newCluster(t, s)
	m1, m2, m3 := c.members[0], c.members[1], c.members[2]
	first, second := c.daemon(t, m1, true), c.daemon(t, m2, false)

	owners := map[string]*owner{}
	create := func(d *site, name string, flags ...string) *owner {
		t.Helper()
		o := &owner{site: first, name: prefix + "clu-" + name, key: newKey(t, name)}
		by := *o
		by.site = d
		by.create(t, flags...)
		o.container = by.container
		owners[name] = o
		return o
	}
	create(first, "alice", "--target", "m1")
	create(first, "bob", "--target", "m3")
	create(second, "carol", "--target", "m2")
	dave := create(second, "dave")
	t.Logf("Incus put dave on %s", dave.container.GetLocation())
	want := map[string]string{"alice": "m1", "bob": "m3", "carol": "m2", "dave": dave.container.GetLocation()}
	if !slices.Contains([]string{"m1", "m2", "m3"}, want["dave"]) {
		t.Errorf("dave is on %q", want["dave"])
	}
	for _, d := range []*site{first, second} {
		if got := shownOn(t, d); fmt.Sprint(got) != fmt.Sprint(running(want)) {
			t.Errorf("ls shows %v, want %v", got, running(want))
		}
		if got := membersOf(t, d); got != "m1 Online, m2 Online, m3 Online" {
			t.Errorf("system shows %s", got)
		}
	}
	if r := first.do(t, "ls"); !strings.Contains(r.stdout, "LOCATION") {
		t.Errorf("ls has no LOCATION:\n%s", r.stdout)
	}
	// The jump host of one daemon is good for the containers of all members, also for
	// those that the other daemon made, and for keys that it added.
	for name, o := range owners {
		waitFor(t, "the account of "+name, func() bool { return o.ssh(t, "true").code == 0 })
		if got := o.sh(t, "id -un"); got != o.name {
			t.Errorf("%s logs in as %q", name, got)
		}
	}
	laptop := newKey(t, "laptop")
	second.do(t, "key", "add", owners["bob"].name, laptop.file+".pub")
	waitFor(t, "the key that the other daemon added", func() bool { return owners["bob"].sshWith(t, laptop, "true").code == 0 })

	first.refused(t, []string{"--target", "m1, m2, m3"}, "create", prefix+"nobody", "--ssh-key", laptop.file+".pub", "--target", "m4")

	killed := time.Now()
	m3.kill()
	for _, d := range []*site{first, second} {
		becomes(t, d, "bob", "UNREACHABLE m3")
		t.Logf("bob is shown as unreachable after %s", time.Since(killed).Round(time.Second))
		if info := d.info(t, owners["bob"].name); info.GetState() != pb.ContainerState_CONTAINER_STATE_UNREACHABLE || info.GetLocation() != "m3" || len(info.GetSshKeys()) != 2 {
			t.Errorf("info shows %v", info)
		}
		waitFor(t, "the member to be offline", func() bool { return membersOf(t, d) == "m1 Online, m2 Online, m3 Offline" })
		for _, args := range [][]string{{"top", "-o", "csv"}, {"top", owners["bob"].name, "-o", "csv"}} {
			if r := d.do(t, args...); !strings.Contains(r.stdout, "unreachable") {
				t.Errorf("%v shows\n%s", args, r.stdout)
			}
		}
		d.refused(t, []string{"m3 is offline", "m1 or m2", "containarium system"}, "create", prefix+"nobody", "--ssh-key", laptop.file+".pub", "--target", "m3")
		d.refused(t, []string{"does not answer", "containarium system"}, "restart", owners["bob"].name)
	}
	for name, o := range owners {
		if want[name] != "m3" && o.sh(t, "id -un") != o.name {
			t.Errorf("%s can not log in", name)
		}
	}
	for i, d := range []*site{first, second} {
		name := fmt.Sprint("erin", i)
		o := create(d, name)
		if want[name] = o.container.GetLocation(); want[name] == "m3" {
			t.Errorf("%s is on the member that was killed", name)
		}
	}
	back := time.Now()
	if err := m3.start(t); err != nil {
		t.Fatal(err)
	}
	for _, d := range []*site{first, second} {
		becomes(t, d, "bob", "RUNNING m3")
		t.Logf("bob is shown as running %s after its member is back", time.Since(back).Round(time.Second))
	}
	owners["bob"].do(t, "restart", owners["bob"].name)
	waitFor(t, "bob's sshd", func() bool { return owners["bob"].ssh(t, "true").code == 0 })
	if got := owners["bob"].sh(t, "id -un"); got != owners["bob"].name {
		t.Errorf("bob logs in as %q", got)
	}

	// The member that a daemon works through: that daemon has no Incus, the other sees
	// the rest of the cluster.
	m1.kill()
	first.refused(t, []string{"Incus on this host does not answer"}, "ls")
	becomes(t, second, "alice", "UNREACHABLE m1")
	if err := m1.start(t); err != nil {
		t.Fatal(err)
	}
	for _, d := range []*site{first, second} {
		becomes(t, d, "alice", "RUNNING m1")
	}
	for _, o := range owners {
		second.do(t, "rm", o.name, "--force")
		waitFor(t, "the account of "+o.name+" to go", func() bool { return !hasAccount(o.name) })
	}
	if got := shownOn(t, first); len(got) > 0 {
		t.Errorf("ls shows %v after all are removed", got)
	}
	if left, _ := filepath.Glob(filepath.Join(clusterDir, "m*/storage-pools/default/containers/*")); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}

func running(locations map[string]string) map[string]string {
	shown := map[string]string{}
	for name, location := range locations {
		shown[name] = "RUNNING " + location
	}
	return shown
}

// shownOn are state and location of each container as ls of a daemon shows them.
func shownOn(t testing.TB, d *site) map[string]string {
	t.Helper()
	shown := map[string]string{}
	for _, c := range get(t, d, new(pb.ListContainersResponse), "ls").GetContainers() {
		shown[strings.TrimPrefix(c.GetUsername(), prefix+"clu-")] = strings.TrimPrefix(c.GetState().String(), "CONTAINER_STATE_") + " " + c.GetLocation()
	}
	return shown
}

// becomes waits until ls shows that of a container. Each list has to come, in time; one
// that a daemon could not give is asked for again.
func becomes(t testing.TB, d *site, name, want string) {
	t.Helper()
	failed := 0
	answered := time.Now()
	waitFor(t, name+" to be "+want, func() bool {
		r := d.as(t, t.Context(), admin, "ls", "-o", "json")
		if r.code != 0 {
			if failed++; time.Since(answered) > clusterAnswer {
				t.Fatalf("no list for %s: %s", clusterAnswer, r.stderr)
			}
			return false
		}
		answered = time.Now()
		return shownOn(t, d)[name] == want
	})
	if failed > 0 {
		t.Logf("until %s was %s, %d lists were refused", name, want, failed)
	}
}

func membersOf(t testing.TB, d *site) string {
	t.Helper()
	var members []string
	for _, m := range get(t, d, new(pb.GetSystemInfoResponse), "system").GetMembers() {
		members = append(members, m.GetName()+" "+m.GetStatus())
	}
	return strings.Join(members, ", ")
}
