//go:build e2e

package e2e_test

import (
	"bufio"
	"io"
	"os/exec"
	"testing"
	"time"
)

// session is an ssh of the user's into the container that stays open.
type session struct {
	in    io.Writer
	lines chan string // what it answers; closed at its end
	err   error       // how it ended
}

// openSession runs cat in the container, through the jump host.
func (o *owner) openSession(t *testing.T) *session {
	t.Helper()
	args := append([]string{"-F", o.sshConfig(t, o.key)}, o.hops()...)
	cmd := exec.CommandContext(t.Context(), "ssh", append(args, "cat")...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close() })
	s := &session{in: in, lines: make(chan string, 1)}
	go func() {
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			s.lines <- scanner.Text()
		}
		s.err = cmd.Wait()
		close(s.lines)
	}()
	if !s.echoes() {
		t.Fatal("the session does not answer")
	}
	return s
}

func (s *session) echoes() bool {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	if _, err := io.WriteString(s.in, "hello\n"); err != nil {
		return false
	}
	select {
	case line := <-s.lines:
		return line == "hello"
	case <-timeout.C:
		return false
	}
}

// ends waits for the end of the session, which its owner did not ask for.
func (s *session) ends(t *testing.T) {
	t.Helper()
	timeout := time.NewTimer(20 * time.Second)
	defer timeout.Stop()
	select {
	case line, more := <-s.lines:
		if more || s.err == nil {
			t.Errorf("the session says %q, and ends with %v", line, s.err)
		}
	case <-timeout.C:
		t.Error("the session goes on")
	}
}
