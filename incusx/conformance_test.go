package incusx_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"
	"golang.org/x/crypto/ssh"

	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/incusx/incustest"
)

// conformUser begins the name of every user of the suite: whatever has it in the
// project of the tests is the suite's to remove.
const conformUser = "conform"

// site is an Incus that the suite runs on.
type site struct {
	client                  *incusx.Client
	raw                     incus.InstanceServer
	project, profile, image string
}

// TestConformance holds the simulator and a real Incus to one contract: what the
// daemon relies on. Where they differ, the simulator is wrong.
func TestConformance(t *testing.T) {
	t.Run("simulator", func(t *testing.T) {
		const project = "containarium-test"
		sim := incustest.Start(t, incustest.Options{Projects: []string{project}, HostRoot: t.TempDir()})
		conform(t, newSite(t, incusx.Config{Socket: sim.Socket(), Project: project, Profile: "default", SSHPort: sim.SSHPort(), HostRoot: sim.HostRoot()}, incustest.DefaultImage))
	})
	socket := os.Getenv("CONTAINARIUM_TEST_INCUS")
	if socket == "" {
		t.Log("not run: the conformance suite on a real Incus. To run it: CONTAINARIUM_TEST_INCUS=/var/lib/incus/unix.socket go test ./incusx -run TestConformance")
		return
	}
	t.Run("incus", func(t *testing.T) {
		config := incusx.Config{
			Socket:  socket,
			Project: setting("CONTAINARIUM_TEST_PROJECT", "containarium-test"),
			Profile: setting("CONTAINARIUM_TEST_PROFILE", "default"),
			SSHPort: 22,
		}
		conform(t, newSite(t, config, setting("CONTAINARIUM_TEST_IMAGE", incustest.DefaultImage)))
	})
}

func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func newSite(t *testing.T, config incusx.Config, image string) *site {
	t.Helper()
	raw, err := incus.ConnectIncusUnixWithContext(t.Context(), config.Socket, &incus.ConnectionArgs{SkipGetEvents: true})
	if err != nil {
		t.Fatalf("connect to Incus: %v", err)
	}
	s := &site{client: incusx.New(config), raw: raw.UseProject(config.Project), project: config.Project, profile: config.Profile, image: image}
	s.sweep(t)
	t.Cleanup(func() { s.sweep(t) })
	return s
}

// sweep removes what this run or one before it, cut off, left behind.
func (s *site) sweep(t *testing.T) {
	t.Helper()
	raw := s.connect(t, true)
	names, err := raw.GetInstanceNames(api.InstanceTypeContainer)
	if err != nil {
		t.Fatalf("look for leftovers: %v", err)
	}
	for _, name := range names {
		if !strings.HasPrefix(name, conformUser) {
			continue
		}
		if op, err := raw.UpdateInstanceState(name, api.InstanceStatePut{Action: "stop", Force: true}, ""); err == nil {
			_ = op.Wait() // it may be stopped
		}
		op, err := raw.DeleteInstance(name)
		if err == nil {
			err = op.Wait()
		}
		if err != nil && !errors.Is(incusx.Classify("", err), incusx.ErrNotFound) {
			t.Errorf("remove %s: %v", name, err)
		}
	}
}

// connect returns another official client on the project.
func (s *site) connect(t *testing.T, skipEvents bool) incus.InstanceServer {
	t.Helper()
	info, err := s.raw.GetConnectionInfo()
	must(t, "ask for the socket", err)
	// It may clean up after the test, and so does not end with it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	t.Cleanup(cancel)
	raw, err := incus.ConnectIncusUnixWithContext(ctx, info.SocketPath, &incus.ConnectionArgs{SkipGetEvents: skipEvents})
	must(t, "connect to Incus", err)
	return raw.UseProject(s.project)
}

// newUser names a user that nobody had before.
func newUser() string { return conformUser + "-" + strings.ToLower(rand.Text()[:8]) }

// newKey returns a line of authorized_keys and what logs in with it.
func newKey(t *testing.T) (string, ssh.Signer) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))), signer
}

// bounded returns a context that no wait of a test outlives.
func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// must fails the test where a step did.
func must(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// wantErr fails the test unless err is of kind.
func wantErr(t *testing.T, what string, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%s: got error %v, want one that is %q", what, err, kind)
	}
}

func (s *site) create(t *testing.T, spec incusx.Spec) {
	t.Helper()
	ctx := bounded(t)
	image, err := s.client.FindImage(ctx, s.image)
	must(t, "find the image", err)
	spec.Image = s.image
	_, err = s.client.Init(ctx, spec, image, nil)
	must(t, "init", err)
}

// wait waits for an operation of the official client, and tells its kind.
func (s *site) wait(op incus.Operation, err error) error {
	if err == nil {
		err = op.Wait()
	}
	return incusx.Classify("", err)
}

func conform(t *testing.T, s *site) {
	t.Run("missing", s.missing)
	t.Run("no cluster", s.noCluster)
	t.Run("image", s.images)
	t.Run("life", s.life)
	t.Run("foreign", s.foreign)
	t.Run("refused values", s.refused)
	t.Run("conflicting updates", s.conflict)
	t.Run("concurrent updates", s.concurrent)
	t.Run("pinned twice", s.pinnedTwice)
	t.Run("deaf to shutdown", s.deaf)
	t.Run("published", s.published)
	t.Run("chosen addresses", s.chosen)
	t.Run("keys", s.keys)
	t.Run("events", s.events)
	t.Run("copied", s.copied)
	t.Run("updates", s.updates)
	t.Run("full disk", s.fullDisk)
	t.Run("snapshots", s.snapshots)
}
