// Package incusx has the Incus verbs that Containarium needs, with contexts and typed errors, and the provisioning of a user's container.
package incusx

import (
	"context"
	"fmt"
	"sync"

	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"
)

// Config says which part of which Incus a Client works on.
type Config struct {
	// Socket is the path of Incus' unix socket.
	Socket string
	// Project holds the instances; Profile gives them their root disk and NIC.
	Project, Profile string
	// Remotes maps the name before the colon of an image reference to the URL of
	// its simplestreams server.
	Remotes map[string]string
	// SSHPort is the port on which sshd listens in the containers.
	SSHPort int
	// HostRoot is the folder that has the host's /proc and /sys; empty: "/".
	HostRoot string
	// Observe is nil where nobody counts.
	Observe Observe
}

// Client works on one project of the local Incus. It holds no connection: every
// verb makes its own, so that an Incus that went away and came back needs no
// care. It is safe for concurrent use.
type Client struct {
	cfg       Config
	addresses addressBook
	members   memberBook
	building  struct {
		mu    sync.Mutex
		names map[string]bool
	}
}

// New returns a Client. It does not connect.
func New(cfg Config) *Client { return &Client{cfg: cfg} }

// connect returns a client whose requests all end with ctx. It makes no request:
// the first verb finds out whether Incus answers.
func (c *Client) connect(ctx context.Context) (incus.InstanceServer, error) {
	server, err := incus.ConnectIncusUnixWithContext(ctx, c.cfg.Socket, &incus.ConnectionArgs{
		UserAgent: "containarium",
		// Operations are waited for by a long poll on the operation itself: one
		// request, where the event stream costs a websocket each.
		SkipGetEvents: true,
		SkipGetServer: true,
	})
	if err != nil {
		return nil, classify("connect to Incus", err)
	}
	if err := c.observe(server); err != nil {
		return nil, err
	}
	return server.UseProject(c.cfg.Project), nil
}

// wait waits for the end of op. Its requests end with the context that the
// server was connected with. It fails closed: only an operation that says of
// itself that it succeeded did.
func wait(what string, op incus.Operation, err error) error {
	if err != nil {
		return classify(what, err)
	}
	if err := op.WaitContext(context.Background()); err != nil {
		return classify(what, err)
	}
	if status := op.Get().StatusCode; status != api.Success {
		return fmt.Errorf("%s: the operation ended as %q", what, status)
	}
	return nil
}

// Ping reports whether Incus answers.
func (c *Client) Ping(ctx context.Context) error {
	server, err := c.connect(ctx)
	if err != nil {
		return err
	}
	if _, _, err := server.GetServer(); err != nil {
		return classify("ask Incus for its state", err)
	}
	return nil
}

const instanceSuffix = "-container"

// InstanceName is the name of the instance of a user.
func InstanceName(username string) string { return username + instanceSuffix }
