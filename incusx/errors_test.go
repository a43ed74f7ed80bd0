package incusx_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/lxc/incus/v6/shared/api"

	"github.com/footprintai/containarium/incusx"
)

// kinds are all that errors can be.
var kinds = []error{
	incusx.ErrNotFound, incusx.ErrExists, incusx.ErrUnavailable, incusx.ErrInvalid, incusx.ErrRunning, incusx.ErrStopped,
	incusx.ErrBusy, incusx.ErrDiskFull, incusx.ErrImageRemote, incusx.ErrStopTimeout,
}

// failed is how the client puts an operation that failed: Incus answers a wait
// with status 200 before it knows.
func failed(text string) error { return api.StatusErrorf(200, "%s", text) }

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		kind error // nil: none
	}{
		{"404", api.StatusErrorf(404, "Instance not found"), incusx.ErrNotFound},
		{"409", api.StatusErrorf(409, "x"), incusx.ErrExists},
		{"400", api.StatusErrorf(400, "x"), incusx.ErrInvalid},
		{"503", api.StatusErrorf(503, "x"), incusx.ErrUnavailable},
		{"500", api.StatusErrorf(500, "x"), nil},
		{"403", api.StatusErrorf(403, "x"), nil},
		{"412", api.StatusErrorf(412, "x"), nil},
		{"name taken", failed(`Failed creating instance record: Add instance info to the database: Failed to create "instances" entry: UNIQUE constraint failed: instances.project_id, instances.name`), incusx.ErrExists},
		{"name taken, newer Incus", api.StatusErrorf(500, `Instance "a" already exists`), incusx.ErrExists},
		{"address taken", failed(`Failed start validation for device "eth0": IP address "10.0.0.2" already defined on another NIC`), incusx.ErrInvalid},
		{"already running", failed("The instance is already running"), incusx.ErrRunning},
		{"delete what runs", api.StatusErrorf(400, "Instance is running"), incusx.ErrRunning},
		{"already stopped", failed("The instance is already stopped"), incusx.ErrStopped},
		{"exec in what is stopped", api.StatusErrorf(400, "Instance is not running"), incusx.ErrStopped},
		{"restart what is stopped", failed("The instance isn't running"), incusx.ErrStopped},
		{"deaf", failed(`Failed shutting down instance, status is "Running": context deadline exceeded`), incusx.ErrStopTimeout},
		{"disk full", failed(`Failed to create file "/var/lib/incus/containers/x/backup.yaml": open x: disk quota exceeded`), incusx.ErrDiskFull},
		{"busy", failed(`Failed to create instance update operation: Instance is busy running a "stop" operation`), incusx.ErrBusy},
		{"value refused", failed("Invalid config: Memory limit can't be 0"), incusx.ErrInvalid},
		{"device refused", failed(`Invalid devices: Device validation failed for "root": x`), incusx.ErrInvalid},
		{"value refused at create", failed("Failed creating instance record: Unknown configuration key: x"), incusx.ErrInvalid},
		{"gone in between", failed(`Failed to fetch instance "a" in project "p": Instance not found`), incusx.ErrNotFound},
		// Not the container is missing, but what became of it.
		{"operation forgotten", api.StatusErrorf(404, "Operation not found"), incusx.ErrUnavailable},
		{"no socket", &net.OpError{Op: "dial", Err: syscall.ENOENT}, incusx.ErrUnavailable},
		{"refused", fmt.Errorf("get: %w", syscall.ECONNREFUSED), incusx.ErrUnavailable},
		{"cut off", fmt.Errorf("get: %w", io.EOF), incusx.ErrUnavailable},
		{"cut off in between", io.ErrUnexpectedEOF, incusx.ErrUnavailable},
		{"shutting down", failed("daemon is shutting down"), incusx.ErrUnavailable},
		{"canceled", fmt.Errorf("get: %w", context.Canceled), nil},
		{"out of time", &net.OpError{Op: "read", Err: context.DeadlineExceeded}, nil},
		{"anything", errors.New("boom"), nil},
	} {
		got := incusx.Classify("do it", c.err)
		for _, kind := range kinds {
			if is := errors.Is(got, kind); is != errors.Is(c.kind, kind) {
				t.Errorf("%s: %v: is %q: %v", c.name, got, kind, is)
			}
		}
		wantText(t, c.name, got, "do it: ")
	}
	if err := incusx.Classify("do it", nil); err != nil {
		t.Errorf("no error became %v", err)
	}
	// The path of a socket and an errno help nobody.
	got := incusx.Classify("do it", &net.OpError{Op: "dial", Net: "unix", Err: syscall.ENOENT})
	if got.Error() != "do it: Incus is not reachable" {
		t.Errorf("got %q", got)
	}
}
