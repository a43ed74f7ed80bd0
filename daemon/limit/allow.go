package limit

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// AllowFrom are the networks that may connect. The empty one allows everybody;
// any other fails closed: an address that it does not know, or that is none, may
// not connect.
type AllowFrom []netip.Prefix

// ParseAllowFrom parses CIDRs ("10.0.0.0/8", "2001:db8::/32") and plain
// addresses, which stand for themselves alone. IPv4 in IPv6 clothes
// ("::ffff:10.0.0.0/104") is IPv4, as it is when a client comes by such a socket.
// Every entry that is wrong is named.
func ParseAllowFrom(entries []string) (AllowFrom, error) {
	var allowed AllowFrom
	var errs []error
	for _, entry := range entries {
		prefix, err := parsePrefix(entry)
		if err != nil {
			errs = append(errs, fmt.Errorf("%q %w", entry, err))
			continue
		}
		allowed = append(allowed, prefix)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return allowed, nil
}

var errNoNetwork = errors.New("is no network: write 192.0.2.0/24, 2001:db8::/32 or an address")

func parsePrefix(entry string) (netip.Prefix, error) {
	if !strings.Contains(entry, "/") {
		addr, err := netip.ParseAddr(entry)
		switch {
		case err != nil:
			return netip.Prefix{}, errNoNetwork
		case addr.Zone() != "":
			return netip.Prefix{}, errors.New("has a zone, which says nothing about who comes: leave it out")
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(entry)
	if err != nil {
		return netip.Prefix{}, errNoNetwork
	}
	if prefix.Addr().Is4In6() {
		// Of a shorter one, as ::/0, the IPv4 addresses would be a part: which is
		// meant, nobody can know.
		if prefix.Bits() < 96 {
			return netip.Prefix{}, errors.New("covers more than IPv4 in IPv6: write the IPv4 network")
		}
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
	}
	if masked := prefix.Masked(); masked != prefix {
		return netip.Prefix{}, fmt.Errorf("has bits beyond its length: write %s or %s", masked, prefix.Addr())
	}
	return prefix, nil
}

// Allows reports whether the peer may connect.
func (a AllowFrom) Allows(peer net.Addr) bool {
	if len(a) == 0 {
		return true
	}
	addr := addrOf(peer)
	for _, prefix := range a {
		if prefix.Contains(addr) { // false for the zero Addr
			return true
		}
	}
	return false
}

// addrOf returns the IP address of a peer without what is no part of it, or the
// zero Addr where it has none.
func addrOf(peer net.Addr) netip.Addr {
	tcp, ok := peer.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}

// neighbourhood is what counts as one address: a single one of IPv4, and 64 bits
// of IPv6, since whoever has one of those has them all.
func neighbourhood(peer net.Addr) netip.Addr {
	addr := addrOf(peer)
	if addr.Is6() {
		if prefix, err := addr.Prefix(64); err == nil {
			return prefix.Addr()
		}
	}
	return addr
}
