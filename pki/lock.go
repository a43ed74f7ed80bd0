package pki

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// change runs f while nobody else changes the directory, on the state that is in
// force. It waits for other processes until the context ends. What a crash left
// is put right first.
func (ca *CA) change(ctx context.Context, f func(*snapshot) error) error {
	// One goroutine at a time waits for the file: each that does takes a thread.
	select {
	case ca.gate <- struct{}{}:
		defer func() { <-ca.gate }()
	case <-ctx.Done():
		return fmt.Errorf("the CA in %s is busy: %w", ca.Dir, ctx.Err())
	}
	unlock, err := lock(ctx, filepath.Join(ca.Dir, lockFile))
	if err != nil {
		return err
	}
	defer unlock()
	if err := sweep(ca.Dir, tempPrefix); err != nil {
		return err
	}
	s, err := ca.load()
	if err != nil {
		return err
	}
	if err := ca.settle(s); err != nil {
		return err
	}
	return f(s)
}

// settle makes bundle.pem what the state says: a crash may have come between the
// two. Once for each state is enough.
func (ca *CA) settle(s *snapshot) error {
	if ca.settled == s {
		return nil
	}
	want := s.bundle()
	if have, err := os.ReadFile(filepath.Join(ca.Dir, bundleFile)); err == nil && bytes.Equal(have, want) {
		ca.settled = s
		return nil
	}
	return replace(ca.Dir, file{bundleFile, want, 0o644})
}

// lock waits until no other process holds the lock on the file or folder, or
// until the context ends. The system releases it when the process ends, however
// that may be.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := flock(f, unix.LOCK_EX|unix.LOCK_NB); err == nil {
		return func() { _ = f.Close() }, nil // closing releases it
	}
	done := make(chan error)
	go func() {
		err := flock(f, unix.LOCK_EX)
		select {
		case done <- err:
		case <-ctx.Done(): // nobody waits any more
			_ = f.Close()
		}
	}()
	select {
	case err := <-done:
		if err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		return func() { _ = f.Close() }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("another process holds %s: %w", path, ctx.Err())
	}
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
