package incusx

import (
	"context"
	"errors"
	"time"

	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"
)

// Start starts a stopped container. ErrRunning where it runs.
func (c *Client) Start(ctx context.Context, username string) error {
	return c.setState(ctx, username, api.InstanceStatePut{Action: "start", Timeout: -1})
}

// Stop stops a running container: at once with force, else the guest shuts down
// within timeout, rounded up to seconds, or the answer is ErrStopTimeout; then it
// may still go down later, and until then Incus refuses all but a stop by force.
// ErrStopped where it does not run.
func (c *Client) Stop(ctx context.Context, username string, force bool, timeout time.Duration) error {
	return c.setState(ctx, username, api.InstanceStatePut{Action: "stop", Force: force, Timeout: seconds(timeout)})
}

// seconds is at least 1: Incus takes 0 for force.
func seconds(d time.Duration) int { return max(1, int((d+time.Second-1)/time.Second)) }

func (c *Client) setState(ctx context.Context, username string, state api.InstanceStatePut) error {
	server, err := c.connect(ctx)
	if err != nil {
		return err
	}
	op, err := server.UpdateInstanceState(InstanceName(username), state, "")
	return wait(state.Action+" the container of "+username, op, err)
}

// Remove deletes a container, running or not. ErrNotFound where there is none,
// also where the instance of that name is not ours.
func (c *Client) Remove(ctx context.Context, username string) error {
	server, err := c.connect(ctx)
	if err != nil {
		return err
	}
	_, instance, _, err := get(server, username)
	if err != nil {
		return err
	}
	return remove(ctx, server, instance)
}

// remove stops and deletes an instance as it was read. While Incus is busy with
// it, as with a start that nobody waits for any more, it tries anew until ctx
// ends.
func remove(ctx context.Context, server incus.InstanceServer, instance *api.Instance) error {
	var last error
	err := poll(ctx, func() (bool, error) {
		if last != nil {
			now, _, err := server.GetInstance(instance.Name)
			if err != nil {
				if err = classify("look up "+instance.Name, err); errors.Is(err, ErrNotFound) {
					return true, nil
				}
				return false, err
			}
			instance = now
		}
		last = removeOnce(server, instance)
		if errors.Is(last, ErrBusy) || errors.Is(last, ErrRunning) {
			return false, nil
		}
		return true, last
	})
	if err != nil && ctx.Err() != nil && last != nil {
		return last
	}
	return err
}

func removeOnce(server incus.InstanceServer, instance *api.Instance) error {
	what := "delete " + instance.Name
	if instance.StatusCode != api.Stopped {
		op, err := server.UpdateInstanceState(instance.Name, api.InstanceStatePut{Action: "stop", Force: true, Timeout: -1}, "")
		// One that stopped by itself in the meantime is what is wanted.
		if err := wait(what, op, err); err != nil && !errors.Is(err, ErrStopped) {
			return err
		}
	}
	op, err := server.DeleteInstance(instance.Name)
	if err := wait(what, op, err); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil
}
