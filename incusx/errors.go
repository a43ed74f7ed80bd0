package incusx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/lxc/incus/v6/shared/api"
)

// What went wrong, for errors.Is.
var (
	ErrNotFound    = errors.New("not found")
	ErrExists      = errors.New("already exists")
	ErrUnavailable = errors.New("Incus is not reachable") //nolint:staticcheck // a name
	ErrInvalid     = errors.New("invalid")
	ErrRunning     = errors.New("is running")
	ErrStopped     = errors.New("is not running")
	ErrBusy        = errors.New("is busy") // with another operation of Incus
	ErrDiskFull    = errors.New("its disk is full")
	ErrImageRemote = errors.New("image server is not reachable")
	ErrStopTimeout = errors.New("did not stop in time")
	ErrInUse       = errors.New("is less than what is in use") // a limit
	ErrLaterOnes   = errors.New("has later snapshots")
	ErrNotPrepared = errors.New("was not prepared here") // an image that is not ours to remove
	ErrMemberDown  = errors.New("the cluster member does not answer")
)

// ImageError says that an image is there but can not serve as a user's
// container, in Reason.
type ImageError struct{ Reason string }

func (e *ImageError) Error() string { return e.Reason }

// classify wraps err with what was attempted and, where the error tells, with
// the sentinel for its kind. What it can not tell stays unmarked and so becomes
// an internal error: nothing is mistaken for success or for "not found".
func classify(what string, err error) error {
	if err == nil {
		return nil
	}
	kind := kindOf(err)
	if kind == nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if errors.Is(kind, ErrUnavailable) {
		// The inner error is a path and an errno; the sentence is enough.
		return fmt.Errorf("%s: %w", what, kind)
	}
	return fmt.Errorf("%s: %w: %w", what, kind, err)
}

func kindOf(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	if memberDown(err) {
		return ErrMemberDown
	}
	for _, text := range texts {
		if strings.Contains(err.Error(), text.part) {
			return text.kind
		}
	}
	var status api.StatusError
	if errors.As(err, &status) {
		switch status.Status() {
		case http.StatusNotFound:
			return ErrNotFound
		case http.StatusConflict:
			return ErrExists
		case http.StatusServiceUnavailable:
			return ErrUnavailable
		case http.StatusBadRequest:
			return ErrInvalid
		}
		return nil
	}
	var network *net.OpError
	if errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ENOENT) {
		return ErrUnavailable
	}
	return nil
}

// texts tells kinds by Incus' words, as of 6.0: an operation that fails has no
// status code, and a create of a name that is taken has but its database's
// words. The conformance suite holds them to a real Incus. The first that occurs
// counts.
var texts = []struct {
	part string
	kind error
}{
	{"disk quota exceeded", ErrDiskFull}, // Incus, too, writes into the instance's volume
	{"Disk quota exceeded", ErrDiskFull}, // the tools that it runs
	{"setting cgroup item for the container failed", ErrInUse},
	{"cannot be restored due to subsequent", ErrLaterOnes},
	{"UNIQUE constraint failed: instances_snapshots.", ErrExists},
	{"already defined on another NIC", ErrInvalid}, // a conflict of addresses, not of names
	{"UNIQUE constraint failed: instances.", ErrExists},
	{`" already exists`, ErrExists},
	{"Instance not found", ErrNotFound},
	{"is already running", ErrRunning},
	{"Instance is running", ErrRunning},
	{"is already stopped", ErrStopped},
	{"Instance is not running", ErrStopped},
	{"The instance isn't running", ErrStopped},
	{"Instance is busy running", ErrBusy},
	{"In use", ErrBusy}, // a disk that is still mounted for what was done before
	{"Failed shutting down instance", ErrStopTimeout},
	{"Invalid config: ", ErrInvalid},
	{"Invalid devices: ", ErrInvalid},
	{"Failed creating instance record: ", ErrInvalid},
	// After a restart Incus knows none of the operations from before it: what
	// became of this one nobody can tell.
	{"Operation not found", ErrUnavailable},
	{"daemon is shutting down", ErrUnavailable},
	{"websocket: close", ErrUnavailable},
}
