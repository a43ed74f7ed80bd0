package pki

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// maxNames bounds the names of one certificate: a load balancer's has a few
// dozen, and a handshake carries them all.
const maxNames = 100

// RFC 1123, section 2.1: letters, digits and hyphens, no hyphen at either end, at
// most 63 of them (RFC 1035, section 2.3.4, which also has the 253 below).
var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// altNames are checked subject alternative names.
type altNames struct {
	dns []string // lower case
	ips []net.IP
}

// CheckName refuses what is neither a DNS name nor an IP address that a server's
// certificate can be for.
func CheckName(name string) error {
	_, err := checkNames([]string{name})
	return err
}

// checkNames sorts names into DNS names and IP addresses and refuses what is
// neither. Duplicates are dropped.
func checkNames(names []string) (altNames, error) {
	var alt altNames
	if len(names) > maxNames {
		return alt, fmt.Errorf("%d names are more than %d", len(names), maxNames)
	}
	for _, name := range names {
		addr, err := netip.ParseAddr(name)
		if err != nil {
			host, err := checkDNSName(name)
			if err != nil {
				return altNames{}, err
			}
			if !slices.Contains(alt.dns, host) {
				alt.dns = append(alt.dns, host)
			}
			continue
		}
		switch {
		case addr.Zone() != "":
			return altNames{}, fmt.Errorf("the address %q has a zone, which no certificate can name", name)
		case addr.IsUnspecified() || addr.IsMulticast():
			return altNames{}, fmt.Errorf("%q is not the address of a host", name)
		}
		ip := net.IP(addr.Unmap().AsSlice())
		if !slices.ContainsFunc(alt.ips, ip.Equal) {
			alt.ips = append(alt.ips, ip)
		}
	}
	return alt, nil
}

func checkDNSName(name string) (string, error) {
	host := strings.ToLower(name)
	labels := strings.Split(host, ".")
	last := labels[len(labels)-1]
	switch {
	case host == "":
		return "", fmt.Errorf("a name is empty")
	case len(host) > 253:
		return "", fmt.Errorf("the name %.40q... is longer than 253 characters", name)
	case strings.Contains(host, "*"):
		return "", fmt.Errorf("%q is a wildcard: name each host", name)
	case strings.ContainsFunc(host, func(r rune) bool { return r > 0x7e }):
		return "", fmt.Errorf("%q is not ASCII: give the xn-- form", name)
	case strings.Trim(last, "0123456789") == "" && last != "":
		return "", fmt.Errorf("%q is neither an IP address nor a DNS name", name)
	}
	for _, l := range labels {
		if !label.MatchString(l) {
			if _, _, err := net.SplitHostPort(name); err == nil {
				return "", fmt.Errorf("%q has a port: give the host alone", name)
			}
			return "", fmt.Errorf("%q is neither an IP address nor a DNS name", name)
		}
	}
	return host, nil
}

// strings returns the names as they were asked for, DNS names first.
func (a altNames) strings() []string {
	var out []string
	out = append(out, a.dns...)
	for _, ip := range a.ips {
		out = append(out, ip.String())
	}
	return out
}
