package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"
	"golang.org/x/sys/unix"

	"github.com/footprintai/containarium/contrib/test/freeport"
)

const (
	name     = "containarium-list"
	incusDir = "/var/lib/containarium-list"
	script   = "contrib/incus/incus.sh"
	// patience bounds each step that waits.
	patience = 5 * time.Minute
	// sweeping bounds the end: a busy machine deletes two containers a second.
	sweeping = time.Hour
	// hands is how many containers are made at once.
	hands = 4
)

// site is an incusd with containers, and a daemon on it.
type site struct {
	binary, dir, address, socket string
	daemon                       *exec.Cmd
	said                         bytes.Buffer // by the daemon
	incusd                       int          // its process
}

func (s *site) up(ctx context.Context, instances int) error {
	var err error
	if s.dir, err = os.MkdirTemp("", name); err != nil {
		return err
	}
	if err := quiet(s.incusScript(ctx, "up")); err != nil {
		return err
	}
	s.socket = filepath.Join(incusDir, "unix.socket")
	if s.incusd, err = peer(s.socket); err != nil {
		return err
	}
	if err := s.fill(ctx, instances); err != nil {
		return err
	}
	return s.start(ctx)
}

func (s *site) incusScript(ctx context.Context, verb string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, script, verb) //nolint:gosec // fixed
	cmd.Env = append(os.Environ(), "NAME="+name, "INCUS_DIR="+incusDir, "BRIDGE=", "SUBNET=", "ALIAS=", "POOL=dir")
	return cmd
}

// down takes away what up made, however far that came.
func (s *site) down() error {
	ctx, cancel := context.WithTimeout(context.Background(), sweeping)
	defer cancel()
	var errs []error
	if s.daemon != nil {
		errs = append(errs, s.daemon.Process.Signal(syscall.SIGTERM), s.daemon.Wait())
	}
	errs = append(errs, quiet(s.incusScript(ctx, "down")))
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}

