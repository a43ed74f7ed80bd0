package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/client"
)

// lookupTimeout bounds the questions to the DNS.
const lookupTimeout = 10 * time.Second

// resolverKey is where a test puts a *net.Resolver of its own.
const resolverKey = "resolver"

func serverDiscoverCommand() *cli.Command {
	return &cli.Command{
		Name:      "discover",
		Usage:     "find the servers of a domain in the DNS",
		ArgsUsage: "DOMAIN",
		Description: describe(`Looks up the SRV records _containarium._tcp.DOMAIN and lists the servers that they
name. With --add it names those in the servers file that are not there yet, by the
first word of their host or, where that is taken, by all of it. Whoever rules the DNS
decides what is found, but not whom you trust: that is the CA in your files.`,
			"containarium server discover example.org",
			"containarium server discover example.org --add --group eu"),
		Flags: append(entryFlags(),
			&cli.BoolFlag{Name: "add", Usage: "name those that have no name yet", DisableDefaultText: true},
		),
		Action: serverDiscover,
	}
}

// found is a server in the DNS.
type found struct {
	// Name is what the servers file calls it, or would.
	Name     string `json:"name"`
	Address  string `json:"address"`
	Priority uint16 `json:"priority"`
	Weight   uint16 `json:"weight"`
	// Known says that the servers file has it.
	Known bool `json:"known"`
}

func serverDiscover(c *cli.Context) error {
	args, err := operands(c, 1, 1)
	if err != nil {
		return err
	}
	domain := args[0]
	config, err := loadConfig(c)
	if err != nil {
		return err
	}
	resolver, ok := c.App.Metadata[resolverKey].(*net.Resolver)
	if !ok {
		resolver = net.DefaultResolver
	}
	timeout := lookupTimeout
	if d := globalTimeout(c); d > 0 {
		timeout = d
	}
	ctx, cancel := context.WithTimeout(c.Context, timeout)
	defer cancel()
	servers, err := discover(ctx, resolver, domain)
	if err != nil {
		return &failure{what: "server discover " + domain, user: domain, config: config, err: err}
	}
	if !c.Bool("add") {
		nameFound(config, servers)
	} else if config, err = updateConfig(c, func(config *client.Config) error { return addFound(c, config, servers) }); err != nil {
		return err
	}
	if err := showValue(c, servers, func(t *terminal) error { return t.table(foundRows(servers)) }); err != nil || !c.Bool("add") {
		return err
	}
	terminalOf(c).notef("%s has them; containarium server ls shows whether they answer", config.Path)
	return nil
}

// discover finds the servers of a domain, those of the lowest priority first.
func discover(ctx context.Context, resolver *net.Resolver, domain string) ([]found, error) {
	_, records, err := resolver.LookupSRV(ctx, "containarium", "tcp", domain)
	if err != nil && len(records) == 0 {
		return nil, err
	}
	var servers []found
	for _, r := range records {
		host := strings.TrimSuffix(r.Target, ".")
		if host == "" { // RFC 2782: there is decidedly none
			continue
		}
		// Fails closed: what is no address is nobody's.
		address, err := client.ParseAddress(net.JoinHostPort(host, strconv.Itoa(int(r.Port))))
		if err != nil {
			return nil, fmt.Errorf("a record is wrong: %w", err)
		}
		servers = append(servers, found{Address: address, Priority: r.Priority, Weight: r.Weight})
	}
	if len(servers) == 0 {
		return nil, errNoService
	}
	// Among equals the resolver's order is random.
	slices.SortFunc(servers, func(a, b found) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Address, b.Address), -cmp.Compare(a.Weight, b.Weight))
	})
	return slices.CompactFunc(servers, func(a, b found) bool { return a.Address == b.Address }), nil
}

// errNoService says that a domain has a record which says that it has no servers.
var errNoService = errors.New("the domain says that it has no servers")

// nameFound finds the names of those that have one, and names for the others.
func nameFound(config *client.Config, servers []found) {
	taken := map[string]bool{}
	for name := range config.Servers {
		taken[name] = true
	}
	for name := range config.Groups {
		taken[name] = true
	}
	for i := range servers {
		f := &servers[i]
		for _, name := range slices.Sorted(maps.Keys(config.Servers)) {
			if config.Servers[name].Address == f.Address && !f.Known {
				f.Name, f.Known = name, true
			}
		}
		if f.Known {
			continue
		}
		host, port, _ := net.SplitHostPort(f.Address)
		label, _, _ := strings.Cut(host, ".")
		for _, name := range []string{label, host, host + "-" + port} {
			if client.CheckName(name) == nil && !taken[name] {
				f.Name, taken[name] = name, true
				break
			}
		}
	}
}

// addFound names those in the configuration that have no name.
func addFound(c *cli.Context, config *client.Config, servers []found) error {
	nameFound(config, servers)
	for _, f := range servers {
		if f.Known {
			continue
		}
		if f.Name == "" {
			return fmt.Errorf("server discover: no name is free for %s; containarium server add NAME %s gives it one", f.Address, f.Address)
		}
		if err := newEntry(c, config, f.Name, f.Address); err != nil {
			return err
		}
		if len(config.Servers) == 1 {
			config.Default = f.Name
		}
	}
	return nil
}

func foundRows(servers []found) [][]string {
	rows := [][]string{{"NAME", "ADDRESS", "PRIORITY", "WEIGHT", "KNOWN"}}
	for _, f := range servers {
		rows = append(rows, []string{f.Name, f.Address, fmt.Sprint(f.Priority), fmt.Sprint(f.Weight), yesNo(f.Known)})
	}
	return rows
}
