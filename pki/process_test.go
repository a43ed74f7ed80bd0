package pki

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/footprintai/containarium/pki/live"
)

// issuerEnv is set for a process that a test starts of this program: "DIR PREFIX
// COUNT". It issues that many certificates, or goes on until it is killed where
// COUNT is 0, and prints each name once it is out.
const issuerEnv = "PKI_TEST_ISSUER"

// TestIssuerProcess is no test of its own, but what such a process runs.
func TestIssuerProcess(t *testing.T) {
	args := os.Getenv(issuerEnv)
	if args == "" {
		return
	}
	var dir, prefix string
	var count int
	if _, err := fmt.Sscan(args, &dir, &prefix, &count); err != nil {
		t.Fatal(err)
	}
	ca, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; count == 0 || i < count; i++ {
		name := fmt.Sprintf("%s-%d", prefix, i)
		issue(t, ca, Request{Name: name, Kind: Client})
		if _, err := fmt.Fprintln(os.Stdout, name); err != nil {
			t.Fatal(err)
		}
	}
}

func issuer(t *testing.T, dir, prefix string, count int) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestIssuerProcess$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d", issuerEnv, dir, prefix, count))
	cmd.Stderr = os.Stderr
	return cmd
}

// checkDirectory holds at any instant at which nobody is issuing: each folder is
// whole and in the index.
func checkDirectory(t *testing.T, dir string) map[string]bool {
	t.Helper()
	ca, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := ca.List()
	if err != nil {
		t.Fatal(err)
	}
	indexed := map[string]bool{}
	for _, e := range entries {
		if indexed[e.Serial] {
			t.Errorf("serial %s is there twice", e.Serial)
		}
		indexed[e.Serial], indexed[e.SHA256] = true, true
	}
	folders, err := os.ReadDir(filepath.Join(dir, issuedDir))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, folder := range folders {
		files := ca.Files(folder.Name())
		if err := files.Check(live.Client, time.Now()); err != nil {
			t.Error(err)
			continue
		}
		certs, err := live.ReadCertificates(files.Cert)
		if err != nil {
			t.Fatal(err)
		}
		if !indexed[Fingerprint(certs[0])] {
			t.Errorf("the index lacks %s", folder.Name())
		}
		out[folder.Name()] = true
	}
	return out
}

func TestTwoProcesses(t *testing.T) {
	const each = 50
	ca, _ := newCA(t)
	var running []*exec.Cmd
	for _, prefix := range []string{"a", "b"} {
		cmd := issuer(t, ca.Dir, prefix, each)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		running = append(running, cmd)
	}
	for _, cmd := range running {
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	if out := checkDirectory(t, ca.Dir); len(out) != 2*each {
		t.Errorf("%d folders, want %d", len(out), 2*each)
	}
	entries, err := ca.List()
	if err != nil || len(entries) != 2+2*each {
		t.Errorf("%d entries, %v, want %d", len(entries), err, 2+2*each)
	}
}

// One value is used by many at once: nothing is lost, and nobody sees half.
func TestConcurrent(t *testing.T) {
	ca, _ := newCA(t)
	old := issue(t, ca, Request{Name: "old", Kind: Client})
	req := renewal(t, old)
	const callers, each = 4, 5
	done := make(chan error, callers)
	for i := range callers {
		go func() {
			for j := range each {
				name := fmt.Sprintf("c%d-%d", i, j)
				_, err := ca.Issue(t.Context(), Request{Name: name, Kind: Client})
				if err == nil {
					_, err = ca.Renew(t.Context(), req)
				}
				if err == nil {
					_, err = ca.Revoke(t.Context(), Revocation{NameOrSerial: name})
				}
				var entries []Entry
				if err == nil {
					entries, err = ca.List()
				}
				if err == nil && len(entries) < 3+2*(j+1) {
					err = fmt.Errorf("%d entries after %d rounds", len(entries), j+1)
				}
				if err == nil {
					_, err = ca.Status()
				}
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range callers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	entries, err := ca.List()
	if err != nil || len(entries) != 3+2*callers*each {
		t.Errorf("%d entries, %v", len(entries), err)
	}
	if got := onList(t, ca, ca.Intermediate); len(got) != callers*each {
		t.Errorf("%d on the list", len(got))
	}
}

// Of two that want one name, one gets it.
func TestSameName(t *testing.T) {
	ca, _ := newCA(t)
	const callers = 8
	results := make(chan error, callers)
	for range callers {
		go func() {
			_, err := ca.Issue(t.Context(), Request{Name: "alice", Kind: Client})
			results <- err
		}()
	}
	won := 0
	for range callers {
		if err := <-results; err == nil {
			won++
		} else if !strings.Contains(err.Error(), "already exists") {
			t.Error(err)
		}
	}
	entries, err := ca.List()
	if won != 1 || err != nil || len(entries) != 3 {
		t.Errorf("%d won; %d entries, %v", won, len(entries), err)
	}
}

func TestTwoInits(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	results := make(chan error, 4)
	for range cap(results) {
		go func() {
			_, err := Init(t.Context(), dir, Options{})
			results <- err
		}()
	}
	won := 0
	for range cap(results) {
		if <-results == nil {
			won++
		}
	}
	if _, err := Open(dir); won != 1 || err != nil {
		t.Errorf("%d won; %v", won, err)
	}
}
