package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/pki"
	"github.com/footprintai/containarium/pki/identity"
)

func pkiCommand() *cli.Command {
	return &cli.Command{
		Name:  "pki",
		Usage: "make certificates: the CA of your servers and users",
		Description: describe(`Works on the CA's directory; only renew without a NAME calls a server. Whoever
can read the directory can be anybody: keep it on one machine that you trust, and
a copy of it offline. Wherever a FILE is read or written, - is standard input or
output.`,
			"containarium pki init",
			"containarium pki issue jump-1 --server --san jump-1.example.org --san 192.0.2.1",
			"containarium pki issue ops-laptop",
			"containarium pki ls",
			"containarium pki revoke ops-laptop --reason key-compromise"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "pki-dir", EnvVars: []string{"CONTAINARIUM_PKI"}, Usage: "the CA's `DIRECTORY`", DefaultText: "/etc/containarium/pki for root, else ~/.local/share/containarium/pki", TakesFile: true},
		},
		Subcommands: []*cli.Command{
			pkiInitCommand(), pkiIssueCommand(), pkiSignCommand(), pkiRequestCommand(),
			pkiRenewCommand(), pkiRotateCommand(), pkiRevokeCommand(),
			pkiLsCommand(), pkiShowCommand(), pkiCRLCommand(), pkiBundleCommand(),
			pkiExportCommand(), pkiCheckCommand(),
		},
	}
}

// pkiDir is the directory that --pki-dir or the environment names, or the
// default.
func pkiDir(c *cli.Context) (string, error) {
	if dir := c.String("pki-dir"); dir != "" {
		return filepath.Abs(dir)
	}
	if os.Geteuid() == 0 {
		return "/etc/containarium/pki", nil
	}
	// XDG Base Directory Specification: a relative path does not count.
	if data := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(data) {
		return filepath.Join(data, "containarium", "pki"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", usagef(c, "no home directory: give --pki-dir")
	}
	return filepath.Join(home, ".local", "share", "containarium", "pki"), nil
}

// openPKI opens the CA. Errors are failures of the command.
func openPKI(c *cli.Context) (*pki.CA, error) {
	dir, err := pkiDir(c)
	if err != nil {
		return nil, err
	}
	ca, err := pki.Open(dir)
	if err != nil {
		return nil, pkiFailed(c, "", err)
	}
	return ca, nil
}

// openSigner opens the CA for a command that signs: one with passphraseFlags.
func openSigner(c *cli.Context) (*pki.CA, error) {
	passphrase, err := givenSecret(c, "passphrase")
	if err != nil {
		return nil, err
	}
	ca, err := openPKI(c)
	if err != nil {
		return nil, err
	}
	ca.Passphrase = passphraseOf(c.Context, c, passphrase)
	return ca, nil
}

// pkiFailed is a failure on the CA's directory: the error says itself what it was
// about. It is for the hints.
func pkiFailed(c *cli.Context, name string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return err
	}
	return &failure{what: strings.TrimSpace(commandPath(c) + " " + name), user: name, local: true, err: err}
}

// noFiles says of a name that it has no files in the CA's directory, and whether
// the CA knows it; err is why they can not be read, and stays if they are there.
func noFiles(ca *pki.CA, name string, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	why := pki.ErrNotFound
	if entries, err := ca.Find(name); err == nil && len(entries) > 0 {
		why = pki.ErrElsewhere
	}
	return &saying{fmt.Sprintf("%s has no key and certificate in %s", name, filepath.Dir(ca.Files(name).Cert)), why}
}

// asker is who the CA's journal says has asked for what is done here.
func asker() string {
	name := fmt.Sprintf("uid %d", os.Geteuid())
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return name + "@" + host
}

// lifetime is the value of a flag that takes a lifetime, 0 where it is not given.
func lifetime(c *cli.Context, flag string) (time.Duration, error) {
	if !c.IsSet(flag) {
		return 0, nil
	}
	ttl, err := pki.ParseTTL(c.String(flag))
	switch {
	case err != nil:
		return 0, usagef(c, "--%s: %s", flag, err)
	case ttl <= 0: // 0 would be taken for the default
		return 0, usagef(c, "--%s: a lifetime of nothing", flag)
	}
	return ttl, nil
}

// algorithmFlag declares --algorithm.
func algorithmFlag(what, otherwise string) cli.Flag {
	return &cli.StringFlag{Name: "algorithm", Usage: "the `KIND` " + what + ": ecdsa-p256, ecdsa-p384 or ed25519 (which no browser imports)", DefaultText: otherwise}
}

func algorithmOf(c *cli.Context) (pki.Algorithm, error) {
	if !c.IsSet("algorithm") {
		return "", nil
	}
	algorithm, err := pki.ParseAlgorithm(c.String("algorithm"))
	if err != nil {
		return "", usagef(c, "--algorithm: %s", err)
	}
	return algorithm, nil
}

// ttlFlag declares --ttl of what makes certificates.
func ttlFlag(otherwise string) cli.Flag {
	return &cli.StringFlag{Name: "ttl", Usage: fmt.Sprintf("how `LONG` it is valid, %s to %s, as 90d or 12h", pki.FormatTTL(pki.MinTTL), pki.FormatTTL(pki.MaxTTL)), DefaultText: otherwise}
}

// leafName is the argument of a command that takes the Common Name of a leaf.
func leafName(c *cli.Context) (string, error) {
	args, err := operands(c, 1, 1)
	if err != nil {
		return "", err
	}
	if err := identity.CheckCommonName(args[0]); err != nil {
		return "", usagef(c, "%s", err)
	}
	return args[0], nil
}

// pkiFlag is what the commands that are printed need behind them to mean the same
// CA.
func pkiFlag(c *cli.Context, dir string) string {
	if os.Getenv("CONTAINARIUM_PKI") != "" || c.String("pki-dir") == "" {
		return ""
	}
	return " --pki-dir " + quoted(dir)
}

// pkiTime prints an instant of a certificate.
func pkiTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// remaining says how long a certificate is still good.
func remaining(notBefore, notAfter, now time.Time) string {
	switch {
	case now.After(notAfter):
		return "expired"
	case now.Before(notBefore):
		return "not yet valid"
	}
	return "in " + span(notAfter.Sub(now).Round(time.Minute)) // 90d just after it was made, not 89d
}

// quoted makes a path one word of a shell command.
func quoted(path string) string {
	plain := func(r rune) bool {
		return r == '/' || r == '.' || r == '_' || r == '-' || r == '@' || r == '+' || r == ',' || r == ':' || r == '=' ||
			'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
	}
	if path != "" && !strings.ContainsFunc(path, func(r rune) bool { return !plain(r) }) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
