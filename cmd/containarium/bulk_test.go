package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/incusx/incustest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

func usersFile(t *testing.T, users int) string {
	t.Helper()
	text := "username,keys\n"
	key := publicKey(t)
	for n := range users {
		text += fmt.Sprintf("user-%d,%s\n", n, key)
	}
	path := filepath.Join(t.TempDir(), "users.csv")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Who watches sees how far it is, and nothing is left of that at the end.
func TestBulkOnATerminal(t *testing.T) {
	asAdmin(t)
	code, out, errs := runLine(t.Context(), true, "create", "--from", usersFile(t, 3), "--parallel", "1")
	if code != exitFine || strings.Count(out.String(), " created ") != 3 {
		t.Fatalf("exit code %d, %q, %q", code, out, errs)
	}
	for _, want := range []string{
		"\r\x1b[K[....................] 0 of 3  ",
		"\r\x1b[K[######..............] 1 of 3  user-1 ",
		"% waiting for sshd",
		"\r\x1b[Kcontainarium: 3 users: 3 created\n",
	} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("%q is not shown, but %q", want, errs)
		}
	}
	for line := range strings.SplitSeq(errs.String(), "\r\x1b[K") {
		if cellWidth(strings.TrimSpace(line)) >= narrow {
			t.Errorf("a line wraps: %q", line)
		}
	}
}

// Ctrl-C begins no more of them, tells what came of each, and the same again goes
// on.
func TestInterruptedBulk(t *testing.T) {
	d := asAdmin(t)
	d.Sim.Fail(incustest.Fault{Method: http.MethodPost, Path: "/1.0/instances", Times: 1, OperationDelay: time.Second})
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	errs := &interrupter{text: "user-0 1", interrupt: interrupt} // its percentage: the daemon has begun
	screen, out, _ := capture(true)
	screen.err = errs
	file := usersFile(t, 3)
	code := run(ctx, screen, []string{"containarium", "create", "--from", file, "--parallel", "1"})
	if code != exitInterrupted || strings.Count(out.String(), " unfinished ") != 1 || strings.Count(out.String(), " not begun ") != 2 ||
		!strings.Contains(errs.String(), "run the same again to go on") || !strings.Contains(errs.String(), "interrupted; the daemon goes on with it") {
		t.Fatalf("exit code %d, %q, %q", code, out, errs)
	}
	for { // the daemon finishes what it began: a start waits its turn
		if code, _, _ := runLine(t.Context(), false, "start", "user-0"); code == exitFine {
			break
		}
		if t.Context().Err() != nil {
			t.Fatal("the create came to nothing")
		}
	}
	code, out, more := runLine(t.Context(), false, "create", "--from", file)
	if code != exitFine || strings.Count(out.String(), " created ") != 2 || strings.Count(out.String(), " exists ") != 1 {
		t.Errorf("exit code %d, %q, %q", code, out, more)
	}
}

// No more are made at a time than --parallel says.
func TestBulkBound(t *testing.T) {
	d := asAdmin(t)
	d.Sim.Fail(incustest.Fault{Method: http.MethodPost, Path: "/1.0/instances", OperationDelay: 50 * time.Millisecond})
	code, _, errs := runLine(t.Context(), true, "create", "--from", usersFile(t, 6), "--parallel", "2")
	if code != exitFine {
		t.Fatal(errs)
	}
	most := 0
	for line := range strings.SplitSeq(errs.String(), "\r\x1b[K[") {
		most = max(most, strings.Count(line, "user-"))
	}
	if most != 2 {
		t.Errorf("%d at a time: %q", most, errs)
	}
}

