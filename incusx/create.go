package incusx

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"
)

// Spec is a container to be made. Its fields are checked by the caller.
type Spec struct {
	Username          string
	Limits            Limits
	SSHKeys           []string
	Labels            map[string]string
	Image             string
	Docker, AutoStart bool
	// Target is the cluster member to make it on; empty: Incus chooses.
	Target string
}

// Init makes the instance, stopped, and marks it as being created. It returns the
// address that the guest will have, or "" where that is for DHCP to choose.
// ErrExists where there is an instance of that name.
func (c *Client) Init(ctx context.Context, spec Spec, image Image, report Progress) (address string, err error) {
	server, err := c.connect(ctx)
	if err != nil {
		return "", err
	}
	what := "make the instance " + InstanceName(spec.Username)
	config, err := instanceConfig(spec)
	if err != nil {
		return "", fmt.Errorf("%s: %w: %w", what, ErrInvalid, err)
	}
	switch through, err := c.member(server); {
	case err != nil:
		return "", classify(what, err)
	case through != "":
		config[keyThrough] = through
	}
	profile, _, err := server.GetProfile(c.cfg.Profile)
	if err != nil {
		return "", classify(what, err)
	}
	devices := map[string]map[string]string{}
	name, nic, release, err := c.chooseAddress(server, profile)
	if err != nil {
		return "", classify(what, err)
	}
	defer release()
	if nic != nil {
		devices[name] = nic
		address = nic["ipv4.address"]
	}
	if spec.Limits.Disk != "" {
		enforced, err := c.sizeRoot(server, profile, devices, spec.Limits.Disk)
		if err != nil {
			return "", classify(what, err)
		}
		config[keyDisk] = strconv.FormatBool(enforced)
	}
	op, err := c.createOn(server, spec.Target, api.InstancesPost{
		Name:   InstanceName(spec.Username),
		Type:   api.InstanceTypeContainer,
		Source: image.source,
		InstancePut: api.InstancePut{
			Profiles: []string{c.cfg.Profile},
			Config:   config,
			Devices:  devices,
		},
	})
	return address, waitProgress(server, what, op, err, report)
}

func instanceConfig(spec Spec) (map[string]string, error) {
	config := map[string]string{
		keyUsername:      spec.Username,
		keyPhase:         phaseCreating,
		keyKeys:          strings.Join(spec.SSHKeys, "\n"),
		keyImage:         spec.Image,
		"boot.autostart": strconv.FormatBool(spec.AutoStart),
	}
	for key, value := range spec.Labels {
		config[keyLabel+key] = value
	}
	if spec.Limits.CPU != "" {
		cpu, err := ParseCPU(spec.Limits.CPU)
		if err != nil {
			return nil, err
		}
		config[keyCPU] = spec.Limits.CPU
		config["limits.cpu"] = cpu.Limit
		if cpu.Allowance != "" {
			config["limits.cpu.allowance"] = cpu.Allowance
		}
	}
	if spec.Limits.Memory != "" {
		config["limits.memory"] = spec.Limits.Memory
	}
	if spec.Docker {
		config[keyDocker] = "missing"
		maps.Copy(config, dockerConfig)
	}
	return config, nil
}

// dockerConfig is what a container runtime needs inside, and never
// security.privileged, which would make root in the guest root on the host.
var dockerConfig = map[string]string{
	"security.nesting":                     "true",
	"security.syscalls.intercept.mknod":    "true",
	"security.syscalls.intercept.setxattr": "true",
}

// sizeRoot adds the profile's root disk with a size to devices, and reports
// whether the pool's driver enforces it.
func (c *Client) sizeRoot(server incus.InstanceServer, profile *api.Profile, devices map[string]map[string]string, size string) (bool, error) {
	name, root := rootDisk(profile.Devices)
	if root == nil {
		return false, fmt.Errorf("the profile %q has no root disk", c.cfg.Profile)
	}
	pool, _, err := server.GetStoragePool(root["pool"])
	if err != nil {
		return false, err
	}
	root = maps.Clone(root)
	root["size"] = size
	devices[name] = root
	return enforces(pool.Driver), nil
}

// accountTimeout bounds the exec that makes an account: it takes a fraction of a
// second, also where a machine is busy, and as long as cloud-init where an image
// has that.
const accountTimeout = 2 * time.Minute

