package main

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// remoteCommand is the spelling in which the server is the first argument. Its
// commands are those without it, flags and all: only operands, globalServer and
// targetsOf know of the difference.
func remoteCommand() *cli.Command {
	remote := func(c *cli.Command, name, args string, examples ...string) *cli.Command {
		c.Name, c.Aliases, c.ArgsUsage = name, nil, strings.TrimSpace("SERVER "+args)
		text, _, _ := strings.Cut(c.Description, "\n\nExamples:")
		c.Description = describe(text, examples...)
		return c
	}
	all := remote(lsCommand(), "list-all", "", "containarium remote list-all --servers jump-1,jump-2:50051", "containarium remote list-all -o json")
	all.Usage, all.ArgsUsage = "list the containers on several servers", ""
	all.Flags = append(all.Flags, &cli.StringSliceFlag{Name: "servers", Usage: "the servers, `NAME` or HOST[:PORT], with commas between; all of the configuration where none is given"})
	return &cli.Command{
		Name:  "remote",
		Usage: "name the server as an argument: create, list, info, delete, list-all",
		Description: describe(`The same commands as create, ls, info and rm, with the server as the first argument:
a name of the configuration, or HOST[:PORT].`,
			"containarium remote create jump-1:50051 alice --ssh-key ~/.ssh/alice.pub",
			"containarium remote list jump-1:50051",
			"containarium remote list-all --servers jump-1,jump-2"),
		Subcommands: []*cli.Command{
			remote(createCommand(), "create", "USER", "containarium remote create jump-1:50051 alice --ssh-key ~/.ssh/alice.pub"),
			remote(lsCommand(), "list", "", "containarium remote list jump-1:50051", "containarium remote list jump-1 --state running"),
			remote(infoCommand(), "info", "USER", "containarium remote info jump-1:50051 alice"),
			remote(rmCommand(), "delete", "USER...", "containarium remote delete jump-1:50051 alice --force"),
			all,
		},
	}
}

// isRemote reports whether the command is one of remote.
func isRemote(c *cli.Context) bool { return strings.HasPrefix(commandPath(c), "remote ") }

// remoteServer is the server that a remote command names; empty is none.
func remoteServer(c *cli.Context) string {
	if isListAll(c) {
		return strings.Join(c.StringSlice("servers"), ",")
	}
	return c.Args().First()
}

// isListAll reports whether the command is about every server where it names none.
func isListAll(c *cli.Context) bool { return commandPath(c) == "remote list-all" }
