package incustest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/lxc/incus/v6/shared/api"
	"github.com/lxc/incus/v6/shared/units"
)

var (
	namePattern   = regexp.MustCompile(`^[A-Za-z0-9-]*$`)
	cpuCount      = regexp.MustCompile(`^[0-9]+$`)
	cpuSet        = regexp.MustCompile(`^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$`)
	cpuPercentage = regexp.MustCompile(`^[0-9]+%$`)
	cpuQuota      = regexp.MustCompile(`^[0-9]+ms/[0-9]+ms$`)
)

// checkName holds instance names to host names, as Incus does.
func checkName(name string) error {
	switch {
	case name == "" || len(name) > 63:
		return errors.New("Name must be 1-63 characters long")
	case !namePattern.MatchString(name):
		return errors.New("Name can only contain alphanumeric and hyphen characters")
	case name[0] == '-' || name[0] >= '0' && name[0] <= '9':
		return fmt.Errorf("Name must not start with %q", name[:1])
	case strings.HasSuffix(name, "-"):
		return errors.New(`Name must not end with "-" character`)
	}
	return nil
}

// The keys that are taken with any value, by their beginning, and those that
// take a boolean.
var (
	freeKeys = []string{"user.", "volatile.", "image.", "environment.", "cloud-init."}
	boolKeys = []string{
		"boot.autostart", "security.nesting", "security.privileged",
		"security.syscalls.intercept.mknod", "security.syscalls.intercept.setxattr",
	}
)

// checkConfig refuses what Incus refuses of the keys that are simulated, and
// every key that is not.
func checkConfig(config map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(config)) {
		if err := checkKey(key, config[key]); err != nil {
			return err
		}
	}
	return nil
}

func checkKey(key, value string) error {
	switch {
	case value == "":
		return nil
	case slices.ContainsFunc(freeKeys, func(prefix string) bool { return strings.HasPrefix(key, prefix) }):
		return nil
	case slices.Contains(boolKeys, key):
		if !slices.Contains([]string{"true", "false", "1", "0", "yes", "no", "on", "off"}, strings.ToLower(value)) {
			return fmt.Errorf("Invalid value for a boolean %q", value) //nolint:staticcheck // Incus' words
		}
		return nil
	case key == "limits.cpu":
		return checkCPU(value)
	case key == "limits.cpu.allowance":
		if !cpuPercentage.MatchString(value) && !cpuQuota.MatchString(value) {
			return fmt.Errorf("Invalid allowance: %s", value) //nolint:staticcheck // Incus' words
		}
		return nil
	case key == "limits.memory":
		if strings.HasSuffix(value, "%") {
			return nil
		}
		return checkSize(value, "Memory limit can't be 0")
	}
	return fmt.Errorf("Unknown configuration key: %s", key) //nolint:staticcheck // Incus' words
}

// checkCPU takes "0" for what it can not be; a range that descends passes, as in
// Incus.
func checkCPU(value string) error {
	if cpuCount.MatchString(value) {
		if n, err := strconv.Atoi(value); err != nil || n < 1 {
			return fmt.Errorf("Invalid cpuset value: %s", value) //nolint:staticcheck // Incus' words
		}
		return nil
	}
	if !cpuSet.MatchString(value) {
		return errors.New("Invalid CPU limit syntax") //nolint:staticcheck // Incus' words
	}
	return nil
}

func checkSize(value, zero string) error {
	n, err := units.ParseByteSizeString(value)
	if err != nil {
		return err
	}
	if n <= 0 {
		return errors.New(zero)
	}
	return nil
}

// checkDevices refuses disks and NICs that Incus refuses.
func (s *Server) checkDevices(project string, devices map[string]map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(devices)) {
		device := devices[name]
		var err error
		switch device["type"] {
		case "disk":
			if size := device["size"]; size != "" {
				if _, e := units.ParseByteSizeString(size); e != nil {
					err = fmt.Errorf("Invalid value for device option %q: %w", "size", e) //nolint:staticcheck // Incus' words
				}
			}
		case "nic":
			err = s.checkNIC(project, name, device)
		case "none":
		default:
			err = fmt.Errorf("Unsupported device type") //nolint:staticcheck // Incus' words
		}
		if err != nil {
			return fmt.Errorf("Device validation failed for %q: %w", name, err) //nolint:staticcheck // Incus' words
		}
	}
	return nil
}

func (s *Server) checkNIC(project, name string, nic map[string]string) error {
	if nic["nictype"] == "bridged" && nic["parent"] != "" {
		return nil // a bridge that Incus does not manage
	}
	if network := nic["network"]; network != networkName {
		return api.StatusErrorf(http.StatusNotFound, "Failed loading device %q: Failed to load network %q for project %q: Network not found", name, network, project)
	}
	pin := nic["ipv4.address"]
	if pin == "" {
		return nil
	}
	if address, err := netip.ParseAddr(pin); err != nil || !s.ssh.subnet.Contains(address) {
		return fmt.Errorf("Device IP address %q not within network %q subnet", pin, networkName) //nolint:staticcheck // Incus' words
	}
	return nil
}

// checkPins refuses an address that another instance of the project has pinned.
// Server.mu is held.
func (s *Server) checkPins(inst *instance, when string, devices map[string]map[string]string) error {
	if s.ssh.shared() {
		return nil
	}
	for name, nic := range devices {
		pin := nic["ipv4.address"]
		if pin == "" {
			continue
		}
		for _, other := range inst.project.instances {
			if other == inst {
				continue
			}
			_, theirs := inst.project.expand(&other.put)
			for _, n := range theirs {
				if n["ipv4.address"] == pin {
					return api.StatusErrorf(http.StatusConflict, "Failed %s validation for device %q: IP address %q already defined on another NIC", when, name, pin)
				}
			}
		}
	}
	return nil
}

// newMAC makes an address with Incus' prefix.
func newMAC() string {
	b := make([]byte, 3)
	_, _ = rand.Read(b)
	return fmt.Sprintf("10:66:6a:%02x:%02x:%02x", b[0], b[1], b[2])
}
