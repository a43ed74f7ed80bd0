package examples_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/contrib/test/freeport"
	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/pki/live"
	"github.com/footprintai/containarium/pki/pkitest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

const aliceKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAa8Sl+2Q2Q+5/IJTanvYHY9Aa5hANht/U34SXiFy1k2 alice@example"

// site is a laptop with a servers file, and the servers in it: jump-1, the default,
// and jump-2.
type site struct {
	ca      *pkitest.CA
	servers map[string]*daemontest.Daemon
	// admin are the files of a client that may do everything.
	admin live.Files
	// key is a file with aliceKey.
	key    string
	home   string
	config string
	env    []string
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{ca: pkitest.New(t), servers: map[string]*daemontest.Daemon{}, home: t.TempDir()}
	for _, name := range []string{"jump-1", "jump-2"} {
		s.servers[name] = daemontest.StartWith(t, daemontest.Options{CA: s.ca})
	}
	s.admin = s.files(t, "admin")
	s.key = filepath.Join(s.home, "alice.pub")
	if err := os.WriteFile(s.key, []byte(aliceKey+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.config = filepath.Join(s.home, "config.toml")
	s.enter(t, s.admin, s.address("jump-1"), s.address("jump-2"))
	// Nothing else of the machine that runs the test, its proxies above all.
	s.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.home, "CONTAINARIUM_CONFIG=" + s.config, "PYTHONDONTWRITEBYTECODE=1",
	}
	return s
}

func (s *site) address(name string) string { return s.servers[name].Address }

func (s *site) files(t *testing.T, cn string) live.Files {
	t.Helper()
	return s.ca.Client(t, cn).WriteFiles(t, t.TempDir(), s.ca)
}

// enter writes the servers file, for calls with these files to jump-1 and jump-2
// at these addresses.
func (s *site) enter(t *testing.T, files live.Files, jump1, jump2 string) {
	t.Helper()
	c := &client.Config{Path: s.config, Default: "jump-1", Servers: map[string]client.Server{}}
	for name, address := range map[string]string{"jump-1": jump1, "jump-2": jump2} {
		c.Servers[name] = client.Server{Name: name, Address: address, Cert: files.Cert, Key: files.Key, CA: files.CA}
	}
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
}

// make makes a container on a server.
func (s *site) make(t *testing.T, server, user string, labels map[string]string) {
	t.Helper()
	containers := pb.NewContainerServiceClient(s.servers[server].Dial(t, "admin"))
	if _, err := containers.CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: user, Labels: labels, NoWait: true}); err != nil {
		t.Fatal(err)
	}
}

// state is that of a user's container on a server, "gone" where there is none.
func (s *site) state(t *testing.T, server, user string) string {
	t.Helper()
	containers := pb.NewContainerServiceClient(s.servers[server].Dial(t, "admin"))
	list, err := containers.ListContainers(t.Context(), &pb.ListContainersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list.GetContainers() {
		if c.GetUsername() == user {
			return map[pb.ContainerState]string{
				pb.ContainerState_CONTAINER_STATE_RUNNING: "running",
				pb.ContainerState_CONTAINER_STATE_STOPPED: "stopped",
			}[c.GetState()]
		}
	}
	return "gone"
}

// ran is what came of a program.
type ran struct {
	code      int
	out, errs string
}

// run runs a program with the laptop's environment.
func (s *site) run(t *testing.T, env []string, name string, args ...string) ran {
	t.Helper()
	// Far beyond what any of them takes, also on a busy machine.
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Env = &out, &errs, append(s.env, env...)
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended || ctx.Err() != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, errs.String())
	}
	t.Logf("%s %q: exit code %d\n%s%s", filepath.Base(name), args, cmd.ProcessState.ExitCode(), out.String(), errs.String())
	return ran{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// must is run for what has to succeed; it returns standard output.
func (s *site) must(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	r := s.run(t, env, name, args...)
	if r.code != 0 {
		t.Fatalf("%s %q: exit code %d\n%s%s", name, args, r.code, r.out, r.errs)
	}
	return r.out
}

// tool finds a program. On a machine without it the test is not run, which make
// test tells at its end; .ci/run lets nothing be left out.
func tool(t *testing.T, install string, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skipf("NOT RUN: the example, which needs %s: %s", names[0], install)
	return ""
}

// programs is the folder of what build builds.
var programs string

// containarium is the command line, and example the program in go/. They are built
// as make build does, which has most of it done already.
var (
	containarium = build("containarium", "../../cmd/containarium")
	example      = build("example", "./go")
)

// build has a program built when it is first asked for, and returns its path.
func build(name, source string) func(t *testing.T) string {
	once := sync.OnceValue(func() error {
		cmd := exec.CommandContext(context.Background(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(programs, name), source)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", source, err, out)
		}
		return nil
	})
	return func(t *testing.T) string {
		t.Helper()
		if err := once(); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(programs, name)
	}
}

// withCLI is the environment of a program that runs the command line.
func withCLI(t *testing.T) []string {
	t.Helper()
	return []string{"PATH=" + filepath.Dir(containarium(t)) + ":" + os.Getenv("PATH")}
}

func TestMain(m *testing.M) {
	var err error
	if programs, err = os.MkdirTemp("", "containarium-examples-"); err != nil {
		panic(err)
	}
	m.Run()
	_ = os.RemoveAll(programs)
}

// nobody is an address where nothing listens.
func nobody(t *testing.T) string {
	t.Helper()
	address, err := freeport.Address("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	return address
}
