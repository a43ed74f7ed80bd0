package pki

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/footprintai/containarium/pki/live"
)

// workerEnv is set for a process that a test starts of this program: "DIR SEED".
// It does one thing after the other to the CA in DIR, until it is killed, and
// prints what was handed out or revoked once it was.
const workerEnv = "PKI_TEST_WORKER"

// TestWorkerProcess is no test of its own, but what such a process runs.
func TestWorkerProcess(t *testing.T) {
	args := os.Getenv(workerEnv)
	if args == "" {
		return
	}
	var dir string
	var seed uint64
	if _, err := fmt.Sscan(args, &dir, &seed); err != nil {
		t.Fatal(err)
	}
	ca, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(seed, 0))
	_, _ = fmt.Fprintln(os.Stdout, "ready")
	for {
		printed, err := work(t.Context(), ca, random)
		switch {
		case err == nil:
			_, _ = fmt.Fprintln(os.Stdout, printed)
		case errors.Is(err, ErrExists), errors.Is(err, ErrNotFound), errors.Is(err, ErrElsewhere), errors.Is(err, ErrRefused), errors.Is(err, ErrRevoked): // another was faster
		default:
			t.Fatal(err)
		}
	}
}

// work does one thing, and returns what has to be true from then on.
func work(ctx context.Context, ca *CA, random *rand.Rand) (string, error) {
	name := fmt.Sprintf("worker-%d", random.IntN(8))
	switch n := random.IntN(20); {
	case n < 6:
		issued, err := ca.Issue(ctx, Request{Name: name, Kind: Client})
		return "issued " + issued.Serial, err
	case n < 11:
		issued, err := ca.Reissue(ctx, Local{Name: name, NewKey: n < 9, Overlap: max(0, time.Duration(n-7)) * time.Hour})
		return "issued " + issued.Serial, err
	case n < 13:
		entries, err := ca.Find(name)
		if err != nil || len(entries) == 0 {
			return "", errors.Join(err, ErrNotFound)
		}
		_, err = ca.Revoke(ctx, Revocation{NameOrSerial: entries[0].Serial})
		return "revoked " + entries[0].Serial, err
	case n < 15:
		_, err := ca.WriteCRL(ctx, 0)
		return "lists", err
	case n < 16:
		_, err := ca.RotateIntermediate(ctx, "")
		return "rotated", err
	default:
		status, err := ca.Status()
		if err != nil {
			return "", err
		}
		step := map[string]Step{Stable: Start, Started: Switch, Switched: Finish}[status.Stage]
		if status.Stage != Stable && n == 16 {
			step = Abort
		}
		_, err = ca.Rollover(ctx, step, "", true)
		return "rollover", err
	}
}

const kills = 200

// Two processes at a time work on one directory and are killed at random
// instants. After each two the directory is whole, has all that was handed out,
// and work goes on.
func TestKilled(t *testing.T) {
	ca, _ := newCA(t)
	ca.Now = time.Now
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	did := map[string]int{}
	var folders []string
	typical := 20 * time.Millisecond // how long a worker takes for one thing here and now
	for round := range kills / 2 {
		var printed [2][]string
		var took [2]time.Duration
		var wait sync.WaitGroup
		for i := range printed {
			instant := time.Duration(random.Int64N(int64(3 * typical)))
			childSeed := random.Uint64()
			wait.Go(func() { printed[i], took[i] = workAndKill(t, ca.Dir, childSeed, instant) })
		}
		wait.Wait()
		for i := range printed {
			done := len(printed[i])
			typical = (9*typical + took[i]/time.Duration(done+1)) / 10
		}
		folders = checkWhole(t, ca.Dir, append(printed[0], printed[1]...), folders)
		if t.Failed() {
			t.Fatalf("after %d kills", 2*round+2)
		}
		for _, line := range append(printed[0], printed[1]...) {
			verb, _, _ := strings.Cut(line, " ")
			did[verb]++
		}
		if _, err := ca.Sign(t.Context(), CSRRequest{CSR: csrOf(t, "after"), Kind: Client}); err != nil {
			t.Fatal(err)
		}
		if left, err := filepath.Glob(ca.path(tempPrefix + "*")); err != nil || len(left) > 0 {
			t.Fatalf("left behind: %v, %v", left, err)
		}
		want, err := ca.Bundle()
		if have, err2 := os.ReadFile(ca.path(bundleFile)); err != nil || err2 != nil || !bytes.Equal(have, want) {
			t.Fatalf("bundle.pem is not what the state says: %v, %v", err, err2)
		}
	}
	t.Logf("done between the kills: %v", did)
	for _, verb := range []string{"issued", "revoked", "lists", "rotated", "rollover"} {
		if did[verb] == 0 {
			t.Errorf("nothing was %s: the test tests less than it says", verb)
		}
	}
}

