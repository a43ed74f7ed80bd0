package incusx

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"

	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"
)

// The config keys in which an instance carries what Containarium knows of it.
// They are its only state: there is no other place to lose or to migrate.
const (
	keyPrefix   = "user.containarium."
	keyUsername = keyPrefix + "username" // the marker: an instance without it is not ours
	keyPhase    = keyPrefix + "phase"
	keyKeys     = keyPrefix + "ssh-keys"     // one line of authorized_keys each
	keySynced   = keyPrefix + "ssh-keys-in"  // digest of the keys that the guest has
	keyHostKey  = keyPrefix + "ssh-host-key" // type and base64
	keyImage    = keyPrefix + "image"        // as asked for
	keyDocker   = keyPrefix + "docker"       // "installed" or "missing"; absent: off
	keyCPU      = keyPrefix + "cpu"          // as asked for
	keyDisk     = keyPrefix + "disk-enforced"
	keyAddress  = keyPrefix + "address"
	keyLabel    = keyPrefix + "label."
	keyRestored = keyPrefix + "restored" // when, and which snapshot
	keyThrough  = keyPrefix + "through"  // the cluster member whose daemon made it

	phaseCreating = "creating"
	phaseReady    = "ready"
)

// State is what a container does.
type State string

// The states of a container.
const (
	StateCreating State = "creating" // its create is not finished
	StateRunning  State = "running"
	StateStopped  State = "stopped"
	StateFrozen   State = "frozen"
	StateError    State = "error"
	// StateUnreachable is that of one whose cluster member does not answer.
	StateUnreachable State = "unreachable"
)

// Container is a user's container as Incus holds it.
type Container struct {
	Name, Username string
	State          State
	Limits         Limits
	// DiskEnforced says whether the storage driver holds Limits.Disk.
	DiskEnforced bool
	// SSHKeys are lines of authorized_keys: the source of truth for both hops.
	SSHKeys []string
	// KeysInGuest says whether the guest has exactly those keys.
	KeysInGuest bool
	// Address is its IPv4 address; empty while it never had one.
	Address string
	// Pinned says whether Incus' DHCP server reserves that for it: else the guest may
	// come by another one, of which no event tells.
	Pinned                  bool
	MAC, Interface, Network string
	// HostInterface is the host's end of its NIC, another at each start; empty where
	// it does not run or the NIC has none.
	HostInterface string
	// HostKey is its SSH host key, type and base64; empty if nobody looked.
	HostKey                 string
	CreatedAt               time.Time
	Labels                  map[string]string
	Image, ImageFingerprint string
	Docker, DockerInstalled bool
	AutoStart               bool
	// Location is the member of the cluster that it is on, Through the one whose daemon
	// made it; empty where Incus is no cluster.
	Location, Through string
}

// List returns the containers that carry the marker, by username. Of one that is
// unreachable it has name and member alone. It costs one call whatever their number.
func (c *Client) List(ctx context.Context) ([]Container, error) {
	server, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	instances, err := server.GetInstances(api.InstanceTypeContainer)
	if err != nil {
		return nil, classify("list the containers", err)
	}
	var containers []Container
	for i := range instances {
		container, ours := fromInstance(&instances[i])
		if !ours {
			container, ours = unreachable(&instances[i])
		}
		if ours {
			containers = append(containers, container)
		}
	}
	slices.SortFunc(containers, func(a, b Container) int { return strings.Compare(a.Username, b.Username) })
	return containers, nil
}

// Get returns a user's container. ErrNotFound where there is none or where the
// instance of that name is not ours: a foreign one is invisible. ErrMemberDown where
// it is unreachable.
func (c *Client) Get(ctx context.Context, username string) (Container, error) {
	server, err := c.connect(ctx)
	if err != nil {
		return Container{}, err
	}
	container, _, _, err := get(server, username)
	return container, err
}

func get(server incus.InstanceServer, username string) (Container, *api.Instance, string, error) {
	what := "look up the container of " + username
	instance, etag, err := server.GetInstance(InstanceName(username))
	if err != nil {
		return Container{}, nil, "", classify(what, err)
	}
	container, ours := fromInstance(instance)
	if !ours {
		return Container{}, nil, "", classify(what, api.StatusErrorf(404, "not ours"))
	}
	return container, instance, etag, nil
}

