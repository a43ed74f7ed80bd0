package incusx

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/gorilla/websocket"
	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"
)

// stderrTail is how much of a failed command's standard error is kept, in bytes:
// the last lines say why, and they go into a one-line error.
const stderrTail = 512

// outputMost is how much of a command's output is kept, in bytes. The guest's
// owner is root there, and may have put anything in place of what is run.
const outputMost = 64 << 10

// execResult is what a command in a guest left behind.
type execResult struct {
	code   int
	stdout string
	stderr string // its end, on one line
}

// notStarted is how Incus says, now and then on a busy machine, that it lost
// sight of the command that it started in the guest.
const notStarted = "Failed to retrieve PID of executing child process"

// exec runs argv as root in a running instance. A code other than 0 is a result,
// not an error. When ctx ends, the command is killed. Where Incus loses sight of
// the command it is run anew, so it must be one that may run twice, also at once.
func exec(ctx context.Context, server incus.InstanceServer, instance string, argv []string, stdin string) (result execResult, err error) {
	_ = poll(ctx, func() (bool, error) {
		result, err = execOnce(ctx, server, instance, argv, stdin)
		return err == nil || !strings.Contains(err.Error(), notStarted), nil
	})
	return result, err
}

func execOnce(ctx context.Context, server incus.InstanceServer, instance string, argv []string, stdin string) (execResult, error) {
	what := "run a command in " + instance
	var stdout, stderr output
	done := make(chan bool)
	op, err := server.ExecInstance(instance, api.InstanceExecPost{Command: argv, WaitForWS: true}, &incus.InstanceExecArgs{
		Stdin: io.NopCloser(strings.NewReader(stdin)), Stdout: &stdout, Stderr: &stderr, DataDone: done,
		Control: func(conn *websocket.Conn) {
			// No context reaches the websockets. Incus kills the command when the
			// control one is closed before its end, and then closes the others.
			select {
			case <-ctx.Done():
			case <-done:
			}
			_ = conn.Close()
		},
	})
	if err := wait(what, op, err); err != nil {
		return execResult{}, err
	}
	select {
	case <-done:
	case <-ctx.Done():
		return execResult{}, fmt.Errorf("%s: %w", what, ctx.Err())
	}
	code, ok := op.Get().Metadata["return"].(float64)
	if !ok { // fails closed: a command whose end is unknown did not succeed
		return execResult{}, fmt.Errorf("%s: Incus did not tell its exit code", what)
	}
	if code != 0 && ctx.Err() != nil { // killed, or might have been
		return execResult{}, fmt.Errorf("%s: %w", what, ctx.Err())
	}
	return execResult{code: int(code), stdout: stdout.kept.String(), stderr: tail(stderr.kept.String())}, nil
}

// tail returns the end of s on one line.
func tail(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > stderrTail {
		s = "…" + strings.ToValidUTF8(s[len(s)-stderrTail:], "")
	}
	return s
}

// output keeps the beginning of what is written to it, and takes the rest.
type output struct{ kept bytes.Buffer }

// Write never fails: a command is not to be stopped by its own output.
func (o *output) Write(p []byte) (int, error) {
	o.kept.Write(p[:min(len(p), outputMost-o.kept.Len())])
	return len(p), nil
}

// Close does nothing.
func (o *output) Close() error { return nil }
