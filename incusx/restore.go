package incusx

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"
)

// Incus restores the config together with the disk, and so keys that were removed, old limits and labels, and the address. Only the disk is to go back. So
// the config is put aside before, in Incus, and back after; a daemon that dies in
// between finds it there. It is a profile that nothing uses.
//
// Whether it has to be put back shows in keyRestored, which is on the instance
// before its config is put aside, and then says when: where both say the same, the
// config of the instance is the one to keep. When all is done it says as well which
// snapshot the disk came from.

const (
	asidePrefix = "containarium-restore-"
	keyAside    = keyPrefix + "aside"
)

// aside is what is put aside.
type aside struct {
	Username string
	// UUID tells an instance from a later one of the same name.
	UUID string
	// Snapshot is what is restored, and Stamp when that was asked for.
	Snapshot, Stamp string
	// Through is the cluster member whose daemon restores it; empty where Incus is no
	// cluster.
	Through string
	// Running says that it ran.
	Running bool
	Put     api.InstancePut
}

func asideName(project, instance string) string { return asidePrefix + project + "-" + instance }

// restoredOf reads keyRestored: when a restore was last tried, and the snapshot
// that the disk came from; empty where that failed.
func restoredOf(config map[string]string) (stamp string, at time.Time, snapshot string) {
	stamp, snapshot, _ = strings.Cut(config[keyRestored], " ")
	at, _ = time.Parse(time.RFC3339Nano, stamp)
	return stamp, at, snapshot
}

// Restore brings the disk of a container back to a snapshot that the caller has
// seen in Snapshots. One that runs is stopped at once for it, and runs again after
// it. All else stays as it is, with one exception: a size of the disk that was
// larger or unlimited then, and holds, comes back, since what is on the disk may
// need it; resized says so. On an error FinishRestore does what is left to do.
// ErrLaterOnes where the storage keeps no later snapshots over a restore.
func (c *Client) Restore(ctx context.Context, username, snapshot string) (_ Container, resized bool, err error) {
	server, err := c.connect(ctx)
	if err != nil {
		return Container{}, false, err
	}
	if _, _, err := c.FinishRestore(ctx, username); err != nil { // of one that was cut off
		return Container{}, false, err
	}
	_, instance, _, err := get(server, username)
	if err != nil {
		return Container{}, false, err
	}
	running := instance.StatusCode != api.Stopped
	// From here on a daemon that dies leaves the rest to the next one.
	a, err := c.putAside(ctx, server, username, snapshot, running)
	if err != nil {
		return Container{}, false, err
	}
	failed := c.restoreDisk(ctx, server, instance, snapshot)
	container, resized, err := c.finish(ctx, server, a)
	if failed != nil {
		return Container{}, false, failed
	}
	return container, resized, err
}

// busyTimeout bounds the tries to restore a disk that is still mounted, as it is
// for a moment after most of what is done to a container.
const busyTimeout = 30 * time.Second

func (c *Client) restoreDisk(ctx context.Context, server incus.InstanceServer, instance *api.Instance, snapshot string) error {
	what := "restore " + instance.Name
	if instance.StatusCode != api.Stopped {
		op, err := server.UpdateInstanceState(instance.Name, api.InstanceStatePut{Action: "stop", Force: true, Timeout: -1}, "")
		if err := wait(what, op, err); err != nil && !errors.Is(err, ErrStopped) {
			return err
		}
	}
	busy, cancel := context.WithTimeout(ctx, busyTimeout)
	defer cancel()
	var last error
	_ = poll(busy, func() (bool, error) {
		op, err := server.UpdateInstance(instance.Name, api.InstancePut{Restore: snapshot}, "")
		last = wait(what, op, err)
		return !errors.Is(last, ErrBusy), nil
	})
	return last
}

// putAside writes the config of a container where FinishRestore finds it.
func (c *Client) putAside(ctx context.Context, server incus.InstanceServer, username, snapshot string, running bool) (*aside, error) {
	stamp := time.Now().UTC().Format(time.RFC3339Nano)
	if _, err := c.set(ctx, username, map[string]string{keyRestored: stamp}); err != nil {
		return nil, err
	}
	_, instance, _, err := get(server, username)
	if err != nil {
		return nil, err
	}
	a := &aside{
		Username: username, UUID: instance.Config["volatile.uuid"], Snapshot: snapshot, Stamp: stamp, Running: running, Put: instance.Writable(),
	}
	if a.Through, err = c.member(server); err != nil {
		return nil, classify("look whether Incus is a cluster", err)
	}
	data, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	err = server.CreateProfile(api.ProfilesPost{Name: asideName(c.cfg.Project, instance.Name), ProfilePut: api.ProfilePut{
		Description: "the config of " + instance.Name + " while Containarium restores its disk",
		Config:      map[string]string{keyAside: string(data)},
	}})
	return a, classify("put the config of "+instance.Name+" aside", err)
}

// FinishRestore does what is left of a restore of the user's container: its config
// is put back, the keys are written into the guest, and it is started where it
// ran. Where there was none, or it had not begun, the container stays as it is.
// ErrNotFound where there is no container.
func (c *Client) FinishRestore(ctx context.Context, username string) (_ Container, resized bool, err error) {
	server, err := c.connect(ctx)
	if err != nil {
		return Container{}, false, err
	}
	name := asideName(c.cfg.Project, InstanceName(username))
	profile, _, err := server.GetProfile(name)
	if err = classify("look for an unfinished restore of "+username, err); errors.Is(err, ErrNotFound) {
		container, err := c.Get(ctx, username)
		return container, false, err
	}
	if err != nil {
		return Container{}, false, err
	}
	var a aside
	if err := json.Unmarshal([]byte(profile.Config[keyAside]), &a); err != nil {
		return Container{}, false, fmt.Errorf("read the profile %s: %w", name, err)
	}
	return c.finish(ctx, server, &a)
}

