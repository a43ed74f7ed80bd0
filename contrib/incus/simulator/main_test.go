package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/footprintai/containarium/incusx"
)

// TestRun: one line when it is ready, an Incus behind it, and nothing left when
// it is told to stop.
func TestRun(t *testing.T) {
	folder, err := os.MkdirTemp("", "sim") // short, as a socket's path has to be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	socket := filepath.Join(folder, "unix.socket")
	ctx, stop := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"--socket", socket, "--projects", "a,b"}, in, io.Discard)
		_ = in.Close()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var at string
	var port int
	if _, err := fmt.Sscanf(line, "simulated Incus ready: socket %s sshd of the guests at port %d\n", &at, &port); err != nil || at != socket+"," || port == 0 {
		t.Errorf("it printed %q: %v", line, err)
	}
	client := incusx.New(incusx.Config{Socket: socket, Project: "b", Profile: "default", SSHPort: port})
	if _, err := client.System(t.Context()); err != nil {
		t.Errorf("ask it: %v", err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
	if entries, err := os.ReadDir(folder); err != nil || len(entries) > 0 {
		t.Errorf("it left %v, %v", entries, err)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{}, {"--socket", "x", "y"}, {"--nope"}, {"--ssh-port", "x"}} {
		if err := run(t.Context(), args, io.Discard, io.Discard); !errors.As(err, new(usageError)) {
			t.Errorf("%q: got %v, want a usage error", args, err)
		}
	}
	if err := run(t.Context(), []string{"--socket", filepath.Join(t.TempDir(), "no", "x")}, io.Discard, io.Discard); err == nil {
		t.Error("a socket in no folder: got no error")
	}
}
