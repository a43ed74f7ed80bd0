package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/daemon/config"
	"github.com/footprintai/containarium/daemon/config/strict"
	"github.com/footprintai/containarium/pki"
	"github.com/footprintai/containarium/pki/identity"
)

// answers are what init is told: by flags, by a preseed file, whose keys are the
// flags' names, or on the terminal.
type answers struct {
	Name       string   `toml:"name"`
	SANs       []string `toml:"san"`
	Address    string   `toml:"address"`
	Admin      string   `toml:"admin"`
	NoStart    bool     `toml:"no-start"`
	Socket     string   `toml:"incus-socket"`
	Project    string   `toml:"incus-project"`
	SSHDir     string   `toml:"sshd-dir"`
	CSR        string   `toml:"csr"`
	Cert       string   `toml:"cert"`
	CA         string   `toml:"ca"`
	CRL        string   `toml:"crl"`
	ClientCert string   `toml:"client-cert"`
	TrustFrom  string   `toml:"trust-from"`
}

const defaultSSHDir = "/etc/ssh/sshd_config.d"

func answerFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "name", Usage: "the server's `NAME`, in its certificate and in the servers file", DefaultText: "the host's"},
		&cli.StringSliceFlag{Name: "san", Usage: "a DNS `NAME` or IP address that clients dial, beside the host's own names and addresses"},
		&cli.StringFlag{Name: "address", Usage: "where the daemon listens, `HOST:PORT`", DefaultText: config.Defaults().Server.Address},
		&cli.StringFlag{Name: "admin", Usage: "the `NAME` in the administrator's certificate, which the policy makes an admin", DefaultText: "admin"},
		&cli.BoolFlag{Name: "no-start", Usage: "make the files alone: no Incus is needed, and systemd is left alone", DisableDefaultText: true},
		&cli.StringFlag{Name: "incus-socket", EnvVars: []string{"INCUS_SOCKET"}, Usage: "the unix socket of Incus, a `FILE`", DefaultText: config.Defaults().Incus.Socket, TakesFile: true},
		&cli.StringFlag{Name: "incus-project", EnvVars: []string{"INCUS_PROJECT"}, Usage: "the Incus project that holds the containers, a `NAME`", DefaultText: config.Defaults().Incus.Project},
		&cli.StringFlag{Name: "sshd-dir", Usage: "the `DIRECTORY` from which sshd includes files", DefaultText: defaultSSHDir + ", or none with another --config", TakesFile: true},
		&cli.StringFlag{Name: "csr", Usage: "join a CA: make a key, write requests for it to `FILE` and beside it, and stop", TakesFile: true},
		&cli.StringFlag{Name: "cert", Usage: "finish the join with the server's certificate in `FILE`", TakesFile: true},
		&cli.StringFlag{Name: "ca", Usage: "with --cert: the roots of the CA, a `FILE`", TakesFile: true},
		&cli.StringFlag{Name: "crl", Usage: "with --cert: the revocation lists of the CA, a `FILE`", TakesFile: true},
		&cli.StringFlag{Name: "client-cert", Usage: "with --trust-from: the certificate that the client request got, a `FILE`", TakesFile: true},
		&cli.StringFlag{Name: "trust-from", Usage: "with --cert: the daemon that hosts the CA, `HOST:PORT`"},
	}
}

// answersOf fails closed: a preseed file with an unknown key is refused, and so is
// what can not be in a certificate.
func answersOf(c *cli.Context, r *record) (answers, error) {
	var a answers
	if file := c.String("preseed"); file != "" {
		data, err := strict.ReadFile(file)
		if err != nil {
			return a, fmt.Errorf("read the answers: %w", err)
		}
		if _, err := strict.Decode(file, data, &a); err != nil {
			return a, err
		}
	}
	for flag, value := range map[string]*string{
		"name": &a.Name, "address": &a.Address, "admin": &a.Admin, "incus-socket": &a.Socket, "incus-project": &a.Project, "sshd-dir": &a.SSHDir,
		"csr": &a.CSR, "cert": &a.Cert, "ca": &a.CA, "crl": &a.CRL, "client-cert": &a.ClientCert, "trust-from": &a.TrustFrom,
	} {
		if c.IsSet(flag) {
			*value = c.String(flag)
		}
	}
	if c.IsSet("san") {
		a.SANs = sansOf(c)
	}
	a.NoStart = a.NoStart || c.Bool("no-start")
	sshDir := defaultSSHDir
	if c.String("config") != defaultDaemonConfig {
		sshDir = "" // another daemon than the host's own has no say in its sshd
	}
	first := len(r.Made) == 0
	for _, d := range []struct {
		value          *string
		last, standard string
	}{{&a.Name, r.Name, shortName()}, {&a.Admin, r.Admin, "admin"}, {&a.SSHDir, "", sshDir}} {
		if *d.value == "" {
			*d.value = d.last
		}
		if *d.value == "" {
			*d.value = d.standard
		}
	}
	// What was answered once is not asked again.
	if first && !c.IsSet("preseed") && !root(c).Bool("yes") && !c.Bool("dry-run") && a.Cert == "" {
		if err := a.ask(c); err != nil {
			return a, err
		}
	}
	return a, a.check(c)
}

