package incusx

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lxc/incus/v6/shared/api"
)

// diagnoseTimeout bounds the look that finds out why no address came, after the
// time for the wait itself is over.
const diagnoseTimeout = 3 * time.Second

// WaitAddress waits until the guest has an IPv4 address: the one that was chosen
// for it or, where that is empty or the guest came by another one, that of eth0
// before any other interface. When ctx ends first the error says which it was:
// no NIC, no DHCP client, or no lease.
func (c *Client) WaitAddress(ctx context.Context, username, chosen string) (string, error) {
	return c.waitAddress(ctx, InstanceName(username), chosen)
}

func (c *Client) waitAddress(ctx context.Context, instance, chosen string) (string, error) {
	server, err := c.connect(ctx)
	if err != nil {
		return "", err
	}
	what := "wait for the address of " + instance
	address, looked := "", time.Now()
	look := func() (bool, error) {
		state, _, err := server.GetInstanceState(instance)
		if err != nil {
			return false, classify(what, err)
		}
		if state.StatusCode == api.Stopped {
			return false, &ImageError{"the container stopped while it booted"}
		}
		address, looked = addressOf(state), time.Now()
		return address != "", nil
	}
	if chosen == "" {
		err = poll(ctx, look)
	} else {
		// Incus takes a process in the guest's network to look, which is felt while
		// the guest boots; whether its sshd takes a connection costs nothing.
		err = pollEvery(ctx, knockPause, func() (bool, error) {
			if c.answers(ctx, chosen) {
				address = chosen
				return true, nil
			}
			if time.Since(looked) < lookPause {
				return false, nil
			}
			return look()
		})
	}
	if err != nil && ctx.Err() != nil {
		return "", fmt.Errorf("%s: %s: %w", what, c.whyNoAddress(ctx, instance), ctx.Err())
	}
	return address, err
}

const (
	// knockPause is between two tries to connect to a guest that boots, lookPause
	// between two looks by Incus meanwhile, which see what goes wrong.
	knockPause = 15 * time.Millisecond
	lookPause  = 2 * time.Second
	// knockTimeout bounds one try: a guest on this host answers at once, and one
	// that had no address yet when it was asked never does.
	knockTimeout = 100 * time.Millisecond
)

// answers reports whether something at the address takes a connection to sshd's
// port.
func (c *Client) answers(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, knockTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(address, strconv.Itoa(c.cfg.SSHPort)))
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// dhcpClients are the names of the processes that ask for an address, as Linux
// cuts them, at 15 bytes.
var dhcpClients = []string{"systemd-network", "NetworkManager", "dhclient", "dhcpcd", "udhcpc", "connmand", "wickedd-dhcp4"}

// whyNoAddress looks into the guest. What an interface has sent tells nothing:
// the kernel of a guest without a DHCP client sends for IPv6 all the same.
func (c *Client) whyNoAddress(ctx context.Context, instance string) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), diagnoseTimeout)
	defer cancel()
	const unknown = "and Incus does not say why"
	server, err := c.connect(ctx)
	if err != nil {
		return unknown
	}
	state, _, err := server.GetInstanceState(instance)
	if err != nil {
		return unknown
	}
	if _, loopback := state.Network["lo"]; len(state.Network) == 0 || loopback && len(state.Network) == 1 {
		return "the container has no NIC: look at its profile"
	}
	result, err := exec(ctx, server, instance, []string{"/bin/sh", "-c", "cat /proc/[0-9]*/comm"}, "")
	if err != nil {
		return unknown
	}
	for name := range strings.Lines(result.stdout) {
		if slices.Contains(dhcpClients, strings.TrimSpace(name)) {
			return "a DHCP client runs in the guest, and got no lease: look at DHCP on its network"
		}
	}
	return "nothing in the guest asks for an address: the image has no DHCP client that runs"
}

// addressOf returns the IPv4 address of eth0, else that of the first other
// interface by name.
func addressOf(state *api.InstanceState) string {
	best, address := "", ""
	for name, nic := range state.Network {
		if name == "lo" || (best != "" && name > best && name != "eth0") || best == "eth0" {
			continue
		}
		for _, a := range nic.Addresses {
			if a.Family == "inet" && a.Scope == "global" {
				best, address = name, a.Address
				break
			}
		}
	}
	return address
}