// Exists reports whether an instance has the name of username's container,
// ours or not.
func (c *Client) Exists(ctx context.Context, username string) (bool, error) {
	server, err := c.connect(ctx)
	if err != nil {
		return false, err
	}
	_, _, err = server.GetInstance(InstanceName(username))
	if api.StatusErrorCheck(err, 404) {
		return false, nil
	}
	return err == nil, classify("look up the container of "+username, err)
}

// fromInstance reads what an instance says; false where it lacks the marker, or
// has that of another one, which it was copied from.
func fromInstance(instance *api.Instance) (Container, bool) {
	config := instance.Config
	username := config[keyUsername]
	if username == "" || instance.Name != InstanceName(username) {
		return Container{}, false
	}
	container := Container{
		Name:             instance.Name,
		Username:         username,
		State:            stateOf(instance),
		Limits:           Limits{CPU: config[keyCPU], Memory: config["limits.memory"]},
		DiskEnforced:     config[keyDisk] == "true",
		SSHKeys:          splitLines(config[keyKeys]),
		KeysInGuest:      config[keySynced] == keysDigest(splitLines(config[keyKeys])),
		Address:          config[keyAddress],
		HostKey:          config[keyHostKey],
		CreatedAt:        instance.CreatedAt,
		Labels:           map[string]string{},
		Image:            config[keyImage],
		ImageFingerprint: config["volatile.base_image"],
		Docker:           config[keyDocker] != "",
		DockerInstalled:  config[keyDocker] == "installed",
		Location:         locationOf(instance),
		Through:          config[keyThrough],
	}
	container.AutoStart, _ = strconv.ParseBool(config["boot.autostart"])
	if _, root := rootDisk(instance.ExpandedDevices); root != nil {
		container.Limits.Disk = root["size"]
	}
	if name, nic := firstNIC(instance.ExpandedDevices); nic != nil {
		container.Network = nicNetwork(nic)
		container.Interface = nicInterface(name, nic)
		container.MAC = config["volatile."+name+".hwaddr"]
		container.HostInterface = config["volatile."+name+".host_name"]
		container.Pinned = container.Address != "" && nic["ipv4.address"] == container.Address
	}
	for key, value := range config {
		if label, ok := strings.CutPrefix(key, keyLabel); ok {
			container.Labels[label] = value
		}
	}
	return container, true
}

func stateOf(instance *api.Instance) State {
	if instance.Config[keyPhase] != phaseReady {
		return StateCreating
	}
	switch instance.StatusCode {
	case api.Running, api.Ready:
		return StateRunning
	case api.Stopped:
		return StateStopped
	case api.Frozen:
		return StateFrozen
	}
	return StateError
}

// rootDisk returns the name and the config of the device mounted at "/".
func rootDisk(devices map[string]map[string]string) (string, map[string]string) {
	for name, device := range devices {
		if device["type"] == "disk" && device["path"] == "/" {
			return name, device
		}
	}
	return "", nil
}

// firstNIC returns eth0 where there is one, else the first NIC by name.
func firstNIC(devices map[string]map[string]string) (string, map[string]string) {
	best := ""
	for name, device := range devices {
		if device["type"] != "nic" {
			continue
		}
		if nicInterface(name, device) == "eth0" {
			return name, device
		}
		if best == "" || name < best {
			best = name
		}
	}
	return best, devices[best]
}

func nicInterface(device string, nic map[string]string) string {
	if nic["name"] != "" {
		return nic["name"]
	}
	return device
}

func nicNetwork(nic map[string]string) string {
	if nic["network"] != "" {
		return nic["network"]
	}
	return nic["parent"]
}

func splitLines(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}

// keysDigest tells one set of keys from another.
func keysDigest(keys []string) string {
	sum := sha256.Sum256([]byte(strings.Join(keys, "\n")))
	return hex.EncodeToString(sum[:8])
}