// ask asks for what no flag says; an empty answer takes the default.
func (a *answers) ask(c *cli.Context) error {
	t := terminalOf(c)
	if !t.canAsk() {
		return usagef(c, "there is no terminal to ask on: --yes takes the name %s, the host's names and addresses and the administrator %s, --preseed FILE says otherwise, --dry-run shows it", orNone(a.Name), a.Admin)
	}
	var err error
	question := func(flag, text, standard string) string {
		if err != nil || c.IsSet(flag) {
			return standard
		}
		var answer string
		if answer, err = t.askLine(c.Context, text, standard); answer == "" {
			return standard
		}
		return answer
	}
	a.Name = question("name", "the server's name", a.Name)
	sans := question("san", "names and addresses that clients dial, beside "+strings.Join(hostNames(c.Context, ""), ", "), strings.Join(a.SANs, ","))
	a.SANs = strings.FieldsFunc(sans, func(r rune) bool { return r == ',' || r == ' ' })
	if a.CSR == "" {
		a.Admin = question("admin", "the administrator's name", a.Admin)
		if !a.NoStart {
			start := strings.ToLower(question("no-start", "start the daemon now, and at every boot", "yes"))
			a.NoStart = start != "y" && start != "yes"
		}
	}
	return err
}

// askLine asks for a line; an empty one means the default.
func (t *terminal) askLine(ctx context.Context, question, standard string) (string, error) {
	if standard != "" {
		question += " [" + standard + "]"
	}
	return ask(ctx, t, question+": ", func(tty *os.File) (string, error) {
		line, err := bufio.NewReader(tty).ReadString('\n')
		return strings.TrimSpace(line), err
	})
}

func orNone(name string) string {
	if name == "" {
		return "that --name has to give"
	}
	return name
}

func (a *answers) check(c *cli.Context) error {
	if a.Name == "" {
		return usagef(c, "this host has no name for a certificate: give --name")
	}
	for what, name := range map[string]string{"name": a.Name, "admin": a.Admin} {
		if err := errors.Join(identity.CheckCommonName(name), client.CheckName(name)); err != nil {
			return usagef(c, "--%s: %s", what, strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
	if a.Name == a.Admin {
		return usagef(c, "--name and --admin: the server and the administrator are both %q", a.Name)
	}
	for _, name := range a.SANs {
		if err := pki.CheckName(name); err != nil {
			return usagef(c, "--san: %s", err)
		}
	}
	for flag, address := range map[string]string{"address": a.Address, "trust-from": a.TrustFrom} {
		_, port, err := net.SplitHostPort(address)
		if n, bad := strconv.ParseUint(port, 10, 16); address != "" && (err != nil || bad != nil || n == 0) {
			return usagef(c, "--%s: %q is not HOST:PORT", flag, address)
		}
	}
	switch {
	case a.CSR != "" && a.Cert != "":
		return usagef(c, "--csr and --cert exclude each other: the request comes first, the certificate when the CA's machine has made it")
	case (a.Cert != "") != (a.CA != ""):
		return usagef(c, "--cert and --ca go together: both come from the CA's machine")
	case a.Cert == "" && (a.CRL != "" || a.ClientCert != "" || a.TrustFrom != ""):
		return usagef(c, "--crl, --client-cert and --trust-from are for --cert")
	case (a.ClientCert != "") != (a.TrustFrom != ""):
		return usagef(c, "--client-cert and --trust-from go together")
	}
	// They are written into the configuration, and kept for undo.
	for _, path := range []*string{&a.Socket, &a.SSHDir, &a.CSR} {
		if *path != "" {
			absolute, err := filepath.Abs(*path)
			if err != nil {
				return err
			}
			*path = absolute
		}
	}
	return nil
}
