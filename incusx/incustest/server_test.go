package incustest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"
)

// TestOfficialClient connects as the client does by default, with its own look at
// the server and its own event stream for operations.
func TestOfficialClient(t *testing.T) {
	s := Start(t)
	server, err := incus.ConnectIncusUnixWithContext(t.Context(), s.Socket(), nil)
	must(t, err)
	create(t, server, "one", DefaultImage, true)
	wantText(t, setState(server, "one", "start", false), "The instance is already running")
	info, _, err := server.GetServer()
	must(t, err)
	if info.Environment.ServerVersion != "6.0.4" {
		t.Errorf("version %q", info.Environment.ServerVersion)
	}
	_, _, err = server.GetProject("nope")
	wantText(t, err, "Project not found")
	must(t, server.CreateProject(api.ProjectsPost{Name: "other"}))
	names, err := server.UseProject("other").GetInstanceNames(api.InstanceTypeAny)
	must(t, err)
	if len(names) != 0 {
		t.Errorf("a new project has instances %q", names)
	}
}

func TestDownAndUp(t *testing.T) {
	s := Start(t)
	server := connect(t, s)
	create(t, server, "one", DefaultImage, true)
	signer := account(t, server, "one", "alice")
	address := addressOf(t, server, "one")
	sleeping, err := server.ExecInstance("one", api.InstanceExecPost{Command: []string{"sleep", "infinity"}, WaitForWS: true}, nil)
	must(t, err)
	ended := make(chan error, 1)
	go func() { ended <- sleeping.Wait() }()

	s.Down()
	if err := <-ended; err == nil {
		t.Error("the wait for a command outlived Incus")
	}
	if _, err := os.Lstat(s.Socket()); !os.IsNotExist(err) {
		t.Errorf("the socket while down: %v, want none", err)
	}
	if _, _, err := server.GetInstance("one"); err == nil {
		t.Error("Incus answers while down")
	}
	client, err := dial(s, address, "alice", signer) // guests go on
	must(t, err)
	_ = client.Close()

	must(t, s.Up())
	instance, _, err := server.GetInstance("one")
	must(t, err)
	if instance.Status != "Running" {
		t.Errorf("status after Incus came back: %s", instance.Status)
	}
	_, _, err = server.GetOperation(sleeping.Get().ID)
	wantText(t, err, "Operation not found")
}

// TestClose finds nothing that goes on after Close.
func TestClose(t *testing.T) {
	s, err := New(Options{})
	must(t, err)
	server := connect(t, s)
	create(t, server, "one", DefaultImage, true)
	signer := account(t, server, "one", "alice")
	address := addressOf(t, server, "one")
	client, err := dial(s, address, "alice", signer)
	must(t, err)
	hung := make(chan error, 1)
	s.Fail(Fault{Path: "/1.0/networks/*", Delay: time.Hour})
	go func() { _, _, err := server.GetNetwork(networkName); hung <- err }()
	until(t, "the request", func() bool { return s.Requests("GET", "/1.0/networks/*") > 0 })
	s.Close()
	if err := <-hung; err == nil {
		t.Error("a request that was held up got an answer from a closed server")
	}
	if err := client.Wait(); err == nil {
		t.Error("an SSH connection ended well on a closed server")
	}
	if _, err := net.Dial("tcp", net.JoinHostPort(address, fmt.Sprint(s.SSHPort()))); err == nil {
		t.Error("sshd answers after Close")
	}
	if _, err := os.Stat(s.folder); !os.IsNotExist(err) {
		t.Errorf("the folder of the socket is there: %v", err)
	}
	if err := s.Up(); err == nil {
		t.Error("Up after Close worked")
	}
	s.Close() // again is fine
}

func TestFaults(t *testing.T) {
	s := Start(t)
	server := connect(t, s)
	create(t, server, "one", DefaultImage, false)

	s.Fail(Fault{Method: http.MethodGet, Path: "/1.0/instances/*", Status: 503, Message: "come back later", Times: 2})
	for range 2 {
		if _, _, err := server.GetInstance("one"); !api.StatusErrorCheck(err, 503) {
			t.Errorf("got %v, want status 503", err)
		}
	}
	_, _, err := server.GetInstance("one")
	must(t, err) // twice was all

	clear := s.Fail(Fault{Path: "/1.0/instances/one", Drop: true})
	_, _, err = server.GetInstance("one")
	wantText(t, err, "EOF")
	clear()
	_, _, err = server.GetInstance("one")
	must(t, err)

	s.Fail(Fault{Method: http.MethodPut, Path: "/1.0/instances/*/state", OperationError: "no luck", Times: 1})
	wantText(t, setState(server, "one", "start", false), "no luck")
	s.Fail(Fault{Method: http.MethodPut, Path: "/1.0/instances/*/state", OperationLost: true, Times: 1})
	wantText(t, setState(server, "one", "start", false), "Operation not found")

	const delay = 50 * time.Millisecond
	for name, fault := range map[string]Fault{"request": {Delay: delay, Times: 1}, "operation": {OperationDelay: delay, Times: 1}} {
		fault.Method, fault.Path = http.MethodPut, "/1.0/instances/one/state"
		s.Fail(fault)
		began := time.Now()
		_ = setState(server, "one", "freeze", false)
		if took := time.Since(began); took < delay {
			t.Errorf("%s: took %s, want %s at least", name, took, delay)
		}
	}
	// A client that gives up on a request that is held up.
	s.Fail(Fault{Path: "/1.0", Delay: time.Hour})
	ctx, cancel := context.WithTimeout(t.Context(), delay)
	defer cancel()
	hasty, err := incus.ConnectIncusUnixWithContext(ctx, s.Socket(), &incus.ConnectionArgs{SkipGetServer: true})
	must(t, err)
	_, _, err = hasty.GetServer()
	wantText(t, err, "deadline exceeded")
}

func TestRequests(t *testing.T) {
	s := Start(t)
	server := connect(t, s)
	create(t, server, "one", DefaultImage, false)
	create(t, server, "two", DefaultImage, false)
	s.Forget()
	for _, name := range []string{"one", "two", "two"} {
		_, _, err := server.GetInstance(name)
		must(t, err)
	}
	_, _, err := server.GetServer()
	must(t, err)
	for _, c := range []struct {
		method, pattern string
		want            int
	}{
		{"", "", 4},
		{"GET", "", 4},
		{"POST", "", 0},
		{"GET", "/1.0/instances/*", 3},
		{"GET", "/1.0/instances/two", 2},
		{"GET", "/1.0", 1},
	} {
		if got := s.Requests(c.method, c.pattern); got != c.want {
			t.Errorf("requests %q %q: got %d, want %d", c.method, c.pattern, got, c.want)
		}
	}
}

// TestThousand: a thousand instances, fifty of which run, are made and listed
// within a few seconds.
func TestThousand(t *testing.T) {
	s := Start(t)
	server := connect(t, s)
	const total, running = 1000, 50
	for i := range total {
		create(t, server, fmt.Sprintf("i%d", i), DefaultImage, i < running)
	}
	full, err := server.GetInstancesFull(api.InstanceTypeContainer)
	must(t, err)
	addresses := map[string]bool{}
	for _, instance := range full {
		for _, address := range instance.State.Network["eth0"].Addresses {
			addresses[address.Address] = true
		}
	}
	if len(full) != total || len(addresses) != running {
		t.Errorf("%d instances with %d addresses, want %d and %d", len(full), len(addresses), total, running)
	}
}
