//go:build e2e

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	incus "github.com/lxc/incus/v6/client"

	"github.com/footprintai/containarium/contrib/test/freeport"
)

// What the tests make on this machine, and nothing else there, has these names:
// an Incus of their own, the accounts e2e-... with their group, and one folder.
const (
	siteName  = "containarium-e2e"
	incusDir  = "/var/lib/containarium-e2e"
	siteDir   = "/run/containarium-e2e"
	siteGroup = "containarium-e2e"
	prefix    = "e2e-"
	homes     = "/home"
)

const (
	script = "../incus/incus.sh"
	// patience bounds every wait and every program; little here needs a tenth.
	patience = 2 * time.Minute
	// setUp bounds what is done once: where there is no Incus it is installed, and
	// the image is built.
	setUp = 20 * time.Minute
)

// site is what the tests share: an Incus, a CA, a jump host and a daemon.
type site struct {
	binary string
	// socket is that of the private Incus, driver that of its pool.
	socket string
	driver string
	image  string
	// address is the daemon's, http that of its HTTP port, jump the sshd's, HOST:PORT.
	address, http, jump string
	jumpKey             string // the sshd's host key, as type and base64
	daemon, sshd        *process

	mu         sync.Mutex
	identities map[string]bool // those that the CA has issued
}

var (
	shared   *site
	sharedUp = sync.OnceValue(func() (err error) {
		shared, err = newSite()
		return err
	})
	// siteWanted says that there is something to tear down.
	siteWanted bool
)

// theSite returns the site, which the first test that asks for it makes.
func theSite(t testing.TB) *site {
	t.Helper()
	if err := sharedUp(); err != nil {
		t.Fatalf("set up: %v", err)
	}
	return shared
}

func newSite() (*site, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("real containers and accounts need root: sudo env PATH=\"$PATH\" make e2e")
	}
	ctx, cancel := context.WithTimeout(context.Background(), setUp)
	defer cancel()
	siteWanted = true
	if err := sweep(ctx); err != nil {
		return nil, fmt.Errorf("remove what an earlier run left: %w", err)
	}
	if err := os.MkdirAll(siteDir, 0o755); err != nil {
		return nil, err
	}
	s := &site{binary: filepath.Join(siteDir, "containarium"), identities: map[string]bool{}}
	for _, step := range []func(context.Context) error{s.build, s.startIncus, s.makeCA, s.startSSHD} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	var err error
	if s.address, err = freeport.Address("127.0.0.1"); err != nil {
		return nil, err
	}
	if s.http, err = freeport.Address("127.0.0.1"); err != nil {
		return nil, err
	}
	if err := s.configure("default"); err != nil {
		return nil, err
	}
	return s, s.startDaemon(ctx)
}

// build builds the binary as it is shipped.
func (s *site) build(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", s.binary, "../../cmd/containarium")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	return quiet(cmd)
}

func (s *site) startIncus(ctx context.Context) error {
	if err := incusScript(ctx, "up"); err != nil {
		return err
	}
	cmd := scriptCommand(ctx, "env")
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("incus.sh env: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "INCUS_SOCKET":
			s.socket = value
		case "INCUS_DRIVER":
			s.driver = value
		case "INCUS_IMAGE":
			s.image = value
		}
	}
	return s.incusAnswers()
}

// incusAnswers reports why Incus does not answer.
func (s *site) incusAnswers() error {
	_, err := dialIncus(s.socket)
	return err
}

// incus is a client of the private Incus, for whoever asks alone: the official client
// (v6.23.0) writes without a lock what its other calls read, at each wait and each event
// stream, and tests run side by side.
func (s *site) incus() incus.InstanceServer {
	server, err := incus.ConnectIncusUnix(s.socket, &incus.ConnectionArgs{SkipGetEvents: true, SkipGetServer: true})
	if err != nil { // it makes no request
		panic(err)
	}
	return server.UseProject(siteName)
}

// dialIncus connects to an Incus, which must answer.
func dialIncus(socket string) (incus.InstanceServer, error) {
	return incus.ConnectIncusUnix(socket, &incus.ConnectionArgs{SkipGetEvents: true})
}

func scriptCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, script, args...)
	// Of the names that the script takes, those that are left are its defaults.
	cmd.Env = append(os.Environ(), "NAME="+siteName, "INCUS_DIR="+incusDir, "BRIDGE=", "SUBNET=", "ALIAS=")
	return cmd
}

func incusScript(ctx context.Context, args ...string) error {
	return quiet(scriptCommand(ctx, args...))
}

// makeCA makes the CA and the server's certificate by the commands that an
// operator uses.
func (s *site) makeCA(ctx context.Context) error {
	for _, args := range [][]string{
		{"pki", "init", "--pki-dir", pkiDir},
		{"pki", "issue", "jump-1", "--server", "--san", "127.0.0.1", "--pki-dir", pkiDir},
	} {
		if err := quiet(exec.CommandContext(ctx, s.binary, args...)); err != nil {
			return err
		}
	}
	return nil
}

const pkiDir = siteDir + "/pki"

func issued(name, file string) string { return filepath.Join(pkiDir, "issued", name, file) }

// quiet runs a command; what it said is in the error alone.
func quiet(cmd *exec.Cmd) error {
	cmd.WaitDelay = 10 * time.Second // what it started in the background may hold its output
	out, err := cmd.CombinedOutput()
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}

// waitFor looks every so often whether a condition holds; in vain it ends the
// test.
func waitFor(t testing.TB, what string, condition func() bool) {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-timeout.C:
			t.Fatalf("waited in vain for %s", what)
		case <-ticker.C:
		}
	}
}

// lasting returns a context for what must end also when the test has ended.
func lasting(t testing.TB) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(t.Context()), patience)
}