func csrOf(t *testing.T, name string) []byte {
	t.Helper()
	csr, _, err := NewRequest(name, Client, nil, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

// workAndKill lets a worker work until that instant and returns what it printed,
// and how long it worked.
func workAndKill(t *testing.T, dir string, seed uint64, instant time.Duration) (printed []string, took time.Duration) {
	self, err := os.Executable()
	if err != nil {
		t.Error(err)
		return nil, 0
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestWorkerProcess$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", workerEnv, dir, seed))
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Error(err)
		return nil, 0
	}
	if err := cmd.Start(); err != nil {
		t.Error(err)
		return nil, 0
	}
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() || lines.Text() != "ready" {
		t.Errorf("the worker says %q", lines.Text())
	}
	start := time.Now()
	kill := time.AfterFunc(instant, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	for lines.Scan() {
		printed = append(printed, lines.Text())
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Exited() {
		t.Errorf("the worker ended by itself: %v, %q", err, printed)
	}
	return printed, time.Since(start)
}

// checkWhole holds at any instant at which nobody works on the directory. It
// returns the folders in issued; none that was there before may be missing.
func checkWhole(t *testing.T, dir string, printed, before []string) (there []string) {
	t.Helper()
	ca, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := ca.List()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]Entry{}
	for _, e := range entries {
		if _, twice := known[e.Serial]; twice {
			t.Errorf("serial %s is there twice", e.Serial)
		}
		known[e.Serial], known[e.SHA256] = e, e
	}
	for _, line := range printed {
		verb, serial, _ := strings.Cut(line, " ")
		e, ok := known[serial]
		if verb == "issued" && !ok {
			t.Errorf("%s was handed out, and the journal lacks it", serial)
		}
		if verb == "revoked" && !e.RevokedAt(time.Now()) {
			t.Errorf("%s was revoked, and the journal does not say so", serial)
		}
	}
	folders, err := os.ReadDir(ca.path(issuedDir))
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		there = append(there, folder.Name())
		files := ca.Files(folder.Name())
		if err := files.Check(live.Client, time.Now()); err != nil { // whole, and good for who has its ca.crt
			t.Error(err)
			continue
		}
		certs, err := live.ReadCertificates(files.Cert)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := known[Fingerprint(certs[0])]; !ok {
			t.Errorf("the journal lacks what is in %s", folder.Name())
		}
	}
	for _, name := range before {
		if !slices.Contains(there, name) {
			t.Errorf("%s is gone", name)
		}
	}
	for _, pattern := range []string{rootsDir + "/*", intermediatesDir + "/*"} {
		paths, err := filepath.Glob(ca.path(pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, ".key") {
				_, err = readKey(path, nil)
			} else {
				_, err = readOne(path)
			}
			if err != nil {
				t.Errorf("half a file: %v", err)
			}
		}
	}
	if _, err := ca.oldCRLs(); err != nil {
		t.Error(err)
	}
	if _, err := ca.RefreshCRL(t.Context()); err != nil {
		t.Error(err)
	}
	if stale, err := ca.stale(current(t, ca), time.Now()); stale || err != nil {
		t.Errorf("the lists are stale after a refresh: %v", err)
	}
	return there
}
