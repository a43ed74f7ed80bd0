package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/pki"
	"github.com/footprintai/containarium/pki/identity"
	"github.com/footprintai/containarium/pki/live"
)

func pkiCheckCommand() *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "check the CA's directory, or the files of a server or user",
		ArgsUsage: " ",
		Description: describe(`Checks modes, chains, expiry, revocation lists and the clock, and says how to mend
what is wrong. It checks the CA's directory or, where --cert, --key, --ca or --crl is
given or there is no CA here, those files; what is not named is the default
server's. Exit status 1 where something is wrong; warnings are none.`,
			"containarium pki check",
			"containarium pki check --cert /etc/containarium/tls/tls.crt --key /etc/containarium/tls/tls.key --ca /etc/containarium/tls/ca.crt",
			"containarium pki check -o json | jq -r '.[] | select(.severity != \"ok\") | .mend'"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "crl", Usage: "the revocation lists, a PEM `FILE`", TakesFile: true},
		},
		Action: pkiCheck,
	}
}

// findingView is a finding as pki check prints it.
type findingView struct {
	Severity string `json:"severity"` // ok, warning or error
	What     string `json:"what"`
	Mend     string `json:"mend,omitempty"`
}

func pkiCheck(c *cli.Context) error {
	if _, err := operands(c, 0, 0); err != nil {
		return err
	}
	views, err := findings(c)
	if err != nil {
		return err
	}
	wrong := 0
	for _, v := range views {
		if v.Severity == pki.SeverityError {
			wrong++
		}
	}
	if err := showValue(c, views, func(t *terminal) error {
		for _, v := range views {
			if err := t.printf("%-8s %s", v.Severity, v.What); err != nil {
				return err
			}
			if v.Mend != "" {
				if err := t.printf("%-8s   %s", "", v.Mend); err != nil {
					return err
				}
			}
		}
		return nil
	}); err != nil || wrong == 0 {
		return err
	}
	if wrong == 1 {
		return errors.New("pki check: one thing is wrong")
	}
	return fmt.Errorf("pki check: %d things are wrong", wrong)
}

// findings checks the CA's directory or single files, as the flags say.
func findings(c *cli.Context) ([]findingView, error) {
	files := live.Files{Cert: globalString(c, "cert"), Key: globalString(c, "key"), CA: globalString(c, "ca"), CRL: c.String("crl")}
	// The environment says who calls the daemons, not what is to be checked.
	fromEnvironment := live.Files{Cert: os.Getenv("CONTAINARIUM_CERT"), Key: os.Getenv("CONTAINARIUM_KEY"), CA: os.Getenv("CONTAINARIUM_CA")}
	if files == fromEnvironment {
		ca, err := openPKI(c)
		if err == nil {
			views := []findingView{}
			for _, f := range ca.Check() {
				views = append(views, findingView{f.Severity, f.What, f.Mend})
			}
			return views, nil
		}
		if !errors.Is(err, pki.ErrNoCA) || c.String("pki-dir") != "" {
			return nil, err
		}
	}
	config, err := loadConfig(c)
	if err != nil {
		return nil, err
	}
	server, err := config.Resolve(globalServer(c))
	own := server.Files()
	if err != nil && (files.Cert == "" || files.Key == "" || files.CA == "") {
		return nil, usagef(c, "no server is known whose files these could be: give --cert, --key and --ca, or --pki-dir")
	}
	for _, f := range []struct {
		path      *string
		otherwise string
	}{{&files.Cert, own.Cert}, {&files.Key, own.Key}, {&files.CA, own.CA}} {
		if *f.path == "" {
			*f.path = f.otherwise
		}
	}
	if files.CRL == "" {
		files.CRL = crlBeside(files.CA)
	}
	return checkFiles(files, time.Now()), nil
}

// checkFiles looks at the files of one end of a connection.
func checkFiles(files live.Files, now time.Time) []findingView {
	chain, err := live.ReadCertificates(files.Cert)
	if err != nil {
		return []findingView{{pki.SeverityError, err.Error(), mendOf(err, "NAME")}}
	}
	leaf, use := chain[0], live.Client
	if pki.KindOf(leaf) == pki.Server {
		use = live.Server
	}
	name := mendName(leaf)
	// Check ends at the first thing that is wrong, so the lists come apart.
	views := []findingView{}
	if err := (live.Files{Cert: files.Cert, Key: files.Key, CA: files.CA}).Check(use, now); err != nil {
		views = append(views, findingView{pki.SeverityError, err.Error(), mendOf(err, name)})
	} else {
		views = append(views, findingView{pki.SeverityOK, fmt.Sprintf("%s is the %s certificate %s of %q, from a CA in %s, and %s is its key",
			files.Cert, use, identity.Serial(leaf), leaf.Subject.CommonName, files.CA, files.Key), ""})
		views = append(views, checkExpiry(files.Cert, leaf, now))
	}
	views = append(views, checkLists(files, use, name, now)...)
	return append(views, checkClock(files, now)...)
}

