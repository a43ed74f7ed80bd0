package client

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Select finds the servers that are meant by names, each of them an entry, a
// group or HOST[:PORT], also several with commas between. Without a name it is the
// default, else ErrNoServer. They come in the order in which they were named; one
// that was named twice, also by its address, comes once.
func (c *Config) Select(names ...string) ([]Server, error) {
	var servers []Server
	named := false
	for _, list := range names {
		for name := range strings.SplitSeq(list, ",") {
			name = strings.TrimSpace(name)
			if name == "" {
				continue
			}
			named = true
			members, isGroup := c.Groups[name]
			if !isGroup {
				members = []string{name}
			}
			if len(members) == 0 {
				return nil, fmt.Errorf("group %q has no servers", name)
			}
			for _, member := range members {
				server, err := c.Resolve(member)
				if err != nil {
					return nil, err
				}
				servers = append(servers, server)
			}
		}
	}
	if !named {
		server, err := c.Resolve("")
		if err != nil {
			return nil, err
		}
		return []Server{server}, nil
	}
	return once(servers), nil
}

// All returns every server that has an entry, by name, or ErrNoServer. Of several
// entries with one address the first counts: a server is asked once.
func (c *Config) All() ([]Server, error) {
	var servers []Server
	for _, name := range slices.Sorted(maps.Keys(c.Servers)) {
		servers = append(servers, c.Servers[name])
	}
	if len(servers) == 0 {
		return nil, ErrNoServer
	}
	return once(servers), nil
}

func once(servers []Server) []Server {
	seen := map[string]bool{}
	return slices.DeleteFunc(servers, func(s Server) bool {
		before := seen[s.Address]
		seen[s.Address] = true
		return before
	})
}
