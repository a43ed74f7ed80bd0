package service_test

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/ssh"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/daemon/jump"
	"github.com/footprintai/containarium/daemon/service"
	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/incusx/incustest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

const image = "containarium/debian-12"

// hop is a jump host in memory.
type hop struct {
	mu       sync.Mutex
	accounts map[string]string // user name -> "address key, key"
	foreign  map[string]bool
	fail     error // of Ensure
}

func (h *hop) Check(_ context.Context, username string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.foreign[username] {
		return fmt.Errorf("the account %s %w", username, jump.ErrForeign)
	}
	return nil
}

func (h *hop) Prepare(ctx context.Context, username string) (bool, error) {
	if err := h.Check(ctx, username); err != nil {
		return false, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.accounts[username]; ok {
		return false, nil
	}
	h.accounts[username] = ""
	return true, nil
}

func (h *hop) Ensure(ctx context.Context, username, address string, keys []string) error {
	if _, err := h.Prepare(ctx, username); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fail != nil {
		return h.fail
	}
	h.accounts[username] = address + " " + strings.Join(keys, ", ")
	return nil
}

func (h *hop) Remove(ctx context.Context, username string) error {
	if err := h.Check(ctx, username); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.accounts, username)
	return nil
}

func (h *hop) Usernames(context.Context) ([]string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Keys(h.accounts)), nil
}

func (h *hop) account(username string) (string, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	account, ok := h.accounts[username]
	return account, ok
}

// site is a Service on a simulated Incus.
type site struct {
	*service.Service
	sim   *incustest.Server
	hop   *hop
	incus *incusx.Client
	// unfollow ends the copy of the containers, and what it asks Incus.
	unfollow func()
}

func newSite(t *testing.T, options incustest.Options, change ...func(*service.Config)) *site {
	t.Helper()
	sim := incustest.Start(t, options)
	h := &hop{accounts: map[string]string{}, foreign: map[string]bool{}}
	log := logrus.New()
	log.SetOutput(t.Output())
	incus := incusx.New(incusx.Config{Socket: sim.Socket(), Project: "default", Profile: "default", SSHPort: sim.SSHPort(), HostRoot: cmp.Or(sim.HostRoot(), t.TempDir())})
	c := service.Config{
		Incus:         incus,
		Hop:           h,
		DefaultImage:  image,
		CreateTimeout: time.Minute,
		SSHPort:       sim.SSHPort(),
		JumpAddress:   "jump.example",
		Version:       "test",
		May:           func(context.Context, string, string) bool { return true },
		Standing:      standing(func(string, string) bool { return true }),
		Generation:    func() *pb.Generation { return &pb.Generation{Number: 1} },
		TrustSource:   func() *pb.TrustSource { return nil },
		TrustBundle:   func() *pb.GetTrustBundleResponse { return &pb.GetTrustBundleResponse{Roots: "roots"} },
		Certificate:   func(context.Context) *x509.Certificate { return nil },
		Now:           time.Now,
		Serving:       func(bool) {},
		Log:           log,
	}
	for _, f := range change {
		f(&c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	s := &site{service.New(t.Context(), c), sim, h, incus, func() { cancel(); <-done }}
	go func() { s.Follow(ctx); close(done) }()
	t.Cleanup(s.unfollow)
	if _, err := s.ListContainers(t.Context(), &pb.ListContainersRequest{}); err != nil {
		t.Fatalf("the first list: %v", err)
	}
	sim.Forget() // what it took to know what there is
	return s
}

// standing is that of a caller whose policy never changes.
func standing(may func(rpc, username string) bool) func(context.Context) (func(rpc, username string) bool, uint64, <-chan struct{}) {
	return func(context.Context) (func(rpc, username string) bool, uint64, <-chan struct{}) { return may, 1, nil }
}

// create makes a container with one key, made of the user name.
func (s *site) create(t *testing.T, username string) *pb.Container {
	t.Helper()
	response, err := s.CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: username, SshKeys: []string{key(username)}})
	if err != nil {
		t.Fatalf("create %s: %v", username, err)
	}
	return response.GetContainer()
}

// instances are the names of all instances, ours or not.
func (s *site) names(t *testing.T) []string {
	t.Helper()
	containers, err := s.incus.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range containers {
		names = append(names, containers[i].Username)
	}
	return names
}

// nothingLeft fails the test if there is an instance or an account of the user.
func (s *site) nothingLeft(t *testing.T, username string) {
	t.Helper()
	if exists, err := s.incus.Exists(t.Context(), username); exists || err != nil {
		t.Errorf("the instance of %s is there: %t, %v", username, exists, err)
	}
	if account, ok := s.hop.account(username); ok {
		t.Errorf("%s has an account: %q", username, account)
	}
}

// key returns a line of authorized_keys, the same for the same seed.
func key(seed string) string {
	private := ed25519.NewKeyFromSeed([]byte(fmt.Sprintf("%-32.32s", seed)))
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		panic(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public))) + " " + seed
}

func fingerprint(line string) string {
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		panic(err)
	}
	return ssh.FingerprintSHA256(public)
}

// wantStatus checks the code of an error, its reason and parts of its message.
func wantStatus(t *testing.T, err error, code codes.Code, reason string, parts ...string) {
	t.Helper()
	st := status.Convert(err)
	if st.Code() != code {
		t.Errorf("code %s, want %s: %v", st.Code(), code, err)
	}
	got := ""
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			got = info.GetReason()
		}
	}
	if got != reason {
		t.Errorf("reason %q, want %q: %v", got, reason, err)
	}
	for _, part := range parts {
		if !strings.Contains(st.Message(), part) {
			t.Errorf("the message lacks %q: %s", part, st.Message())
		}
	}
	if strings.Contains(st.Message(), "\n") {
		t.Errorf("more than one line: %q", st.Message())
	}
}

// violatedFields returns the fields that an InvalidArgument names, sorted.
func violatedFields(t *testing.T, err error) []string {
	t.Helper()
	st := status.Convert(err)
	if st.Code() != codes.InvalidArgument {
		t.Fatalf("error %v, want InvalidArgument", err)
	}
	var fields []string
	for _, detail := range st.Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			for _, violation := range bad.GetFieldViolations() {
				fields = append(fields, violation.GetField())
				if !strings.Contains(st.Message(), violation.GetField()) {
					t.Errorf("the message lacks %s: %s", violation.GetField(), st.Message())
				}
			}
		}
	}
	slices.Sort(fields)
	return fields
}

// eventually waits for a condition; the bound is for a machine that hangs.
func eventually(t *testing.T, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			t.Fatal("waited in vain")
		case <-ticker.C:
		}
	}
}

// changes counts the requests that were to change something in Incus: what is read
// there may be for the copy, which hears late of what was done before.
func (s *site) changes() int {
	total := 0
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		total += s.sim.Requests(method, "")
	}
	return total
}
