package main

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/daemon/config/strict"
	"github.com/footprintai/containarium/pki/live"
)

func serverCommand() *cli.Command {
	return &cli.Command{
		Name:  "server",
		Usage: "name the servers that you work with",
		Description: describe("Keeps the servers file, so that calls need no flags. What the environment names for a\ncall is never written there.",
			"containarium server add jump-1 jump-1.example.org --cert tls.crt --key tls.key --ca ca.crt",
			"containarium server ls",
			"containarium server default jump-2"),
		Subcommands: []*cli.Command{serverAddCommand(), serverLsCommand(), serverRmCommand(), serverDefaultCommand(), serverDiscoverCommand()},
	}
}

func serverAddCommand() *cli.Command {
	return &cli.Command{
		Name:      "add",
		Usage:     "name a server; the first becomes the default",
		ArgsUsage: "NAME HOST[:PORT]",
		Description: describe(`Writes an entry with the address of a server and the three files for it, which must
fit together. Without --cert, --key or --ca it takes those of the default server,
else tls.crt, tls.key or ca.crt beside the servers file.

An identity is a name for such files that several servers share: --identity with
--cert, --key and --ca makes one, and later --identity alone means the same files.`,
			"containarium server add jump-1 jump-1.example.org --cert tls.crt --key tls.key --ca ca.crt",
			"containarium server add jump-2 192.0.2.7:50051 --default --group eu",
			"containarium server add jump-3 jump-3.example.org --identity ops --cert tls.crt --key tls.key --ca ca.crt",
			"containarium server add jump-4 jump-4.example.org --identity ops"),
		Flags: append(entryFlags(),
			&cli.BoolFlag{Name: "default", Usage: "make it the default", DisableDefaultText: true},
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "replace an entry, or an identity, of that name", DisableDefaultText: true},
		),
		Action: serverAdd,
	}
}

// entryFlags are for new entries; newEntry reads them.
func entryFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "identity", Usage: "share the files of this `NAME` with other servers"},
		&cli.StringSliceFlag{Name: "group", Usage: "put it into the group of this `NAME` as well"},
	}
}

func serverAdd(c *cli.Context) error {
	args, err := operands(c, 2, 2)
	if err != nil {
		return err
	}
	name, address := args[0], args[1]
	if err := client.CheckName(name); err != nil {
		return usagef(c, "%s", err)
	}
	if _, err := client.ParseAddress(address); err != nil {
		return usagef(c, "%s", err)
	}
	config, err := updateConfig(c, func(config *client.Config) error {
		if _, exists := config.Servers[name]; exists && !c.Bool("force") {
			return &failure{what: "server add " + name, config: config, err: errServerExists}
		}
		delete(config.Servers, name)
		if err := newEntry(c, config, name, address); err != nil {
			return err
		}
		if len(config.Servers) == 1 || c.Bool("default") {
			config.Default = name
		}
		return nil
	})
	if err != nil {
		return err
	}
	t := terminalOf(c)
	t.notef("%s is %s in %s", name, config.Servers[name].Address, config.Path)
	if config.Default == name {
		t.notef("it is the default: containarium whoami shows whether it answers")
	}
	return nil
}

// updateConfig changes the servers file and returns it as it is then.
func updateConfig(c *cli.Context, change func(config *client.Config) error) (*client.Config, error) {
	path, err := configPath(c)
	if err != nil {
		return nil, err
	}
	var changed *client.Config
	var refused error
	err = client.UpdateConfig(c.Context, path, func(config *client.Config) error {
		changed, refused = config, change(config)
		return refused
	})
	if err != nil && refused == nil {
		err = fmt.Errorf("the configuration: %w", err)
	}
	return changed, err
}