// EnsureAccount makes the owner's account with sudo and keys in the running
// guest, by one exec, or brings it up to date. It reports whether the guest has a
// Docker engine. *ImageError where the image lacks sshd or sudo.
func (c *Client) EnsureAccount(ctx context.Context, username string, keys []string) (docker bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, accountTimeout)
	defer cancel()
	server, err := c.connect(ctx)
	if err != nil {
		return false, err
	}
	return ensureAccount(ctx, server, username, keys)
}

// Result is what the steps of a create found out.
type Result struct {
	Address string
	// HostKey is empty where nobody waited for sshd.
	HostKey string
	// DockerInstalled counts only where Docker was asked for.
	DockerInstalled bool
}

// Finish notes the result and marks the container as ready. An address that was
// not chosen when it was made is pinned now.
func (c *Client) Finish(ctx context.Context, username string, result Result) (Container, error) {
	server, err := c.connect(ctx)
	if err != nil {
		return Container{}, err
	}
	container, instance, _, err := get(server, username)
	if err != nil {
		return Container{}, err
	}
	config := map[string]string{
		keyPhase:   phaseReady,
		keyAddress: result.Address,
		keySynced:  keysDigest(container.SSHKeys),
	}
	if result.HostKey != "" {
		config[keyHostKey] = result.HostKey
	}
	if container.Docker && result.DockerInstalled {
		config[keyDocker] = "installed"
	}
	name, nic := firstNIC(instance.ExpandedDevices)
	if nic != nil && nic["ipv4.address"] == result.Address && instance.Devices[name] != nil {
		return c.patch(server, instance, config)
	}
	return c.update(ctx, username, func(server incus.InstanceServer, instance *api.Instance) error {
		maps.Copy(instance.Config, config)
		return pinAddress(server, instance, result.Address)
	})
}

// patch sets config keys on an instance as it was read and no others, in one
// short request: whatever else was written since stays.
func (c *Client) patch(server incus.InstanceServer, instance *api.Instance, config map[string]string) (Container, error) {
	path := "/1.0/instances/" + url.PathEscape(instance.Name) + "?project=" + url.QueryEscape(c.cfg.Project)
	if _, _, err := server.RawQuery(http.MethodPatch, path, map[string]any{"config": config}, ""); err != nil {
		return Container{}, classify("update "+instance.Name, err)
	}
	maps.Copy(instance.Config, config)
	container, _ := fromInstance(instance)
	return container, nil
}

// pinAddress reserves the address that DHCP gave for good, where Incus runs the
// DHCP server; elsewhere it stays with whoever gave it.
func pinAddress(server incus.InstanceServer, instance *api.Instance, address string) error {
	name, nic := firstNIC(instance.ExpandedDevices)
	if nic == nil || nic["network"] == "" || nic["ipv4.address"] == address {
		return nil
	}
	network, _, err := server.GetNetwork(nic["network"])
	if err != nil {
		return err
	}
	if !network.Managed || (network.Type != "bridge" && network.Type != "ovn") {
		return nil
	}
	instance.Devices[name] = withAddress(nic, address)
	return nil
}

func withAddress(nic map[string]string, address string) map[string]string {
	nic = maps.Clone(nic)
	nic["ipv4.address"] = address
	return nic
}

// updateTries is how often an update is made anew when somebody else wrote in
// between: Incus itself does so at each start and stop.
const updateTries = 5

// update reads a container's instance, lets change edit it and writes it back.
// Incus refuses that if somebody else wrote in between; then it is done anew, so
// that neither write is lost.
func (c *Client) update(ctx context.Context, username string, change func(incus.InstanceServer, *api.Instance) error) (Container, error) {
	server, err := c.connect(ctx)
	if err != nil {
		return Container{}, err
	}
	what := "update the container of " + username
	for try := 1; ; try++ {
		_, instance, etag, err := get(server, username)
		if err != nil {
			return Container{}, err
		}
		if err := change(server, instance); err != nil {
			return Container{}, classify(what, err)
		}
		op, err := server.UpdateInstance(instance.Name, instance.Writable(), etag)
		if api.StatusErrorCheck(err, http.StatusPreconditionFailed) && try < updateTries {
			continue
		}
		if err := wait(what, op, err); err != nil {
			return Container{}, err
		}
		container, _ := fromInstance(instance)
		return container, nil
	}
}
