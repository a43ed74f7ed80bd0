package incustest

import (
	"crypto/ed25519"
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/lxc/incus/v6/shared/api"
	"github.com/lxc/incus/v6/shared/units"
)

// guest is what runs in an instance. Its files outlive a stop. Server.mu guards
// it.
type guest struct {
	instance *instance
	files    map[string]file
	users    map[string]int // to uid
	hostKey  ssh.Signer     // made at the first boot

	started time.Time
	address string // empty: none yet
	run     *run   // nil while stopped
}

// run is one span from boot to halt: what a stop ends.
type run struct {
	ended chan struct{}
	sshd  *sshd
}

type file struct {
	content []byte
	mode    int
}

func newGuest(inst *instance) *guest {
	return &guest{
		instance: inst,
		users:    map[string]int{"root": 0},
		files: map[string]file{
			"/etc/passwd":     {[]byte("root:x:0:0:root:/root:/bin/bash\n"), 0o644},
			"/etc/hostname":   {[]byte(inst.name + "\n"), 0o644},
			"/etc/os-release": {[]byte("PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\n"), 0o644},
		},
	}
}

// up boots the guest of inst; its address comes when DHCP has given it. Server.mu
// is held.
func (s *Server) up(inst *instance) error {
	g := inst.guest
	if g.hostKey == nil {
		_, private, err := ed25519.GenerateKey(nil)
		if err != nil {
			return err
		}
		if g.hostKey, err = ssh.NewSignerFromKey(private); err != nil {
			return err
		}
	}
	g.started = time.Now()
	g.run = &run{ended: make(chan struct{})}
	if inst.image.NoDHCP || inst.image.NoLease || !g.hasNIC() {
		return nil
	}
	if s.options.AddressDelay <= 0 {
		return s.lease(inst)
	}
	this := g.run
	s.work.Go(func() {
		timer := time.NewTimer(s.options.AddressDelay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-this.ended:
			return
		case <-s.life.Done():
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if g.run == this {
			_ = s.lease(inst) // as a guest whose sshd failed
		}
	})
	return nil
}

// lease gives a guest its address, and starts its sshd there. Server.mu is held.
func (s *Server) lease(inst *instance) error {
	g := inst.guest
	_, devices := inst.project.expand(&inst.put)
	address := ""
	for _, device := range devices {
		if device["type"] == "nic" && device["ipv4.address"] != "" {
			address = device["ipv4.address"]
		}
	}
	if address == "" {
		address = s.freeAddress()
	}
	g.address = address
	s.noteLease(inst)
	if inst.image.NoSSHD {
		return nil
	}
	var err error
	g.run.sshd, err = s.ssh.serve(s, g, address)
	return err
}

// freeAddress gives each lease an address that had none before it: whoever wants
// to keep one has to pin it. Server.mu is held.
func (s *Server) freeAddress() string {
	if s.ssh.shared() {
		return s.ssh.gateway
	}
	taken := map[string]bool{}
	for _, p := range s.projects {
		for _, inst := range p.instances {
			taken[inst.guest.address] = true
			for _, device := range inst.put.Devices {
				taken[device["ipv4.address"]] = true
			}
		}
	}
	for {
		s.lastLease = s.lastLease%65_000 + 1
		n := s.lastLease + 1 // after the gateway
		address := fmt.Sprintf("127.77.%d.%d", n>>8, n&0xff)
		if n&0xff != 0 && n&0xff != 255 && !taken[address] {
			return address
		}
	}
}

// down ends what runs. Server.mu is held.
func (g *guest) down() {
	if g.run == nil {
		return
	}
	close(g.run.ended)
	if g.run.sshd != nil {
		g.run.sshd.close()
	}
	g.run, g.address = nil, ""
}

func (g *guest) hasNIC() bool {
	_, devices := g.instance.project.expand(&g.instance.put)
	for _, device := range devices {
		if device["type"] == "nic" {
			return true
		}
	}
	return false
}

// network is what Incus sees of the guest's interfaces. Server.mu is held.
func (g *guest) network(devices map[string]map[string]string, config map[string]string) map[string]api.InstanceStateNetwork {
	networks := map[string]api.InstanceStateNetwork{"lo": {
		Addresses: []api.InstanceStateNetworkAddress{
			{Family: "inet", Address: "127.0.0.1", Netmask: "8", Scope: "local"},
			{Family: "inet6", Address: "::1", Netmask: "128", Scope: "local"},
		},
		Mtu: 65536, State: "up", Type: "loopback",
	}}
	for name, device := range devices {
		if device["type"] != "nic" {
			continue
		}
		eth := api.InstanceStateNetwork{
			Addresses: []api.InstanceStateNetworkAddress{},
			Hwaddr:    config["volatile."+name+".hwaddr"], HostName: config["volatile."+name+".host_name"],
			Mtu: 1500, State: "up", Type: "broadcast",
			// What the kernel sends for IPv6, whoever runs in the guest.
			Counters: api.InstanceStateNetworkCounters{BytesSent: 586, PacketsSent: 7},
		}
		if g.address != "" {
			eth.Addresses = append(eth.Addresses, api.InstanceStateNetworkAddress{
				Family: "inet", Address: g.address, Netmask: "16", Scope: "global",
			})
			eth.Counters = api.InstanceStateNetworkCounters{BytesReceived: 687, BytesSent: 1246, PacketsReceived: 2, PacketsSent: 9}
		}
		networks[device["name"]] = eth
	}
	return networks
}

// processes are the names of what runs in the guest, a line each.
func (g *guest) processes() []byte {
	names := "systemd\nsystemd-journal\nsystemd-udevd\ndbus-daemon\n"
	if !g.instance.image.NoDHCP {
		names += "systemd-network\n"
	}
	if !g.instance.image.NoSSHD {
		names += "sshd\n"
	}
	return []byte(names)
}

// sizeOf is the value of a size that was checked.
func sizeOf(s string) int64 {
	n, _ := units.ParseByteSizeString(s)
	return n
}
