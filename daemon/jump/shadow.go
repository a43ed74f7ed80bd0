package jump

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// tools are the programs that change the passwd database.
type tools struct {
	dir string // where they are; an ordinary PATH does not look there
	etc string // where the database is
}

var shadow = tools{dir: "/usr/sbin", etc: "/etc"}

const (
	// toolTimeout is far above what the tools need; each of their locks they give
	// up after 15 seconds.
	toolTimeout = 2 * time.Minute
	// lockEvery is the time between two tries at a lock that another tool holds.
	lockEvery = 200 * time.Millisecond
	// writable is W_OK of access(2).
	writable = 2
)

// run runs one of the tools; its error has what it said. The end of ctx does not
// end a tool that runs: killed half-way it would leave one of the files changed
// and the others not. While somebody else has the database locked, run tries
// again until ctx ends.
func (s tools) run(ctx context.Context, name string, args ...string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	ticker := time.NewTicker(lockEvery)
	defer ticker.Stop()
	for {
		err := s.once(ctx, name, args...)
		if !s.locked(err) {
			return err
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

func (s tools) once(ctx context.Context, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), toolTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(s.dir, name), args...) //nolint:gosec // no shell; the names are checked
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.Join(strings.Fields(stderr.String()), " "))
	}
	return nil
}

// locked reports whether a tool failed for nothing but a lock. Where the database
// can not be written at all it says the same of the lock, and there waiting is
// of no use.
func (s tools) locked(err error) bool {
	switch exitCode(err) {
	case 1, 10, 16, 18: // passwd and shadow; group and gshadow; subuid; subgid
		return strings.Contains(err.Error(), "cannot lock") && syscall.Access(s.etc, writable) == nil
	}
	return false
}

// exitCode returns the exit code of the tool that err is about, else 0.
func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}