// peer returns the process at the other end of a socket.
func peer(socket string) (int, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return 0, err
	}
	defer conn.Close() //nolint:errcheck // nothing was written
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var credentials *unix.Ucred
	controlled := raw.Control(func(fd uintptr) {
		credentials, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(controlled, err); err != nil {
		return 0, err
	}
	return int(credentials.Pid), nil
}

// fill makes the containers: they hold nothing, and carry what the daemon knows its
// own by.
func (s *site) fill(ctx context.Context, instances int) error {
	var group sync.WaitGroup
	errs := make([]error, hands)
	for hand := range hands {
		group.Go(func() {
			for i := hand; i < instances && errs[hand] == nil; i += hands {
				errs[hand] = s.make(ctx, i)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func (s *site) make(ctx context.Context, i int) error {
	server, err := incus.ConnectIncusUnixWithContext(ctx, s.socket, &incus.ConnectionArgs{SkipGetEvents: true, SkipGetServer: true})
	if err != nil {
		return err
	}
	username := fmt.Sprintf("user-%05d", i)
	op, err := server.UseProject(name).CreateInstance(api.InstancesPost{
		Name: username + "-container", Type: api.InstanceTypeContainer,
		Source: api.InstanceSource{Type: "none"},
		InstancePut: api.InstancePut{Config: api.ConfigMap{
			"user.containarium.username": username, "user.containarium.phase": "ready",
			"user.containarium.image": "none", "user.containarium.address": fmt.Sprintf("10.99.%d.%d", i/250, 2+i%250),
		}},
	})
	if err != nil {
		return err
	}
	return op.WaitContext(ctx)
}

// start makes a CA and starts the daemon, and waits until that has nothing left to
// ask Incus.
func (s *site) start(ctx context.Context) error {
	for _, args := range [][]string{
		{"pki", "init", "--pki-dir", s.path("pki")},
		{"pki", "issue", "jump-1", "--server", "--san", "127.0.0.1", "--pki-dir", s.path("pki")},
		{"pki", "issue", "admin", "--pki-dir", s.path("pki")},
	} {
		if err := quiet(exec.CommandContext(ctx, s.binary, args...)); err != nil { //nolint:gosec // what --containarium says
			return err
		}
	}
	var err error
	if s.address, err = freeport.Address("127.0.0.1"); err != nil {
		return err
	}
	config := fmt.Sprintf(`[server]
address = %q
cert = %q
key = %q
ca = %q
[policy]
file = %q
[audit]
file = %q
[incus]
socket = %q
project = %q
[jump]
accounts = false
`, s.address, s.issued("jump-1", "tls.crt"), s.issued("jump-1", "tls.key"), s.issued("jump-1", "ca.crt"), s.path("policy.toml"), s.path("audit.log"), s.socket, name)
	policy := "[roles.admin]\nallow = [\"*\"]\n[identities]\nadmin = \"admin\"\n"
	if err := errors.Join(os.WriteFile(s.path("config.toml"), []byte(config), 0o600), os.WriteFile(s.path("policy.toml"), []byte(policy), 0o600)); err != nil {
		return err
	}
	daemon := exec.CommandContext(context.WithoutCancel(ctx), s.binary, "daemon", "--config", s.path("config.toml")) //nolint:gosec // what --containarium says; down ends it
	daemon.Stderr = &s.said
	if err := daemon.Start(); err != nil {
		return err
	}
	s.daemon = daemon
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	before := time.Duration(-1)
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		used, err := s.incusCPU()
		if err != nil {
			return err
		}
		_, lsErr := s.ls(ctx)
		if lsErr == nil && used-before < 50*time.Millisecond {
			return nil
		}
		before = used
		select {
		case <-ctx.Done():
			return fmt.Errorf("the daemon does not come to rest: %w: %w: %s", ctx.Err(), lsErr, s.said.String())
		case <-ticker.C:
		}
	}
}

func (s *site) path(file string) string { return filepath.Join(s.dir, file) }
func (s *site) issued(name, file string) string {
	return filepath.Join(s.dir, "pki", "issued", name, file)
}

// ls runs ours and returns how many containers it showed.
func (s *site) ls(ctx context.Context) (int, error) {
	cmd := exec.CommandContext(ctx, s.binary, "ls") //nolint:gosec // what --containarium says
	cmd.Env = append(os.Environ(),
		"CONTAINARIUM_SERVER="+s.address, "CONTAINARIUM_CERT="+s.issued("admin", "tls.crt"),
		"CONTAINARIUM_KEY="+s.issued("admin", "tls.key"), "CONTAINARIUM_CA="+s.issued("admin", "ca.crt"))
	return shown(cmd)
}

// incusList runs theirs.
func (s *site) incusList(ctx context.Context) (int, error) {
	cmd := exec.CommandContext(ctx, "incus", "list", "-c", "ns4", "--project", name)
	cmd.Env = append(os.Environ(), "INCUS_SOCKET="+s.socket, "INCUS_CONF="+s.dir)
	return shown(cmd)
}

func shown(cmd *exec.Cmd) (int, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, stderr.String())
	}
	return bytes.Count(out, []byte("user-")), nil
}

// incusCPU returns what incusd has computed since it started.
func (s *site) incusCPU() (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.incusd))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat is too short", s.incusd)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond, errors.Join(err1, err2)
}

// rss returns the memory of the daemon in MiB, or 0 where it can not be told.
func (s *site) rss() float64 {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.daemon.Process.Pid))
	_, rest, _ := strings.Cut(string(data), "VmRSS:")
	kilobytes, _ := strconv.ParseFloat(strings.TrimSpace(strings.SplitN(rest, "kB", 2)[0]), 64)
	return kilobytes / 1024
}

// quiet runs a command; what it said is in the error alone.
func quiet(cmd *exec.Cmd) error {
	cmd.WaitDelay = 10 * time.Second // what it started in the background may hold its output
	out, err := cmd.CombinedOutput()
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}
