package main

import (
	"context"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/footprintai/containarium/pki"
)

// nameTimeout bounds what asks the resolver: a host whose DNS does not answer has
// its short name alone.
const nameTimeout = 3 * time.Second

// shortName is the first label of the host's name; "" where it has none that could
// name a server.
func shortName() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	name, _, _ = strings.Cut(strings.ToLower(name), ".")
	if name == "localhost" || pki.CheckName(name) != nil {
		return ""
	}
	return name
}

// hostNames are the names and addresses of this host that clients may dial, itself
// included. The addresses on a network of Incus are the containers' gateways.
func hostNames(ctx context.Context, bridge string) []string {
	var names []string
	add := func(name string) {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		if pki.CheckName(name) == nil && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if name, err := os.Hostname(); err == nil {
		add(name)
		ctx, cancel := context.WithTimeout(ctx, nameTimeout)
		defer cancel()
		if full, err := net.DefaultResolver.LookupCNAME(ctx, name); err == nil {
			add(full)
		}
	}
	add("localhost")
	interfaces, _ := net.Interfaces() // those that can be read
	var own []string
	for _, i := range interfaces {
		if i.Name == bridge || i.Flags&net.FlagUp == 0 {
			continue
		}
		addresses, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, address := range addresses {
			// Link-local ones need a zone, which no certificate can name.
			if ip, ok := address.(*net.IPNet); ok && (ip.IP.IsGlobalUnicast() || ip.IP.IsLoopback()) {
				own = append(own, ip.IP.String())
			}
		}
	}
	slices.Sort(own)
	for _, address := range own {
		add(address)
	}
	return names
}
