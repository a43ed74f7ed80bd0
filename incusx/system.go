package incusx

import (
	"context"

	incus "github.com/lxc/incus/v6/client"
)

// System describes the host and the Incus on it.
type System struct {
	Hostname, IncusVersion, KernelVersion string
	// CPUs is the number of logical cores.
	CPUs                       int
	MemoryTotal, MemoryUsed    uint64
	StoragePool, StorageDriver string
	StorageTotal, StorageUsed  *uint64
	Network, Subnet            string
}

// System returns what the host has. It costs a handful of calls.
func (c *Client) System(ctx context.Context) (System, error) {
	server, err := c.connect(ctx)
	if err != nil {
		return System{}, err
	}
	const what = "read the state of the host"
	info, _, err := server.GetServer()
	if err != nil {
		return System{}, classify(what, err)
	}
	resources, err := server.GetServerResources()
	if err != nil {
		return System{}, classify(what, err)
	}
	system := System{
		Hostname:      info.Environment.ServerName,
		IncusVersion:  info.Environment.ServerVersion,
		KernelVersion: info.Environment.KernelVersion,
		CPUs:          int(min(resources.CPU.Total, maxCores)),
		MemoryTotal:   resources.Memory.Total,
		MemoryUsed:    resources.Memory.Used,
	}
	if err := c.addSite(server, &system); err != nil {
		return System{}, classify(what, err)
	}
	return system, nil
}

// addSite adds the pool and the network that the profile gives to containers.
func (c *Client) addSite(server incus.InstanceServer, system *System) error {
	profile, _, err := server.GetProfile(c.cfg.Profile)
	if err != nil {
		return err
	}
	if _, root := rootDisk(profile.Devices); root != nil {
		system.StoragePool = root["pool"]
		pool, _, err := server.GetStoragePool(root["pool"])
		if err != nil {
			return err
		}
		system.StorageDriver = pool.Driver
		if space, err := server.GetStoragePoolResources(root["pool"]); err == nil { // not every driver can tell
			system.StorageTotal, system.StorageUsed = &space.Space.Total, &space.Space.Used
		}
	}
	if _, nic := firstNIC(profile.Devices); nic != nil {
		system.Network = nicNetwork(nic)
		network, _, err := server.GetNetwork(system.Network)
		if err != nil {
			return err
		}
		system.Subnet = network.Config["ipv4.address"]
	}
	return nil
}