func TestDifferences(t *testing.T) {
	yes, no := true, false
	key := "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAa8Sl+2Q2Q+5/IJTanvYHY9Aa5hANht/U34SXiFy1k2"
	container := func() *pb.Container {
		return &pb.Container{
			State:     pb.ContainerState_CONTAINER_STATE_RUNNING,
			Resources: &pb.Resources{Cpu: "1.5", Memory: "4GiB", Disk: "50GB"}, Image: "debian", ImageFingerprint: "abcdef123456",
			DockerEnabled: true, AutoStart: true, Labels: map[string]string{"team": "web", "more": "x"},
			SshKeys: []*pb.SSHKey{{Fingerprint: "SHA256:m3FZVPO2iycIwChEnnAI2Y9XdwL/uaVj4SEbuMUZoOM"}},
		}
	}
	for name, test := range map[string]struct {
		want *pb.CreateContainerRequest
		have func(*pb.Container)
		diff []string
	}{
		"nothing is said":  {&pb.CreateContainerRequest{}, nil, nil},
		"all is the same":  {&pb.CreateContainerRequest{Resources: &pb.Resources{Cpu: "1.50", Memory: "4096MiB", Disk: "50000MB"}, Image: "abcdef", EnableDocker: &yes, AutoStart: &yes, Labels: map[string]string{"team": "web"}, SshKeys: []string{key + " elsewhere", key}}, nil, nil},
		"limits":           {&pb.CreateContainerRequest{Resources: &pb.Resources{Cpu: "2", Memory: "4GB", Disk: "51GB"}}, nil, []string{"cpu is 1.5, not 2", "disk is 50GB, not 51GB", "memory is 4GiB, not 4GB"}},
		"no limit":         {&pb.CreateContainerRequest{Resources: &pb.Resources{Memory: "4GiB"}}, func(c *pb.Container) { c.Resources = nil }, []string{"memory is not set, not 4GiB"}},
		"switches":         {&pb.CreateContainerRequest{EnableDocker: &no, AutoStart: &no}, nil, []string{"autostart is yes, not no", "docker is yes, not no"}},
		"labels and image": {&pb.CreateContainerRequest{Image: "ubuntu", Labels: map[string]string{"team": "db", "new": ""}}, nil, []string{"image is debian, not ubuntu", "label new is not set, not empty", "label team is web, not db"}},
		"a key too many":   {&pb.CreateContainerRequest{SshKeys: []string{key}}, func(c *pb.Container) { c.SshKeys = append(c.SshKeys, &pb.SSHKey{Fingerprint: "SHA256:x"}) }, []string{"keys: 1 is not in the file"}},
		"a key too few":    {&pb.CreateContainerRequest{SshKeys: []string{key}}, func(c *pb.Container) { c.SshKeys = nil }, []string{"keys: 1 of the file is missing"}},
		"being made":       {&pb.CreateContainerRequest{SshKeys: []string{key}}, func(c *pb.Container) { c.SshKeys, c.State = nil, pb.ContainerState_CONTAINER_STATE_CREATING }, nil},
	} {
		have := container()
		if test.have != nil {
			test.have(have)
		}
		if diff := cmp.Diff(test.diff, differences(test.want, have)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// The formula is the one that create --help tells.
func TestLeastLoaded(t *testing.T) {
	info := func(memory, used uint64, cores, running uint32) *pb.GetSystemInfoResponse {
		return &pb.GetSystemInfoResponse{MemoryTotalBytes: memory << 30, MemoryUsedBytes: used << 30, CpuCount: cores, ContainersRunning: running}
	}
	of := func(name string, i *pb.GetSystemInfoResponse) *load { return loadOf(client.Server{Name: name}, i) }
	for name, test := range map[string]struct {
		info *pb.GetSystemInfoResponse
		want float64
	}{
		"half the memory":       {info(8, 4, 4, 0), 0.5},
		"ten to a core":         {info(8, 0, 4, 40), 1},
		"both":                  {info(8, 2, 2, 4), 0.45},
		"it does not tell them": {&pb.GetSystemInfoResponse{ContainersRunning: 1}, 1.1},
	} {
		if got := of("", test.info).value(); got < test.want-1e-9 || got > test.want+1e-9 {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
	// Each that is placed counts where the next goes: with its memory, if it has a
	// limit, and as a container in any case.
	loads := []*load{of("a", info(8, 0, 4, 0)), of("b", info(16, 0, 4, 0))}
	var order []string
	for range 6 {
		on := least(loads)
		on.add(&pb.CreateContainerRequest{Resources: &pb.Resources{Memory: "4GiB"}})
		order = append(order, on.server.Name)
	}
	if diff := cmp.Diff(strings.Fields("a b b a b b"), order); diff != "" {
		t.Error(diff)
	}
	loads, order = []*load{of("a", info(8, 4, 4, 0)), of("b", info(8, 4, 2, 0))}, nil
	for range 6 {
		on := least(loads)
		on.add(&pb.CreateContainerRequest{})
		order = append(order, on.server.Name)
	}
	if diff := cmp.Diff(strings.Fields("a b a a b a"), order); diff != "" {
		t.Error(diff)
	}
}

// racing is a server on which somebody else makes the container after we looked.
type racing struct{ hostileServer }

func (r *racing) ListContainers(context.Context, *pb.ListContainersRequest) (*pb.ListContainersResponse, error) {
	return &pb.ListContainersResponse{}, nil
}

func (r *racing) CreateContainerStream(*pb.CreateContainerStreamRequest, grpc.ServerStreamingServer[pb.CreateContainerStreamResponse]) error {
	return status.Error(codes.AlreadyExists, "there is one")
}

// What somebody else made meanwhile is there, and is looked at as if it had been
// before.
func TestBulkMadeMeanwhile(t *testing.T) {
	r := &racing{hostileServer{list: &pb.ListContainersResponse{Containers: []*pb.Container{{Username: "user-0", Resources: &pb.Resources{Memory: "1GiB"}}}}}}
	amongServers(t, r)
	path := filepath.Join(t.TempDir(), "users.csv")
	for memory, want := range map[string]string{"1024MiB": " exists ", "2GiB": " differs "} {
		if err := os.WriteFile(path, []byte("username,server,memory\nuser-0,jump-2,"+memory+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		code, out, errs := runLine(t.Context(), false, "create", "--from", path)
		if code != exitFine || !strings.Contains(out.String(), want) {
			t.Errorf("%s: exit code %d, %s%s", memory, code, out, errs)
		}
	}
	// Without a container it is something else that is in the way.
	r.err = status.Error(codes.NotFound, "none")
	if code, out, errs := runLine(t.Context(), false, "create", "--from", path); code != exitFailed || !strings.Contains(out.String(), " failed ") {
		t.Errorf("exit code %d, %s%s", code, out, errs)
	}
}
