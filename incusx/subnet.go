package incusx

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"
)

// addressBook is where addresses for new instances are chosen.
type addressBook struct {
	mu sync.Mutex
	// taken are those that creates under way have chosen and Incus does not have
	// yet.
	taken map[netip.Addr]bool
	// bridges are the networks as they were lately: Incus goes through all instances
	// to answer for one.
	bridges map[string]bridge
}

// bridge is a network on which addresses are ours to choose; none where it has no
// ranges.
type bridge struct {
	gateway netip.Addr
	ranges  []addressRange
	read    time.Time
}

// bridgeFor is how long a bridge is taken to be as it was: somebody who changes
// its subnet has containers to move anyway.
const bridgeFor = time.Minute

// chooseAddress picks a free address of the bridge that the profile's first NIC
// is on, so that it is known before the guest runs. It returns the NIC with that
// address and what gives the choice back; the choice is to be held until Incus
// has the instance. A nil NIC means that the address is DHCP's to choose: Incus
// is a cluster, does not manage the bridge, runs no DHCP there, has no address left,
// or its leases can not be read.
func (c *Client) chooseAddress(server incus.InstanceServer, profile *api.Profile) (name string, nic map[string]string, release func(), err error) {
	name, nic = firstNIC(profile.Devices)
	if nic == nil || nic["network"] == "" {
		return "", nil, func() {}, nil
	}
	// Each member has a DHCP server of its own, and which one it will be is not known.
	if member, err := c.member(server); err != nil || member != "" {
		return "", nil, func() {}, err
	}
	book := &c.addresses
	book.mu.Lock()
	defer book.mu.Unlock()
	bridge, err := book.bridge(server, nic["network"])
	if err != nil || len(bridge.ranges) == 0 {
		return "", nil, func() {}, err
	}
	taken, ok := c.takenAddresses(nic["network"])
	if !ok {
		return "", nil, func() {}, nil
	}
	taken[bridge.gateway] = true
	address := pick(bridge.ranges, func(a netip.Addr) bool { return !taken[a] && !book.taken[a] })
	if !address.IsValid() {
		return "", nil, func() {}, nil
	}
	if book.taken == nil {
		book.taken = map[netip.Addr]bool{}
	}
	book.taken[address] = true
	return name, withAddress(nic, address.String()), func() {
		book.mu.Lock()
		defer book.mu.Unlock()
		delete(book.taken, address)
	}, nil
}

// bridge returns what is known of a network. The lock is held.
func (book *addressBook) bridge(server incus.InstanceServer, name string) (bridge, error) {
	if b, ok := book.bridges[name]; ok && time.Since(b.read) < bridgeFor {
		return b, nil
	}
	network, _, err := server.GetNetwork(name)
	if err != nil {
		return bridge{}, fmt.Errorf("look up the network %s: %w", name, err)
	}
	gateway, _ := netip.ParsePrefix(network.Config["ipv4.address"])
	b := bridge{gateway.Addr(), addressRanges(network), time.Now()}
	if book.bridges == nil {
		book.bridges = map[string]bridge{}
	}
	book.bridges[name] = b
	return b, nil
}

// addressRange is from its first to its last address.
type addressRange struct{ first, last netip.Addr }

// addressRanges are those from which Incus' DHCP server gives addresses; none
// where it runs none that we could reserve one with.
func addressRanges(network *api.Network) []addressRange {
	prefix, err := netip.ParsePrefix(network.Config["ipv4.address"])
	if !network.Managed || network.Type != "bridge" || network.Config["ipv4.dhcp"] == "false" ||
		err != nil || !prefix.Addr().Is4() || prefix.Bits() > 30 {
		return nil
	}
	var ranges []addressRange
	for part := range strings.SplitSeq(network.Config["ipv4.dhcp.ranges"], ",") {
		low, high, _ := strings.Cut(strings.TrimSpace(part), "-")
		first, err1 := netip.ParseAddr(low)
		last, err2 := netip.ParseAddr(high)
		if err1 == nil && err2 == nil && first.Is4() && last.Is4() {
			ranges = append(ranges, addressRange{first, last})
		}
	}
	if network.Config["ipv4.dhcp.ranges"] == "" {
		// All but the two that mean the network and everybody in it.
		first := prefix.Masked().Addr()
		ranges = append(ranges, addressRange{first.Next(), plus(first, 1<<(32-prefix.Bits())-2)})
	}
	return ranges
}

// pick returns an address that is free, beginning at a random one: that of a
// container which was just deleted is still in caches, and in known_hosts.
func pick(ranges []addressRange, free func(netip.Addr) bool) netip.Addr {
	var size uint32
	for _, r := range ranges {
		size += r.size()
	}
	if size == 0 {
		return netip.Addr{}
	}
	at := rand.Uint32N(size) //nolint:gosec // no secret
	for range size {
		n := at
		for _, r := range ranges {
			if n < r.size() {
				if a := plus(r.first, n); free(a) {
					return a
				}
				break
			}
			n -= r.size()
		}
		at = (at + 1) % size
	}
	return netip.Addr{}
}

func (r addressRange) size() uint32 {
	if r.last.Less(r.first) {
		return 0
	}
	return ipNumber(r.last) - ipNumber(r.first) + 1
}

func ipNumber(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func plus(a netip.Addr, n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], ipNumber(a)+n)
	return netip.AddrFrom4(b)
}

// takenAddresses reads what the DHCP server of a bridge goes by, beside Incus'
// socket: its leases, and the reservations of all instances, also of those that
// are stopped or in other projects. Incus' API tells the same of one project
// alone, at a millisecond for each instance. False where they can not be read.
func (c *Client) takenAddresses(network string) (map[netip.Addr]bool, bool) {
	socket, err := filepath.EvalSymlinks(c.cfg.Socket)
	if err != nil {
		return nil, false
	}
	folder := filepath.Join(filepath.Dir(socket), "networks", network)
	leases, err := os.ReadFile(filepath.Join(folder, "dnsmasq.leases"))
	if err != nil {
		return nil, false
	}
	hosts := filepath.Join(folder, "dnsmasq.hosts")
	files, err := os.ReadDir(hosts)
	if err != nil {
		return nil, false
	}
	taken := map[netip.Addr]bool{}
	note := func(fields []string) {
		for _, field := range fields {
			if address, err := netip.ParseAddr(field); err == nil {
				taken[address] = true
			}
		}
	}
	note(strings.Fields(string(leases)))
	for _, file := range files {
		// One that is gone by now was of an instance that is gone.
		host, err := os.ReadFile(filepath.Join(hosts, file.Name()))
		if err != nil && !os.IsNotExist(err) {
			return nil, false
		}
		note(strings.Split(strings.TrimSpace(string(host)), ","))
	}
	return taken, true
}
