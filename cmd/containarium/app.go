package main

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// newApp declares the command line. permute must order its arguments.
func newApp(t *terminal) *cli.App {
	app := &cli.App{
		Name:  "containarium",
		Usage: "a system container for each user, on any number of jump servers",
		Description: describe(`Every call proves who you are by a client certificate. Name the servers once
(containarium server add --help); after that no flags are needed. Global options
may stand anywhere. With -o json the daemon's answer is printed in the JSON form of
protobuf; a field that is missing there is unknown. Exit status: 0 fine, 1 failed,
2 wrong usage, 3 some servers failed, 4 denied, 130 interrupted.`,
			"containarium create alice --ssh-key alice.pub --cpu 2 --memory 4GiB",
			"containarium ls",
			"containarium info alice -o json --server jump-2:50051"),
		Commands: []*cli.Command{
			createCommand(), lsCommand(), infoCommand(), setCommand(), rmCommand(),
			startCommand(), stopCommand(), restartCommand(),
			keyCommand(), snapshotCommand(), imageCommand(), watchCommand(), topCommand(), metricsCommand(),
			systemCommand(), whoamiCommand(), doctorCommand(), sshCommand(), sshConfigCommand(), serverCommand(), remoteCommand(), versionCommand(),
			pkiCommand(), policyCommand(), auditCommand(), daemonCommand(), initCommand(), completionCommand(), manCommand(),
		},
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "server", Aliases: []string{"s"}, EnvVars: []string{"CONTAINARIUM_SERVER"}, Usage: "the server to ask: a `NAME` or a group from the configuration, or HOST[:PORT]; several with commas between"},
			&cli.BoolFlag{Name: "all", Aliases: []string{"A"}, Usage: "ask every server of the configuration", DisableDefaultText: true},
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "change containers on several servers without a question", DisableDefaultText: true},
			&cli.StringFlag{Name: "cert", EnvVars: []string{"CONTAINARIUM_CERT"}, Usage: "client certificate, a PEM `FILE`", TakesFile: true},
			&cli.StringFlag{Name: "key", EnvVars: []string{"CONTAINARIUM_KEY"}, Usage: "its private key, a PEM `FILE`", TakesFile: true},
			&cli.StringFlag{Name: "ca", EnvVars: []string{"CONTAINARIUM_CA"}, Usage: "the CA of the server's certificate, a PEM `FILE`", TakesFile: true},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, EnvVars: []string{"CONTAINARIUM_OUTPUT"}, Value: "table", Usage: "`FORMAT` of the result: " + strings.Join(formats, ", ") + "; wide is a table with all columns, and so is csv"},
			&cli.BoolFlag{Name: "no-headers", Usage: "leave the headings of tables out", DisableDefaultText: true},
			&cli.DurationFlag{Name: "timeout", EnvVars: []string{"CONTAINARIUM_TIMEOUT"}, Usage: "how long a call may take, such as 90s; 0 is the command's own", DefaultText: "0"},
			&cli.StringFlag{Name: "config", EnvVars: []string{"CONTAINARIUM_CONFIG"}, Usage: "the configuration, a TOML `FILE`", DefaultText: "~/.config/containarium/config.toml", TakesFile: true},
			&cli.BoolFlag{Name: "version", Usage: "print the version", DisableDefaultText: true},
		},
		Before: func(c *cli.Context) (err error) {
			t.headless = c.Bool("no-headers")
			t.format, err = formatOf(c)
			return err
		},
		Action: func(c *cli.Context) error {
			if c.Bool("version") {
				return printVersion(c)
			}
			return cli.ShowAppHelp(c)
		},
		Reader:                    t.in,
		Writer:                    t.out,
		ErrWriter:                 t.err,
		Metadata:                  map[string]any{terminalKey: t},
		HideHelpCommand:           true,
		HideVersion:               true,
		DisableSliceFlagSeparator: true, // a label's value and a key's comment may have commas
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              onUsageError,
	}
	prepare(app.Commands)
	return app
}

// prepare sets what every command has in common. "help" is taken by permute
// alone: as a command of its own it would hide a user of that name.
func prepare(commands []*cli.Command) {
	for _, c := range commands {
		c.HideHelpCommand = true
		if c.Before == nil && len(c.Subcommands) == 0 {
			c.Before = checkFormat
		}
		if c.OnUsageError == nil {
			c.OnUsageError = onUsageError
		}
		prepare(c.Subcommands)
	}
}

func onUsageError(c *cli.Context, err error, _ bool) error {
	return usagef(c, "%s", strings.ReplaceAll(err.Error(), " -", " --"))
}

// describe joins the help text of a command and its examples.
func describe(text string, examples ...string) string {
	return strings.TrimSpace(text + "\n\nExamples:\n  " + strings.Join(examples, "\n  "))
}

// operands returns the arguments of a command of which there must be at least
// min and, where max is not 0, at most max.
func operands(c *cli.Context, min, max int) ([]string, error) {
	args := c.Args().Slice()
	if isRemote(c) && !isListAll(c) {
		if len(args) == 0 {
			return nil, usagef(c, "needs %s", c.Command.ArgsUsage)
		}
		args = args[1:] // globalServer has it
	}
	switch {
	case len(args) < min && c.Command.ArgsUsage != "":
		return nil, usagef(c, "needs %s", c.Command.ArgsUsage)
	case max == 0 && len(args) > 0 && min == 0:
		return nil, usagef(c, "takes no argument, got %q", args[0])
	case max > 0 && len(args) > max:
		return nil, usagef(c, "does not take %q", args[max])
	}
	return args, nil
}

// usernames returns arguments that are user names. The daemon knows the rule for
// them; what looks like a flag can only be a mistake.
func usernames(c *cli.Context, min, max int) ([]string, error) {
	args, err := operands(c, min, max)
	for _, arg := range args {
		if err == nil && (arg == "" || strings.HasPrefix(arg, "-")) {
			err = usagef(c, "%q is not a user name", arg)
		}
	}
	return args, err
}