func checkExpiry(path string, leaf *x509.Certificate, now time.Time) findingView {
	text := fmt.Sprintf("%s expires %s (%s)", path, pkiTime(leaf.NotAfter), remaining(leaf.NotBefore, leaf.NotAfter, now))
	if due(leaf.NotBefore, leaf.NotAfter, now) {
		return findingView{pki.SeverityWarning, text + ": two thirds of its time are over", "containarium pki renew"}
	}
	return findingView{pki.SeverityOK, text, ""}
}

// checkLists looks at the revocation lists: whether they can be read, how old
// they are, and whether the certificate is on one.
func checkLists(files live.Files, use live.Use, name string, now time.Time) []findingView {
	mend := "on the CA's machine: containarium pki crl, then copy its crl.pem here"
	if use == live.Server {
		mend += " in time, again and again, or set trust_from in the daemon's config.toml: an old one shuts everybody out"
	}
	if _, err := os.Stat(files.CRL); files.CRL == "" || errors.Is(err, fs.ErrNotExist) {
		return []findingView{{pki.SeverityWarning, "there are no revocation lists at " + files.CRL + ": revoked certificates are not known here", mend}}
	}
	loaded, err := files.Load(use, now)
	if err != nil {
		return nil // said by Check
	}
	var views []findingView
	for _, problem := range loaded.CRLs.Problems(now) {
		views = append(views, findingView{pki.SeverityError, files.CRL + ": " + problem.Error(), mend})
	}
	for _, list := range loaded.CRLs.Lists(now) {
		if list.Problem == nil && now.Before(list.NextUpdate) {
			views = append(views, findingView{pki.SeverityOK, fmt.Sprintf("%s: list %s of %s, with %d revoked, is good until %s (%s)",
				files.CRL, numberText(list.Number), list.Issuer, list.Revoked, pkiTime(list.NextUpdate), remaining(list.ThisUpdate, list.NextUpdate, now)), ""})
		}
	}
	if err := files.Check(use, now); errors.Is(err, live.ErrRevoked) {
		views = append(views, findingView{pki.SeverityError, err.Error(), mendOf(err, name)})
	}
	return views
}

// clockSlack is how far a file's time may lie ahead of the clock: file servers
// have clocks of their own.
const clockSlack = 5 * time.Minute

// checkClock looks for signs that the clock went backwards.
func checkClock(files live.Files, now time.Time) []findingView {
	for _, path := range []string{files.Cert, files.Key, files.CA, files.CRL} {
		if info, err := os.Stat(path); err == nil && info.ModTime().After(now.Add(clockSlack)) {
			return []findingView{{pki.SeverityWarning, fmt.Sprintf("%s was written %s from now: the clock is behind, or was ahead", path, span(info.ModTime().Sub(now))),
				"set the clock: timedatectl set-ntp true"}}
		}
	}
	return []findingView{{pki.SeverityOK, "the clock says " + pkiTime(now) + ", later than all files", ""}}
}

// mendOf is what to do about what live.Files.Check says.
func mendOf(err error, name string) string {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, live.ErrWrongUse):
		return "on the CA's machine: containarium pki issue " + name
	case errors.Is(err, live.ErrExpired):
		return "on the CA's machine: containarium pki renew " + name
	case errors.Is(err, live.ErrRevoked):
		return "on the CA's machine: containarium pki issue " + name + " --force"
	case errors.Is(err, live.ErrNotYetValid):
		return "set the clocks of this machine and of the CA's machine: timedatectl set-ntp true"
	case errors.Is(err, live.ErrOtherCA):
		return "on the CA's machine: containarium pki bundle prints the ca.crt that goes with it"
	}
	return ""
}

// mendName is the name in a certificate, as an argument of a command.
func mendName(cert *x509.Certificate) string {
	if name := cert.Subject.CommonName; identity.CheckCommonName(name) == nil {
		return name
	}
	return "NAME"
}
