package cache

import (
	"context"
	"time"

	"github.com/footprintai/containarium/incusx"
)

// No event tells that a member of a cluster was lost, or is back, and those of the
// first seconds after it is back may be lost as well. So while Incus is a cluster its
// members are looked at every so often, and everything is read anew at each look as
// long as one is away or a container unreachable, and for a while after that.
const (
	// lookEvery adds to the time that Incus takes to notice, 20 seconds by default.
	lookEvery = 5 * time.Second
	// calmAfter is how long members are to be well before events are trusted again: the
	// members of a cluster connect to each other's events at a heartbeat, of which there
	// is one each 10 seconds.
	calmAfter = 30 * time.Second
)

// cluster is what the looks have seen. Only Run uses it.
type cluster struct {
	is     bool
	uneasy time.Time // the last look at which not all was well
}

// look looks at the members of the cluster and reports whether everything is to be
// read anew. A look that fails says nothing: whether Incus is there, the reads tell.
func (c *Cache[V]) look(ctx context.Context) bool {
	members, err := c.client.Members(ctx)
	if err != nil {
		return false
	}
	c.cluster.is = len(members) > 0
	uneasy := c.cluster.is && c.store.any(func(container *incusx.Container) bool { return container.State == incusx.StateUnreachable })
	for i := range members {
		uneasy = uneasy || members[i].Away()
	}
	if uneasy {
		c.cluster.uneasy = time.Now()
	}
	return c.cluster.is && time.Since(c.cluster.uneasy) < calmAfter
}

// known adds to a container that is unreachable what was known of it last.
func (c *Cache[V]) known(container incusx.Container) incusx.Container {
	if container.State != incusx.StateUnreachable {
		return container
	}
	if old := c.store.get(container.Username); old != nil {
		location := container.Location
		container = old.Container
		container.State, container.Location = incusx.StateUnreachable, location
	}
	return container
}

// unreachable has a container that was not to be read show as unreachable, where it is
// known at all; one that is not is found by the next read of all.
func (c *Cache[V]) unreachable(number uint64, username string) {
	if old := c.store.get(username); old != nil && old.Container.State != incusx.StateUnreachable {
		container := old.Container
		container.State = incusx.StateUnreachable
		c.store.put(number, username, c.entry(container))
	}
}
