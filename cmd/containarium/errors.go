package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"google.golang.org/grpc/codes"

	"github.com/footprintai/containarium/client"
)

// The exit codes. exitSome is for calls to several servers of which some failed.
const (
	exitFine        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitSome        = 3
	exitDenied      = 4
	exitInterrupted = 130
)

// usageError is a command line that makes no sense.
type usageError struct {
	command string // below the program, for example "key add"; may be empty
	message string
}

func (e *usageError) Error() string {
	return strings.TrimPrefix(e.command+": "+e.message, ": ")
}

// usagef makes a usage error of the command that runs.
func usagef(c *cli.Context, format string, args ...any) error {
	return &usageError{command: commandPath(c), message: fmt.Sprintf(format, args...)}
}

// commandPath is what was typed between the program's name and its arguments.
func commandPath(c *cli.Context) string {
	_, path, _ := strings.Cut(c.Command.HelpName, " ")
	return path
}

// failure is a command that failed, with what the hints look at.
type failure struct {
	// what was to be done, for example "info alice".
	what string
	// user, or other name, whom it was about; may be empty.
	user string
	// place is how a command names the user's container, with its server where it
	// needs one; may be empty.
	place string
	// local says that no server was asked, and that err says what failed.
	local bool
	// server that was asked, zero where it never came to that.
	server client.Server
	// asked is what --server said.
	asked  string
	config *client.Config
	err    error
}

func (f *failure) Error() string {
	if f.local {
		return f.err.Error()
	}
	return f.what + ": " + f.err.Error()
}
func (f *failure) Unwrap() error { return f.err }

// saying is an error of a kind in words of our own.
type saying struct {
	text string
	kind error
}

func (e *saying) Error() string { return e.text }
func (e *saying) Unwrap() error { return e.kind }

// report prints a line for every error and returns the exit code: that of the
// first, unless some of several servers were fine.
func report(ctx context.Context, t *terminal, err error) int {
	errs := flatten(err)
	if ctx.Err() != nil {
		errs = interruptedOnce(errs)
	}
	for _, err := range errs {
		t.notef("%s", explain(ctx, err))
	}
	if some, ok := errors.AsType[*someError](err); ok && !some.all && ctx.Err() == nil {
		return exitSome
	}
	return exitCode(ctx, errs[0])
}

// interruptedOnce leaves one of the calls to many servers that Ctrl-C ended.
func interruptedOnce(errs []error) []error {
	first := true
	return slices.DeleteFunc(slices.Clone(errs), func(err error) bool {
		again := errors.Is(err, context.Canceled) && !first
		first = first && !errors.Is(err, context.Canceled)
		return again
	})
}

// flatten takes errors apart that were joined, line by line, by errors.Join, and
// those of several servers.
func flatten(err error) []error {
	if some, ok := err.(*someError); ok { //nolint:errorlint // only at the top, as below
		return some.errs
	}
	joined, ok := err.(interface{ Unwrap() []error }) // only at the top: what is wrapped inside belongs to its error
	if !ok {
		return []error{err}
	}
	var errs []error
	var lines []string
	for _, e := range joined.Unwrap() {
		errs = append(errs, flatten(e)...)
		lines = append(lines, e.Error())
	}
	if err.Error() != strings.Join(lines, "\n") {
		return []error{err} // a sentence of its own
	}
	return errs
}

func exitCode(ctx context.Context, err error) int {
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	if ctx.Err() != nil {
		return exitInterrupted
	}
	if call, ok := errors.AsType[*client.Error](err); ok {
		if code := call.Code(); code == codes.PermissionDenied || code == codes.Unauthenticated {
			return exitDenied
		}
	}
	if coder, ok := errors.AsType[cli.ExitCoder](err); ok {
		return coder.ExitCode()
	}
	return exitFailed
}
