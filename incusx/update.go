package incusx

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"
)

// Change is what is to be changed of a container, checked by the caller. What is
// nil stays; an empty limit takes the limit away.
type Change struct {
	CPU, Memory, Disk *string
	Labels            map[string]string
	RemoveLabels      []string
	AutoStart         *bool
}

// Update changes a container: all of it or, on an error, nothing. It returns what
// takes effect at the next start only: "disk" where the storage can not resize
// what is mounted; all else holds at once. ErrInUse where the disk or the memory
// would be less than what is in use.
func (c *Client) Update(ctx context.Context, username string, change Change) (_ Container, deferred []string, err error) {
	container, err := c.update(ctx, username, func(server incus.InstanceServer, instance *api.Instance) error {
		if err := change.config(instance.Config); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		if change.Disk == nil {
			return nil
		}
		return resizeRoot(ctx, server, instance, *change.Disk)
	})
	if errors.Is(err, ErrInUse) && change.Memory != nil && change.Disk == nil {
		err = fmt.Errorf("a memory limit of %s %w in the container of %s, which gives back no more while it runs", *change.Memory, ErrInUse, username)
	}
	if err != nil || (change.Disk == nil && change.CPU == nil) {
		return container, nil, err
	}
	server, err := c.connect(ctx)
	if err != nil {
		return Container{}, nil, err
	}
	container, instance, _, err := get(server, username)
	if err != nil {
		return Container{}, nil, err
	}
	if change.CPU != nil && instance.StatusCode == api.Running {
		if err := c.shareCores(server, instance); err != nil {
			return Container{}, nil, err
		}
	}
	if name, _ := rootDisk(instance.ExpandedDevices); change.Disk != nil && instance.Config["volatile."+name+".apply_quota"] != "" {
		deferred = []string{"disk"}
	}
	return container, deferred, nil
}

// shareCores has Incus share the cores out anew. It does so by itself at each
// change of limits.cpu, but as of 6.0 before that is written, by what was there
// before. So another value that means the same is written, and the first again.
func (c *Client) shareCores(server incus.InstanceServer, instance *api.Instance) error {
	limit := instance.Config["limits.cpu"]
	same := "0" + limit
	if limit == "" {
		same = strconv.Itoa(maxCores) // all of them
	}
	for _, value := range []string{same, limit} {
		if _, err := c.patch(server, instance, map[string]string{"limits.cpu": value}); err != nil {
			return err
		}
	}
	return nil
}

// config makes the change of everything but the disk.
func (change *Change) config(config map[string]string) error {
	if change.CPU != nil {
		if err := setCPU(config, *change.CPU); err != nil {
			return err
		}
	}
	if change.Memory != nil {
		setOrDelete(config, "limits.memory", *change.Memory)
	}
	for _, key := range change.RemoveLabels {
		delete(config, keyLabel+key)
	}
	for key, value := range change.Labels {
		config[keyLabel+key] = value
	}
	if change.AutoStart != nil {
		config["boot.autostart"] = strconv.FormatBool(*change.AutoStart)
	}
	return nil
}

// setCPU puts a CPU limit in the place of another, of which nothing stays: a quota
// that was left behind a count would go on to hold.
func setCPU(config map[string]string, limit string) error {
	var cpu CPU
	if limit != "" {
		var err error
		if cpu, err = ParseCPU(limit); err != nil {
			return err
		}
	}
	setOrDelete(config, keyCPU, limit)
	setOrDelete(config, "limits.cpu", cpu.Limit)
	setOrDelete(config, "limits.cpu.allowance", cpu.Allowance)
	return nil
}

func setOrDelete(config map[string]string, key, value string) {
	if value == "" {
		delete(config, key)
	} else {
		config[key] = value
	}
}

// resizeRoot gives an instance's root disk another size, or none.
func resizeRoot(ctx context.Context, server incus.InstanceServer, instance *api.Instance, size string) error {
	name, root := rootDisk(instance.ExpandedDevices)
	if root == nil {
		return fmt.Errorf("%s has no root disk", instance.Name)
	}
	pool, _, err := server.GetStoragePool(root["pool"])
	if err != nil {
		return err
	}
	if pool.Driver == "btrfs" && size != "" {
		if err := checkShrink(ctx, server, instance, root["size"], size); err != nil {
			return err
		}
	}
	root = maps.Clone(root)
	setOrDelete(root, "size", size)
	instance.Devices[name] = root
	enforced := ""
	if size != "" {
		enforced = strconv.FormatBool(enforces(pool.Driver))
	}
	setOrDelete(instance.Config, keyDisk, enforced)
	return nil
}

// enforces reports whether a storage driver holds a disk to its size. dir takes
// one and then ignores it, short of project quotas, of which Incus says nothing.
func enforces(driver string) bool { return driver != "dir" }

// shrinkMargin is what the quota counts beside what du does, in bytes, besides a
// tenth: the trees of the file system, and what is written meanwhile.
const shrinkMargin = 64 << 20

// checkShrink refuses a size below what is in use. On btrfs the quota counts what
// is shared with the image and with snapshots, which Incus does not report, and
// one that was set below that can not be changed any more: Incus is not asked to
// try. What can not be measured is refused.
func checkShrink(ctx context.Context, server incus.InstanceServer, instance *api.Instance, from, to string) error {
	size, err := ParseSize(to, 0)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if old, err := ParseSize(from, 0); err == nil && old <= size {
		return nil
	}
	if instance.StatusCode != api.Running {
		return fmt.Errorf("a disk can be made smaller only while its container runs, since what is in it is not known before: the instance %w", ErrStopped)
	}
	used, err := usedInside(ctx, server, instance.Name)
	if err != nil {
		return err
	}
	if need := used + used/10 + shrinkMargin; size < need {
		return fmt.Errorf("a disk of %s %w: %d MiB, for which it takes at least %d MiB", to, ErrInUse, used>>20, need>>20+1)
	}
	return nil
}

// usedInside asks a running guest what its root file system holds, in bytes. Its
// root may lie, to their own harm alone. du exits 1 where a file went away
// meanwhile.
func usedInside(ctx context.Context, server incus.InstanceServer, instance string) (int64, error) {
	result, err := exec(ctx, server, instance, []string{"du", "-sxk", "/"}, "")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(result.stdout)
	if result.code > 1 || len(fields) == 0 {
		return 0, fmt.Errorf("du in %s exited with %d: %s", instance, result.code, result.stderr)
	}
	kib, err := strconv.ParseInt(fields[0], 10, 53)
	if err != nil {
		return 0, fmt.Errorf("du in %s: %w", instance, err)
	}
	return kib << 10, nil
}