func (c *Client) finish(ctx context.Context, server incus.InstanceServer, a *aside) (_ Container, resized bool, err error) {
	if resized, err = c.putBack(ctx, a); err != nil {
		return Container{}, false, err
	}
	name := asideName(c.cfg.Project, InstanceName(a.Username))
	if err := classify("remove the profile "+name, server.DeleteProfile(name)); err != nil && !errors.Is(err, ErrNotFound) {
		return Container{}, false, err
	}
	container, err := c.Get(ctx, a.Username)
	return container, resized, err
}

// putBack gives an instance what was put aside, and starts it where it ran. It
// waits for a restore that Incus is still at. An instance that was made since under
// the same name stays as it is.
func (c *Client) putBack(ctx context.Context, a *aside) (resized bool, err error) {
	ours, restored := false, false
	var container Container
	var last error
	err = poll(ctx, func() (bool, error) {
		// Written also where there is nothing to put back: while it restores, Incus
		// refuses that as busy, and what was read before is found to be out of date.
		container, last = c.update(ctx, a.Username, func(_ incus.InstanceServer, instance *api.Instance) error {
			ours = instance.Config["volatile.uuid"] == a.UUID
			stamp, _, _ := restoredOf(instance.Config)
			if restored = ours && stamp != a.Stamp; restored {
				resized = a.merge(instance)
			}
			return nil
		})
		return !errors.Is(last, ErrBusy), nil
	})
	if err = cmp.Or(last, err); err != nil {
		return false, err
	}
	if restored {
		c.pushStopped(ctx, container)
	}
	if ours && a.Running {
		if err := c.Start(ctx, a.Username); err != nil && !errors.Is(err, ErrRunning) {
			return false, err
		}
	}
	return resized, nil
}

// merge gives an instance the config that it had before its disk was restored.
// What Incus notes of the disk itself stays. A root disk that is larger now than
// the config says stays so: no storage shrinks what may be full.
func (a *aside) merge(instance *api.Instance) (resized bool) {
	config := maps.Clone(a.Put.Config)
	maps.DeleteFunc(config, func(key, _ string) bool { return strings.HasPrefix(key, "volatile.") })
	for key, value := range instance.Config {
		if strings.HasPrefix(key, "volatile.") {
			config[key] = value
		}
	}
	delete(config, keySynced) // of the keys in the guest nothing is known
	config[keyRestored] = a.Stamp + " " + a.Snapshot
	devices := maps.Clone(a.Put.Devices)
	name, root := rootDisk(instance.ExpandedDevices)
	if old := devices[name]; root != nil && old != nil && config[keyDisk] == "true" && larger(root["size"], old["size"]) {
		devices[name] = maps.Clone(old)
		setOrDelete(devices[name], "size", root["size"])
		if root["size"] == "" {
			delete(config, keyDisk)
		}
		resized = true
	}
	architecture := instance.Architecture
	instance.InstancePut = a.Put
	instance.Architecture, instance.Config, instance.Devices, instance.Restore = architecture, config, devices, ""
	return resized
}

// larger compares sizes of disks; an empty one is without limit.
func larger(a, b string) bool {
	if a == "" || b == "" {
		return a == "" && b != ""
	}
	x, errX := ParseSize(a, 0)
	y, errY := ParseSize(b, 0)
	return errX == nil && errY == nil && x > y
}

// pushStopped writes the keys of a container whose disk was just restored, so that
// one that was removed since the snapshot does not open it while it starts. What
// fails is done by SyncKeys once it runs.
func (c *Client) pushStopped(ctx context.Context, container Container) {
	ctx, cancel := context.WithTimeout(ctx, accountTimeout)
	defer cancel()
	if c.pushKeys(ctx, container) == nil {
		_, _ = c.set(ctx, container.Username, map[string]string{keySynced: keysDigest(container.SSHKeys)})
	}
}

// Restoring reports whether a restore of the user's container is under way or was cut
// off: then its config may be that of the snapshot.
func (c *Client) Restoring(ctx context.Context, username string) (bool, error) {
	server, err := c.connect(ctx)
	if err != nil {
		return false, err
	}
	_, _, err = server.GetProfile(asideName(c.cfg.Project, InstanceName(username)))
	if err = classify("look for an unfinished restore of "+username, err); errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// UnfinishedRestores returns the users for whom a restore was cut off; on a cluster
// those of this member's daemon, and old ones. What was put aside of an instance that
// is gone is removed.
func (c *Client) UnfinishedRestores(ctx context.Context) ([]string, error) {
	server, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	const what = "look for unfinished restores"
	profiles, err := server.GetProfiles()
	if err != nil {
		return nil, classify(what, err)
	}
	local, err := c.member(server)
	if err != nil {
		return nil, classify(what, err)
	}
	var usernames []string
	for i := range profiles {
		var a aside
		if json.Unmarshal([]byte(profiles[i].Config[keyAside]), &a) != nil || profiles[i].Name != asideName(c.cfg.Project, InstanceName(a.Username)) {
			continue
		}
		if asked, err := time.Parse(time.RFC3339Nano, a.Stamp); err == nil && a.Through != local && time.Since(asked) < OthersFor {
			continue
		}
		_, _, _, err := get(server, a.Username)
		if errors.Is(err, ErrNotFound) {
			err = classify(what, server.DeleteProfile(profiles[i].Name))
		} else if err == nil {
			usernames = append(usernames, a.Username)
		}
		if err != nil {
			return nil, err
		}
	}
	return usernames, nil
}
