package jump

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// pollEvery is the time between two looks at whether a user's processes ended.
const pollEvery = 20 * time.Millisecond

// endSessions kills the processes of a user and waits until they are gone. An
// sshd process that serves a session runs as its user.
func endSessions(ctx context.Context, uid uint32) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		left, err := killProcesses(uid)
		if err != nil || left == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d processes did not end: %w", left, ctx.Err())
		case <-ticker.C:
		}
	}
}

// killProcesses kills what runs as the user and returns how many there were.
func killProcesses(uid uint32) (int, error) {
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return 0, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	found := 0
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || !isSession(pid, uid, namespace) {
			continue
		}
		// The handle first and then the look again, so that it is not another
		// process that has got the number since.
		process, err := os.FindProcess(pid)
		if err != nil {
			continue
		}
		if isSession(pid, uid, namespace) {
			found++
			err = process.Kill()
		}
		_ = process.Release() // it only closes the handle
		if err != nil && !errors.Is(err, os.ErrProcessDone) {
			return found, fmt.Errorf("kill process %d: %w", pid, err)
		}
	}
	return found, nil
}

// isSession reports whether a process runs as the user on the host itself: a
// container without a user namespace has users of the same number, which are
// somebody else.
func isSession(pid int, uid uint32, namespace string) bool {
	dir := "/proc/" + strconv.Itoa(pid)
	info, err := os.Stat(dir)
	if err != nil { // it ended in the meantime
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || stat.Uid != uid {
		return false
	}
	of, err := os.Readlink(dir + "/ns/pid")
	return err == nil && of == namespace
}
