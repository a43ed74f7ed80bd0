package incusx

import (
	"context"
	"net/netip"
	"slices"
	"time"

	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"
)

// For the tests of package incusx_test.
var (
	Classify     = classify
	AddressOf    = addressOf
	UpdateTries  = updateTries
	OutputMost   = outputMost
	AccountShell = accountScript
)

// Exec runs argv in a user's container.
func (c *Client) Exec(ctx context.Context, username string, argv []string, stdin string) (code int, stdout, stderr string, err error) {
	server, err := c.connect(ctx)
	if err != nil {
		return 0, "", "", err
	}
	result, err := exec(ctx, server, InstanceName(username), argv, stdin)
	return result.code, result.stdout, result.stderr, err
}

// SSHPort is the port at which Client looks for sshd.
func (c *Client) SSHPort() int { return c.cfg.SSHPort }

// SourceOf is where Incus is told to take an image from.
func SourceOf(image Image) api.InstanceSource { return image.source }

// Write changes a container's instance as a whole.
func (c *Client) Write(ctx context.Context, username string, change func(*api.Instance)) (Container, error) {
	return c.update(ctx, username, func(_ incus.InstanceServer, instance *api.Instance) error {
		change(instance)
		return nil
	})
}

// Choose picks an address of a network where these are taken, or "".
func Choose(network *api.Network, taken []string) string {
	address := pick(addressRanges(network), func(a netip.Addr) bool { return !slices.Contains(taken, a.String()) })
	if !address.IsValid() {
		return ""
	}
	return address.String()
}

// ProgressOf reads an operation's metadata.
var ProgressOf = progressOf

// Impatient has a stream ask for signs of life, and be taken for dead, as soon.
func (e *Events) Impatient(every, silence time.Duration) { e.every, e.silence = every, silence }

// ParseEvent reads a message of the event stream.
var ParseEvent = parseEvent
