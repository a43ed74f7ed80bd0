package jump

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// What the tests make on the real host, and nothing else there, is named so.
const (
	testGroup   = "containarium-jumptest"
	testAccount = "ctjt-"
	testDirs    = "/run/ctjt-"
)

func mkfifo(path string) error { return syscall.Mkfifo(path, 0o600) }

// newHost returns Accounts on the host that the test runs on. It begins and ends
// by removing what the tests make, so that one that was cut off leaves nothing
// for long. Only one test at a time has the host, those of other processes
// included.
func newHost(t *testing.T) *Accounts {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: real accounts of this host, which root alone can make: sudo make test")
	}
	lock, err := os.Open(filepath.Dir(testDirs)) // a lock on it hinders nobody else
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	sweep(t)
	t.Cleanup(func() {
		sweep(t)
		_ = lock.Close()
	})
	// t.TempDir is closed to everybody else, and sshd reads the keys as the account.
	dir, err := os.MkdirTemp(filepath.Dir(testDirs), filepath.Base(testDirs))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return &Accounts{Group: testGroup, Home: dir, SSHPort: 22}
}

func sweep(t *testing.T) {
	t.Helper()
	servers, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range servers {
		line, err := os.ReadFile(server)
		if err != nil || !bytes.Contains(line, []byte("sshd")) || !bytes.Contains(line, []byte(testDirs)) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(server))); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may end by itself just now
		}
	}
	for _, line := range database(t, "/etc/passwd", testAccount) {
		e, err := parseEntry(line)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := killProcesses(e.uid); err != nil {
			t.Error(err)
		}
		tool(t, "userdel", "--force", e.name)
	}
	for _, line := range append(database(t, "/etc/group", testGroup+":"), database(t, "/etc/group", testAccount)...) {
		name, _, _ := strings.Cut(line, ":")
		tool(t, "groupdel", name)
	}
	dirs, err := filepath.Glob(testDirs + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}
}

// database returns the lines of a file that start so.
func database(t *testing.T, file, prefix string) []string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, prefix) {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return lines
}

// tool runs one of the shadow tools as an operator would.
func tool(t *testing.T, name string, args ...string) {
	t.Helper()
	if err := shadow.run(context.Background(), name, args...); err != nil {
		t.Fatal(err)
	}
}

// state is all that the host holds of a name, to see that nothing changed.
func state(t *testing.T, a *Accounts, username string) string {
	t.Helper()
	var s strings.Builder
	for _, file := range []string{"/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow", "/etc/subuid", "/etc/subgid"} {
		if _, err := os.Stat(file); err != nil {
			continue
		}
		for _, line := range database(t, file, username+":") {
			fmt.Fprintln(&s, file, line)
		}
	}
	home := filepath.Join(a.Home, username)
	if _, err := os.Lstat(home); err == nil {
		var out bytes.Buffer
		cmd := exec.CommandContext(t.Context(), "find", home, "-printf", "%p %y %m %u %g %s %l\n")
		cmd.Stdout = &out
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		s.Write(out.Bytes())
	}
	return s.String()
}