// newEntry enters a server with the files and the groups that the flags name. It
// fails closed on files that do not fit together.
func newEntry(c *cli.Context, config *client.Config, name, address string) error {
	server, err := config.Resolve(address)
	if err != nil {
		return usagef(c, "%s", err)
	}
	server.Name = name
	files := false
	for flag, path := range map[string]*string{"cert": &server.Cert, "key": &server.Key, "ca": &server.CA} {
		if !given(c, flag) { // the environment is for one run
			continue
		}
		if *path, err = filepath.Abs(globalString(c, flag)); err != nil {
			return err
		}
		files, server.Identity = true, ""
	}
	if given(c, "ca") {
		server.CRL = "" // the one beside it
	}
	if shared := c.String("identity"); shared != "" {
		if err := share(c, config, &server, shared, files); err != nil {
			return err
		}
	}
	if err := server.Files().Check(live.Client, time.Now()); err != nil {
		return &failure{what: "server add " + name, server: server, config: config, err: err}
	}
	config.Servers[name] = server
	if _, isGroup := config.Groups[name]; isGroup {
		return usagef(c, "%q is a group of servers", name)
	}
	for _, group := range c.StringSlice("group") {
		if err := client.CheckName(group); err != nil {
			return usagef(c, "--group: %s", err)
		}
		if _, isServer := config.Servers[group]; isServer {
			return usagef(c, "--group: %q is a server", group)
		}
		if !slices.Contains(config.Groups[group], name) {
			config.Groups[group] = append(config.Groups[group], name)
		}
	}
	return nil
}

// share has the server use an identity, which is made of the server's files where
// some were given. The servers that have it already change with it, which takes
// --force.
func share(c *cli.Context, config *client.Config, server *client.Server, name string, files bool) error {
	if err := client.CheckName(name); err != nil {
		return usagef(c, "--identity: %s", err)
	}
	identity, exists := config.Identities[name]
	switch {
	case !exists && !files:
		known := slices.Sorted(maps.Keys(config.Identities))
		return usagef(c, "--identity: there is no %q yet: --cert, --key and --ca say what it is%s", name, strict.Suggest(name, known))
	case files:
		made := client.Identity{Cert: server.Cert, Key: server.Key, CA: server.CA, CRL: server.CRL}
		if exists && made != identity && !c.Bool("force") {
			return usagef(c, "--identity: %q has other files: leave out --cert, --key and --ca, or --force replaces them for all its servers", name)
		}
		identity = made
		config.Identities[name] = identity
	}
	server.Identity = name
	server.Cert, server.Key, server.CA, server.CRL = identity.Cert, identity.Key, identity.CA, identity.CRL
	return nil
}

func serverRmCommand() *cli.Command {
	return &cli.Command{
		Name:        "rm",
		Usage:       "forget a server",
		ArgsUsage:   "NAME",
		Description: describe("Takes a server out of the servers file, its groups included. Its certificate files stay.", "containarium server rm jump-2"),
		Action: func(c *cli.Context) error {
			return changeServer(c, forgetServer, "%s is forgotten")
		},
	}
}

// forgetServer takes an entry out, and out of its groups.
func forgetServer(config *client.Config, name string) {
	delete(config.Servers, name)
	if config.Default == name {
		config.Default = ""
	}
	for group, members := range config.Groups {
		config.Groups[group] = slices.DeleteFunc(members, func(member string) bool { return member == name })
	}
	maps.DeleteFunc(config.Groups, func(_ string, members []string) bool { return len(members) == 0 })
}

func serverDefaultCommand() *cli.Command {
	return &cli.Command{
		Name:        "default",
		Usage:       "choose the server that is meant where none is named",
		ArgsUsage:   "NAME",
		Description: describe("Sets the default of the servers file.", "containarium server default jump-2"),
		Action: func(c *cli.Context) error {
			return changeServer(c, func(config *client.Config, name string) { config.Default = name }, "%s is the default")
		},
	}
}

// changeServer changes the entry that the argument names and says so.
func changeServer(c *cli.Context, change func(config *client.Config, name string), done string) error {
	args, err := operands(c, 1, 1)
	if err != nil {
		return err
	}
	name := args[0]
	_, err = updateConfig(c, func(config *client.Config) error {
		if _, ok := config.Servers[name]; !ok {
			return &failure{what: commandPath(c) + " " + name, asked: name, config: config, err: errServerUnknown}
		}
		change(config, name)
		return nil
	})
	if err != nil {
		return err
	}
	terminalOf(c).notef(done, name)
	return nil
}

var (
	errServerExists  = errors.New("there is a server of that name already")
	errServerUnknown = errors.New("there is no server of that name")
)
