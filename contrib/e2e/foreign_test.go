//go:build e2e

package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/lxc/incus/v6/shared/api"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// foreignMark is a file in a home that stands for somebody else's.
const foreignMark = "containarium-e2e-foreign"

// everything is all that this machine holds of an account.
func everything(t *testing.T, username string) string {
	t.Helper()
	var all strings.Builder
	for _, file := range []string{"/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow", "/etc/subuid", "/etc/subgid"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			if strings.Contains(line, username) {
				all.WriteString(file + ": " + line)
			}
		}
	}
	out, err := exec.CommandContext(t.Context(), "find", filepath.Join(homes, username), "-printf", "%p %y %m %u %g %s %T+ %l\n").Output()
	if err != nil {
		t.Fatal(err)
	}
	return all.String() + string(out)
}

// untouched does things to a name that is somebody else's, each of which must be
// refused as if it were not there, and compares what there is of it.
func untouched(t *testing.T, s *site, username string, words []string, state func() string) {
	t.Helper()
	key := newKey(t, "mallory")
	before := state()
	s.refused(t, words, "create", username, "--ssh-key", key.file+".pub")
	for _, args := range [][]string{
		{"info", username}, {"start", username}, {"stop", username, "--force"}, {"restart", username, "--force"},
		{"key", "add", username, key.file + ".pub"}, {"metrics", username}, {"rm", username}, {"rm", username, "--force"},
	} {
		s.refused(t, []string{"has no container"}, args...)
	}
	if c := s.listed(t, username); c != nil {
		t.Errorf("ls shows %v", c)
	}
	if diff := cmp.Diff(before, state()); diff != "" {
		t.Errorf("it changed (-before +after):\n%s", diff)
	}
}

func TestForeignAccountsAreLeftAlone(t *testing.T) {
	t.Parallel()
	s := theSite(t)
	const username = prefix + "admin"
	if err := quiet(exec.CommandContext(t.Context(), "useradd", "--create-home", "--base-dir", homes, "--comment", foreignComment, username)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := lasting(t)
		defer cancel()
		if err := quiet(exec.CommandContext(ctx, "userdel", "--remove", username)); err != nil {
			t.Error(err)
		}
	})
	untouched(t, s, username, []string{"belongs to somebody else", "choose another user name"}, func() string { return everything(t, username) })
	s.refused(t, []string{"belongs to somebody else"}, "create", "root")
}

func TestForeignHomesAreLeftAlone(t *testing.T) {
	t.Parallel()
	s := theSite(t)
	const username = prefix + "homeless"
	home := filepath.Join(homes, username)
	if err := os.MkdirAll(home, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	if err := os.WriteFile(filepath.Join(home, foreignMark), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	untouched(t, s, username, []string{"belongs to somebody else"}, func() string { return everything(t, username) })
}

func TestForeignInstancesAreLeftAlone(t *testing.T) {
	t.Parallel()
	s := theSite(t)
	const username, name = prefix + "stranger", prefix + "stranger-container"
	s.launch(t, name, nil)
	untouched(t, s, username, []string{"somebody else made"}, func() string {
		instance, _, err := s.incus().GetInstance(name)
		if err != nil {
			t.Fatal(err)
		}
		state, _, err := s.incus().GetInstanceState(name)
		if err != nil {
			t.Fatal(err)
		}
		return cmp.Diff(new(api.Instance), instance) + cmp.Diff(0, int(state.Pid))
	})
	if hasAccount(username) || hasHome(username) {
		t.Errorf("left: %s", s.left(t, username))
	}
	for _, c := range get(t, s, new(pb.GetMetricsResponse), "metrics").GetMetrics() {
		if c.GetName() == name {
			t.Errorf("metrics shows %v", c)
		}
	}
}
