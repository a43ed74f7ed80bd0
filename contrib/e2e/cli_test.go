//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// The identities of the tests; contrib/policy/policy.toml gives them their roles.
const (
	admin    = "ops-laptop"
	operator = "operator-e2e"
)

// result is what became of a program.
type result struct {
	stdout, stderr string
	code           int // -1 where a signal ended it
}

// run runs a command to its end, within patience.
func run(t testing.TB, ctx context.Context, input string, env []string, name string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &stdout, &stderr
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "LC_ALL=C.UTF-8"}, env...)
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Errorf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// as runs containarium with the certificate of cn, which is issued where there is
// none.
func (s *site) as(t testing.TB, ctx context.Context, cn string, args ...string) result {
	t.Helper()
	return s.asIn(t, ctx, nil, cn, args...)
}

// asIn is as, with more in the environment.
func (s *site) asIn(t testing.TB, ctx context.Context, env []string, cn string, args ...string) result {
	t.Helper()
	s.mu.Lock()
	if !s.identities[cn] {
		if err := quiet(exec.CommandContext(ctx, s.binary, "pki", "issue", cn, "--pki-dir", pkiDir)); err != nil {
			t.Error(err)
		}
		s.identities[cn] = true
	}
	s.mu.Unlock()
	return run(t, ctx, "", append([]string{
		"CONTAINARIUM_SERVER=" + s.address, "CONTAINARIUM_CERT=" + issued(cn, "tls.crt"),
		"CONTAINARIUM_KEY=" + issued(cn, "tls.key"), "CONTAINARIUM_CA=" + issued(cn, "ca.crt"),
	}, env...), s.binary, args...)
}

// do runs containarium as the admin; a failure ends the test.
func (s *site) do(t testing.TB, args ...string) result {
	t.Helper()
	r := s.as(t, t.Context(), admin, args...)
	if r.code != 0 {
		t.Fatalf("containarium %s: exit code %d: %s", strings.Join(args, " "), r.code, r.stderr)
	}
	return r
}

// refused runs containarium as the admin, which must fail in one line that has
// all the words.
func (s *site) refused(t testing.TB, words []string, args ...string) {
	t.Helper()
	s.refusedAs(t, admin, 1, words, args...)
}

func (s *site) refusedAs(t testing.TB, cn string, code int, words []string, args ...string) {
	t.Helper()
	what := cn + ": containarium " + strings.Join(args, " ")
	r := s.as(t, t.Context(), cn, args...)
	if r.code != code {
		t.Errorf("%s: exit code %d, want %d: %s", what, r.code, code, r.stderr)
	}
	if strings.Count(r.stderr, "\n") != 1 {
		t.Errorf("%s: said %q, want one line", what, r.stderr)
	}
	for _, word := range words {
		if !strings.Contains(r.stderr, word) {
			t.Errorf("%s: said %q, without %q", what, r.stderr, word)
		}
	}
}

// get runs a command that prints its answer as JSON.
func get[M proto.Message](t testing.TB, s *site, into M, args ...string) M {
	t.Helper()
	r := s.do(t, append(args, "-o", "json")...)
	if err := protojson.Unmarshal([]byte(r.stdout), into); err != nil {
		t.Fatalf("containarium %s -o json: %v: %s", strings.Join(args, " "), err, r.stdout)
	}
	return into
}

func (s *site) info(t testing.TB, username string) *pb.Container {
	t.Helper()
	return get(t, s, new(pb.GetContainerResponse), "info", username).GetContainer()
}

// listed returns the container of a user as ls shows it, or nil.
func (s *site) listed(t testing.TB, username string) *pb.Container {
	t.Helper()
	for _, c := range get(t, s, new(pb.ListContainersResponse), "ls").GetContainers() {
		if c.GetUsername() == username {
			return c
		}
	}
	return nil
}

// job is a command that runs beside the test.
type job struct {
	ended chan struct{}
	result
}

// begin starts containarium as the admin and does not wait.
func (s *site) begin(t testing.TB, args ...string) *job {
	j := &job{ended: make(chan struct{})}
	ctx, cancel := lasting(t)
	go func() {
		defer cancel()
		j.result = s.as(t, ctx, admin, args...)
		close(j.ended)
	}()
	t.Cleanup(func() { <-j.ended })
	return j
}

func (j *job) wait() result {
	<-j.ended
	return j.result
}

func (j *job) running() bool {
	select {
	case <-j.ended:
		return false
	default:
		return true
	}
}
