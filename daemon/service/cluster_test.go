package service_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"
	"google.golang.org/grpc/codes"

	"github.com/footprintai/containarium/daemon/service"
	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/incusx/incustest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

const unreachable = pb.ContainerState_CONTAINER_STATE_UNREACHABLE

// newCluster is a site on a cluster of m1, which the daemon works through, m2 and m3.
func newCluster(t *testing.T) *site {
	t.Helper()
	return newSite(t, incustest.Options{Members: []string{"m1", "m2", "m3"}})
}

// other is another daemon on the same cluster, with a jump host of its own.
func (s *site) other(t *testing.T) *service.Service {
	t.Helper()
	config := s.Config
	config.Hop = &hop{accounts: map[string]string{}, foreign: map[string]bool{}}
	config.Incus = incusx.New(incusx.Config{Socket: s.sim.Socket(), Project: "default", Profile: "default", SSHPort: s.sim.SSHPort(), HostRoot: t.TempDir()})
	other := service.New(t.Context(), config)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { other.Follow(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	return other
}

// raw is the official client of the same Incus.
func (s *site) raw(t *testing.T) incus.InstanceServer {
	t.Helper()
	raw, err := incus.ConnectIncusUnixWithContext(t.Context(), s.sim.Socket(), &incus.ConnectionArgs{SkipGetEvents: true, SkipGetServer: true})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// createOn creates a container on a member; "" leaves that to Incus.
func (s *site) createOn(ctx context.Context, username, target string) (*pb.Container, error) {
	return createBy(ctx, s.Service, username, target)
}

func createBy(ctx context.Context, s *service.Service, username, target string) (*pb.Container, error) {
	response, err := s.CreateContainer(ctx, &pb.CreateContainerRequest{Username: username, SshKeys: []string{key(username)}, Target: target})
	return response.GetContainer(), err
}

func (s *site) on(t *testing.T, username, target string) *pb.Container {
	t.Helper()
	container, err := s.createOn(t.Context(), username, target)
	if err != nil {
		t.Fatalf("create %s on %q: %v", username, target, err)
	}
	return container
}

// shown are state and location of each container as a list shows them.
func (s *site) shown(t *testing.T) map[string]string {
	t.Helper()
	response, err := s.ListContainers(t.Context(), &pb.ListContainersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]string{}
	for _, c := range response.GetContainers() {
		shown[c.GetUsername()] = c.GetState().String()[len("CONTAINER_STATE_"):] + " " + c.GetLocation()
	}
	return shown
}

// comesTo waits until a list shows that of a container.
func (s *site) comesTo(t *testing.T, username, want string) {
	t.Helper()
	eventually(t, func() bool { return s.shown(t)[username] == want })
}

func TestContainersHaveALocation(t *testing.T) {
	s := newCluster(t)
	if got := s.on(t, "alice", "m3").GetLocation(); got != "m3" {
		t.Errorf("alice is on %q", got)
	}
	// Incus' scheduler takes the member with the fewest.
	got := []string{s.on(t, "bob", "").GetLocation(), s.on(t, "carol", "").GetLocation()}
	if slices.Sort(got); !slices.Equal(got, []string{"m1", "m2"}) {
		t.Errorf("bob and carol are on %v", got)
	}
	if shown := s.shown(t); shown["alice"] != "RUNNING m3" || len(shown) != 3 {
		t.Errorf("the list shows %v", shown)
	}
	info, err := s.GetSystemInfo(t.Context(), &pb.GetSystemInfoRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var members []string
	for _, m := range info.GetMembers() {
		members = append(members, fmt.Sprint(m.GetName(), " ", m.GetStatus(), " ", m.GetContainers(), " ", m.GetLocal(), " ", m.GetRoles()))
	}
	want := []string{"m1 Online 1 true [database database-leader]", "m2 Online 1 false [database]", "m3 Online 1 false [database]"}
	if !slices.Equal(members, want) {
		t.Errorf("members %q, want %q", members, want)
	}
}

func TestNoClusterHasNoLocation(t *testing.T) {
	s := newSite(t, incustest.Options{})
	if got := s.create(t, "alice").GetLocation(); got != "" {
		t.Errorf("alice is on %q", got)
	}
	info, err := s.GetSystemInfo(t.Context(), &pb.GetSystemInfoRequest{})
	if err != nil || len(info.GetMembers()) > 0 {
		t.Errorf("members %v, %v", info.GetMembers(), err)
	}
	before := s.changes()
	_, err = s.createOn(t.Context(), "bob", "m1")
	wantStatus(t, err, codes.InvalidArgument, "", "target", "no cluster")
	if fields := violatedFields(t, err); !slices.Equal(fields, []string{"target"}) {
		t.Errorf("fields %v", fields)
	}
	if s.changes() != before {
		t.Error("Incus was asked to change something")
	}
}

func TestTargetsThatAreRefused(t *testing.T) {
	s := newCluster(t)
	s.sim.Lose("m3", true)
	before := s.changes()
	_, err := s.createOn(t.Context(), "alice", "m4")
	wantStatus(t, err, codes.InvalidArgument, "", "m1, m2, m3")
	_, err = s.createOn(t.Context(), "alice", "m3")
	wantStatus(t, err, codes.FailedPrecondition, "MEMBER_OFFLINE", "m3 is offline", "m1 or m2")
	_, err = s.createOn(t.Context(), "alice", "no blanks here")
	wantStatus(t, err, codes.InvalidArgument, "", "target")
	// The same over a stream.
	err = s.CreateContainerStream(&pb.CreateContainerStreamRequest{Create: &pb.CreateContainerRequest{Username: "alice", Target: "m4"}}, &stream[pb.CreateContainerStreamResponse]{ctx: t.Context()})
	if fields := violatedFields(t, err); !slices.Equal(fields, []string{"create.target"}) {
		t.Errorf("fields %v", fields)
	}
	if s.changes() != before {
		t.Error("Incus was asked to change something")
	}
	s.nothingLeft(t, "alice")
}

// A member that is lost takes its containers out of reach and nothing else.
func TestLostMember(t *testing.T) {
	s := newCluster(t)
	before := s.on(t, "alice", "m2")
	s.on(t, "bob", "m1")
	s.sim.Lose("m2", false) // Incus has yet to find out
	s.comesToUnseen(t, "alice")
	s.sim.Lose("m2", true)
	s.comesTo(t, "alice", "UNREACHABLE m2")
	if shown := s.shown(t); shown["bob"] != "RUNNING m1" {
		t.Errorf("bob is shown as %s", shown["bob"])
	}
	response, err := s.GetContainer(t.Context(), &pb.GetContainerRequest{Username: "alice"})
	if got := response.GetContainer(); err != nil || got.GetState() != unreachable || got.GetNetwork().GetIpAddress() != before.GetNetwork().GetIpAddress() || len(got.GetSshKeys()) != 1 {
		t.Errorf("info shows %v, %v", got, err)
	}
	s.unreachableMetrics(t)
	if _, err := s.StopContainer(t.Context(), &pb.StopContainerRequest{Username: "alice"}); err == nil {
		t.Error("it was stopped")
	} else {
		wantStatus(t, err, codes.FailedPrecondition, "MEMBER_OFFLINE", "does not answer")
	}
	_, err = s.createOn(t.Context(), "alice", "")
	wantStatus(t, err, codes.AlreadyExists, "ALREADY_EXISTS", "does not answer")
	if err := s.Reconcile(t.Context()); err != nil {
		t.Errorf("reconcile: %v", err)
	}
	if _, ok := s.hop.account("alice"); !ok {
		t.Error("alice's account is gone")
	}
	for _, username := range []string{"carol", "dave", "erin"} {
		if got := s.on(t, username, "").GetLocation(); got == "m2" {
			t.Errorf("%s is on the member that is lost", username)
		}
	}
	s.sim.Find("m2")
	s.comesTo(t, "alice", "RUNNING m2")
	if _, err := s.StopContainer(t.Context(), &pb.StopContainerRequest{Username: "alice"}); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// comesToUnseen has Incus be asked for a container whose loss it has not noticed.
func (s *site) comesToUnseen(t *testing.T, username string) {
	t.Helper()
	if _, err := s.StartContainer(t.Context(), &pb.StartContainerRequest{Username: username}); err == nil {
		t.Error("it was started")
	} else {
		wantStatus(t, err, codes.FailedPrecondition, "MEMBER_OFFLINE", "does not answer")
	}
	if got := s.shown(t)[username]; got != "UNREACHABLE m2" {
		t.Errorf("after that it is shown as %s", got)
	}
}

func (s *site) unreachableMetrics(t *testing.T) {
	t.Helper()
	for _, username := range []string{"", "alice"} {
		response, err := s.GetMetrics(t.Context(), &pb.GetMetricsRequest{Username: username})
		if err != nil {
			t.Errorf("metrics of %q: %v", username, err)
			continue
		}
		if m := response.GetMetrics()[0]; m.GetState() != unreachable || m.CpuUsageNanoseconds != nil || m.DiskUsageBytes != nil {
			t.Errorf("metrics %v", m)
		}
	}
}

// Until Incus has noticed, its scheduler may choose a member that is lost.
func TestCreateGoesElsewhereBeforeIncusNotices(t *testing.T) {
	s := newCluster(t)
	s.on(t, "alice", "m1")
	s.on(t, "bob", "m2")
	s.sim.Lose("m3", false)
	if got := s.on(t, "carol", "").GetLocation(); got != "m1" {
		t.Errorf("carol is on %s, want the daemon's member", got)
	}
	_, err := s.createOn(t.Context(), "dave", "m3")
	wantStatus(t, err, codes.FailedPrecondition, "MEMBER_OFFLINE", "does not answer", "nothing of it is left")
	s.nothingLeft(t, "dave")
}

// What another member's daemon is making is left to it, by a create and by the clean-up
// after a start; what it has left behind for long is not.
func TestOthersCreatesAreLeftAlone(t *testing.T) {
	s := newCluster(t)
	unfinished := func(username, through string, age time.Duration) {
		t.Helper()
		err := s.sim.Populate("default", 1, func(int) map[string]string {
			return map[string]string{
				"user.containarium.username": username, "user.containarium.phase": "creating", "user.containarium.through": through,
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		s.sim.Age("default", incusx.InstanceName(username), age)
	}
	unfinished("theirs", "m2", time.Minute)
	unfinished("old", "m2", incusx.OthersFor+time.Minute)
	unfinished("ours", "m1", time.Minute)
	_, err := s.createOn(t.Context(), "theirs", "")
	wantStatus(t, err, codes.AlreadyExists, "ALREADY_EXISTS", "through the cluster member m2")
	if err := s.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if names := s.names(t); !slices.Equal(names, []string{"theirs"}) {
		t.Errorf("left are %v, want theirs alone", names)
	}
}

// What another member's daemon does to containers reaches the accounts on this host.
func TestAccountsFollowOthers(t *testing.T) {
	s := newCluster(t)
	other := s.other(t)
	following, end := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { s.ClearUp(following); close(ended) }()
	t.Cleanup(func() { end(); <-ended })
	accounts := func() []string {
		usernames, _ := s.hop.Usernames(t.Context())
		return slices.Sorted(slices.Values(usernames))
	}
	has := func(username string, keys ...string) func() bool {
		return func() bool {
			account, ok := s.hop.account(username)
			for _, k := range keys {
				ok = ok && strings.Contains(account, k)
			}
			return ok
		}
	}
	if _, err := createBy(t.Context(), other, "alice", "m2"); err != nil {
		t.Fatal(err)
	}
	eventually(t, has("alice", key("alice")))
	if _, err := other.AddSSHKey(t.Context(), &pb.AddSSHKeyRequest{Username: "alice", SshKey: key("laptop")}); err != nil {
		t.Fatal(err)
	}
	eventually(t, has("alice", key("alice"), key("laptop")))
	// What a restore that another daemon has under way shows is not what is to be.
	const aside = "containarium-restore-default-alice-container"
	raw := s.raw(t)
	if err := raw.CreateProfile(api.ProfilesPost{Name: aside}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.incus.SetKeys(t.Context(), "alice", []string{key("laptop")}); err != nil {
		t.Fatal(err)
	}
	if _, err := createBy(t.Context(), other, "zoe", ""); err != nil { // followed after it
		t.Fatal(err)
	}
	eventually(t, has("zoe", key("zoe")))
	if !has("alice", key("alice"))() {
		t.Error("the keys of a container that is being restored were taken over")
	}
	if err := raw.DeleteProfile(aside); err != nil {
		t.Fatal(err)
	}
	// An account of this host that is somebody else's stays, and stops nothing.
	s.hop.foreign["bob"] = true
	for _, username := range []string{"bob", "carol"} {
		if _, err := createBy(t.Context(), other, username, ""); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, has("carol", key("carol")))
	if _, err := other.DeleteContainer(t.Context(), &pb.DeleteContainerRequest{Username: "alice", Force: true}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return !has("alice")() })
	if got := accounts(); !slices.Equal(got, []string{"carol", "zoe"}) {
		t.Errorf("accounts %v", got)
	}
}
