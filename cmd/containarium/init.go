package main

import (
	"time"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/daemon/config"
)

func initCommand() *cli.Command {
	return &cli.Command{
		Name:      "init",
		Usage:     "make this host a jump server",
		ArgsUsage: " ",
		Description: describe(`On a host with Incus it makes what the daemon needs, starts it and lists the
containers by it for the first time: a CA, the server's certificate with the host's
names and addresses, the configuration, a policy, a certificate and a servers file
entry for the administrator, and what sshd refuses to the users' accounts. It never
overwrites: what is there is kept, and named where it is not what was asked for; run
again it goes on where it failed, or changes nothing. A config.toml that is there is
gone by.

It asks on a terminal. --yes takes the defaults and what the flags say, and so does
--preseed FILE, a TOML file with the flags' names as keys; flags win over it. It does
not set Incus up: incus admin init --minimal does.

A host of a fleet that has a CA joins it: --csr FILE makes the key and a request, and
--cert FILE --ca FILE finishes with what the CA's machine made of it. With
--trust-from and --client-cert as well it gets renewals, roots and revocation lists
by itself, from the daemon that hosts the CA; otherwise all three have to be brought
in time.

--undo removes what init made. What was changed since is kept and named, and so are
the audit log, containers and accounts, which init did not make. A CA that has issued
certificates to others is kept, too: whoever loses it can renew, revoke and issue
nothing, and every server and user of the fleet needs a new certificate of another
CA. --remove-ca removes it all the same, and a terminal is asked.

With -o json: dryRun, steps with step, state (make, made, kept, differs, skipped,
remove, removed, gone), path and detail, and next, the commands to go on with.`,
			"containarium init",
			"containarium init --yes --san jump-1.example.org --dry-run",
			"containarium init --preseed jump-1.toml",
			"containarium init --csr jump-2.csr --san jump-2.example.org",
			"containarium init --cert jump-2.crt --ca ca.crt --client-cert jump-2-client.crt --trust-from jump-1.example.org:50051",
			"containarium init --undo --dry-run"),
		Flags: append(append(answerFlags(), passphraseFlags()...),
			&cli.StringFlag{Name: "config", Value: defaultDaemonConfig, Usage: "the daemon's configuration, a TOML `FILE`; the CA and the other files are beside it", TakesFile: true},
			&cli.StringFlag{Name: "preseed", Usage: "take the answers from a TOML `FILE`, and ask nothing", TakesFile: true},
			&cli.BoolFlag{Name: "dry-run", Usage: "show what would be done, and do nothing", DisableDefaultText: true},
			&cli.BoolFlag{Name: "undo", Usage: "remove what init made", DisableDefaultText: true},
			&cli.BoolFlag{Name: "remove-ca", Usage: "with --undo: remove also a CA that has issued certificates to others", DisableDefaultText: true},
		),
		Action: initHost,
	}
}

// host is the host that init works on.
type host struct {
	c *cli.Context
	// path is the daemon's configuration.
	path    string
	record  *record
	answers answers
	// config is what there is, or else what text, which is to be written, means.
	config *config.Config
	text   []byte
	now    time.Time
	// bridge is the network that the Incus profile gives to containers.
	bridge string
}

func initHost(c *cli.Context) error {
	if _, err := operands(c, 0, 0); err != nil {
		return err
	}
	h, err := newHost(c)
	if err != nil {
		return err
	}
	if c.Bool("undo") {
		return h.undo()
	}
	if c.Bool("remove-ca") {
		return usagef(c, "--remove-ca is for --undo")
	}
	if h.answers, err = answersOf(c, h.record); err != nil {
		return err
	}
	if err := h.readConfig(); err != nil {
		return err
	}
	if err := h.checkIncus(); err != nil {
		return err
	}
	return h.make()
}
