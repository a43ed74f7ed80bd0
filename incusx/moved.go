package incusx

import "context"

// Address returns the IPv4 address that a user's running guest says it has now,
// that of eth0 before any other; "" while it has none. It costs Incus some 12 ms.
func (c *Client) Address(ctx context.Context, username string) (string, error) {
	server, err := c.connect(ctx)
	if err != nil {
		return "", err
	}
	state, _, err := server.GetInstanceState(InstanceName(username))
	if err != nil {
		return "", classify("look up the address of "+username+"'s container", err)
	}
	return addressOf(state), nil
}

// SetAddress notes a container's address on its instance.
func (c *Client) SetAddress(ctx context.Context, username, address string) (Container, error) {
	return c.set(ctx, username, map[string]string{keyAddress: address})
}
