package incustest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// What Incus' DHCP server goes by, where it would be, beside the socket. A
// simulator whose socket is in somebody else's folder writes nothing there.
// Server.mu is held.

func (s *Server) leasesFile() string {
	return filepath.Join(s.folder, "networks", networkName, "dnsmasq.leases")
}

func (s *Server) hostFile(inst *instance, nic string) string {
	return filepath.Join(s.folder, "networks", networkName, "dnsmasq.hosts", inst.project.name+"_"+inst.name+"."+nic)
}

func (s *Server) hasLeases() bool { return s.folder != "" && !s.ssh.shared() }

// beginLeases makes the empty files.
func (s *Server) beginLeases() error {
	if !s.hasLeases() {
		return nil
	}
	if err := os.MkdirAll(filepath.Join(filepath.Dir(s.leasesFile()), "dnsmasq.hosts"), 0o755); err != nil {
		return err
	}
	return os.WriteFile(s.leasesFile(), nil, 0o644)
}

// reserve notes the NICs of an instance, each with its address where that is
// pinned.
func (s *Server) reserve(inst *instance) {
	if !s.hasLeases() {
		return
	}
	config, devices := inst.project.expand(&inst.put)
	for name, nic := range devices {
		if nic["type"] != "nic" {
			continue
		}
		fields := []string{config["volatile."+name+".hwaddr"]}
		if nic["ipv4.address"] != "" {
			fields = append(fields, nic["ipv4.address"])
		}
		_ = os.WriteFile(s.hostFile(inst, name), []byte(strings.Join(append(fields, inst.name), ",")), 0o644)
	}
}

// unreserve forgets the NICs of an instance that is gone.
func (s *Server) unreserve(inst *instance) {
	_, devices := inst.project.expand(&inst.put)
	for name := range devices {
		if s.hasLeases() {
			_ = os.Remove(s.hostFile(inst, name))
		}
	}
}

// noteLease adds the lease of a guest; like the real ones, they outlive it.
func (s *Server) noteLease(inst *instance) {
	if !s.hasLeases() {
		return
	}
	file, err := os.OpenFile(s.leasesFile(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return
	}
	mac := inst.put.Config["volatile.eth0.hwaddr"]
	_, _ = fmt.Fprintf(file, "1795597992 %s %s %s 01:%s\n", mac, inst.guest.address, inst.name, mac)
	_ = file.Close()
}
