package incusx

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/lxc/incus/v6/shared/api"
)

// Snapshot is the disk of a container as it was at a moment.
type Snapshot struct {
	Name      string
	CreatedAt time.Time
	// Size is what it alone takes, in bytes; nil where the driver can not tell.
	Size *uint64
	// Current says that nothing was written since, so that a restore throws nothing
	// away. It fails closed: what is not known to be current is not.
	Current bool
}

// Snapshots returns the snapshots of a user's container, the oldest first. Only
// those that carry the marker; an instance of ours gives it to each that is made
// of it.
func (c *Client) Snapshots(ctx context.Context, username string) ([]Snapshot, error) {
	server, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	_, instance, _, err := get(server, username)
	if err != nil {
		return nil, err
	}
	found, err := server.GetInstanceSnapshots(instance.Name)
	if err != nil {
		return nil, classify("list the snapshots of "+username, err)
	}
	var snapshots []Snapshot
	for i := range found {
		if found[i].Config[keyUsername] == username {
			snapshots = append(snapshots, fromSnapshot(instance, &found[i]))
		}
	}
	slices.SortFunc(snapshots, func(a, b Snapshot) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.Name, b.Name))
	})
	return snapshots, nil
}

func fromSnapshot(instance *api.Instance, found *api.InstanceSnapshot) Snapshot {
	snapshot := Snapshot{Name: found.Name, CreatedAt: found.CreatedAt, Size: known(found.Size)}
	if instance.StatusCode != api.Stopped {
		return snapshot
	}
	// Stopped when it was made, and not started or restored to another one since.
	_, at, restored := restoredOf(instance.Config)
	if restored == found.Name && at.After(found.CreatedAt) {
		snapshot.Current = instance.LastUsedAt.Before(at)
		return snapshot
	}
	snapshot.Current = found.Config["volatile.last_state.power"] == "STOPPED" &&
		instance.LastUsedAt.Before(found.CreatedAt) && at.Before(found.CreatedAt)
	return snapshot
}

// CreateSnapshot takes a snapshot of a container, running or not; one that runs is
// frozen meanwhile. ErrExists where it has one of that name.
func (c *Client) CreateSnapshot(ctx context.Context, username, name string) error {
	server, err := c.connect(ctx)
	if err != nil {
		return err
	}
	_, instance, _, err := get(server, username)
	if err != nil {
		return err
	}
	op, err := server.CreateInstanceSnapshot(instance.Name, api.InstanceSnapshotsPost{Name: name})
	return wait("take a snapshot of the container of "+username, op, err)
}

// RemoveSnapshot removes a snapshot that the caller has seen in Snapshots.
// ErrNotFound where there is none.
func (c *Client) RemoveSnapshot(ctx context.Context, username, name string) error {
	server, err := c.connect(ctx)
	if err != nil {
		return err
	}
	op, err := server.DeleteInstanceSnapshot(InstanceName(username), name)
	return wait("remove the snapshot "+name+" of "+username, op, err)
}
