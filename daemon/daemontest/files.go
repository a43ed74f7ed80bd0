package daemontest

import (
	"context"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/footprintai/containarium/pki/pkitest"
)

// SetPolicy replaces the policy as careful tools do, by a rename. The daemon
// notices by itself.
func (d *Daemon) SetPolicy(t testing.TB, text string) {
	t.Helper()
	Replace(t, d.policy, []byte(text), 0o600)
}

// SetCRLs replaces the revocation lists; pkitest makes them.
func (d *Daemon) SetCRLs(t testing.TB, data []byte) {
	t.Helper()
	Replace(t, d.Files.CRL, data, 0o644)
}

// Revoke replaces the revocation lists by a good one with these pairs.
func (d *Daemon) Revoke(t testing.TB, pairs ...pkitest.Pair) {
	t.Helper()
	var serials []*big.Int
	for _, pair := range pairs {
		serials = append(serials, pair.Leaf.SerialNumber)
	}
	d.SetCRLs(t, d.CA.CRL(t, serials...))
}

// Replace replaces a file by a rename.
func Replace(t testing.TB, path string, data []byte, mode os.FileMode) {
	t.Helper()
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.WriteFile(temp, data, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(temp, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
	if err := os.Rename(temp, path); err != nil {
		t.Fatal(err)
	}
}

// WaitGeneration waits until the daemon goes by that generation or a later one.
func (d *Daemon) WaitGeneration(t testing.TB, number uint64) {
	t.Helper()
	Wait(t, "a new generation", func() bool { return d.Generation().GetNumber() >= number })
}

// WaitRefused waits until the daemon refused to load what changed, and returns
// why.
func (d *Daemon) WaitRefused(t testing.TB) string {
	t.Helper()
	Wait(t, "a reload that fails", func() bool { return d.Generation().GetLastError() != "" })
	return d.Generation().GetLastError()
}

// Wait waits for a condition; the bound is for a machine that hangs, not for one
// that is busy.
func Wait(t testing.TB, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		case <-ticker.C:
		}
	}
}

// DialWith connects with the pair, until the test ends.
func (d *Daemon) DialWith(t testing.TB, pair pkitest.Pair) *grpc.ClientConn {
	t.Helper()
	config := d.CA.ClientConfig(pair)
	config.Time = d.CA.Now
	conn, err := grpc.NewClient(d.Address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// Log returns what the daemon logged so far.
func (d *Daemon) Log() string {
	d.log.mu.Lock()
	defer d.log.mu.Unlock()
	return d.log.text.String()
}

// record keeps what is written, and hands it on.
type record struct {
	out  io.Writer
	mu   sync.Mutex
	text strings.Builder
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text.Write(p)
	return r.out.Write(p)
}
