package main

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/pki"
	"github.com/footprintai/containarium/pki/live"
)

func pkiRenewCommand() *cli.Command {
	return &cli.Command{
		Name:      "renew",
		Usage:     "get a new certificate for the same key",
		ArgsUsage: "[NAME]",
		Description: describe(`Without NAME it renews the certificate that --cert, --key and --ca name, else that of
the default server, from a daemon that hosts the CA (--server), and brings ca.crt
and crl.pem beside it up to date. With NAME it works on the CA's machine, on the
files of that name. Either way the key, the name, the kind and the lifetime stay,
and the old certificate is good until it expires.

--due does nothing until two thirds of the lifetime are over: for timers. --daemon
stays and does that for ever, with some jitter, and tries again in growing intervals
where it fails. --hook COMMAND is run by sh -c after each renewal, with the files in
CONTAINARIUM_CERT, CONTAINARIUM_KEY, CONTAINARIUM_CA and CONTAINARIUM_CRL; where it
fails it is run again, at the next call too.`,
			"containarium pki renew",
			"containarium pki renew --due --server jump-1 --hook 'systemctl reload nginx'",
			"containarium pki renew --daemon --dir /etc/containarium/tls",
			"containarium pki renew ops-laptop"),
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "ttl", Usage: "with NAME: how `LONG` the new one is valid", DefaultText: "as long as the old one was"},
			&cli.BoolFlag{Name: "due", Usage: "only past two thirds of the lifetime", DisableDefaultText: true},
			&cli.BoolFlag{Name: "daemon", Usage: "stay, and renew whenever it is due", DisableDefaultText: true},
			&cli.StringFlag{Name: "dir", Usage: "renew tls.crt in this `DIRECTORY`, a server's of the same name as the client that calls", TakesFile: true},
			&cli.StringFlag{Name: "hook", Usage: "a `COMMAND` to run after a renewal"},
		}, passphraseFlags()...),
		Action: pkiRenew,
	}
}

// due reports whether two thirds of a lifetime are over.
func due(notBefore, notAfter, now time.Time) bool {
	return !now.Before(dueAt(notBefore, notAfter))
}

func dueAt(notBefore, notAfter time.Time) time.Time {
	return notBefore.Add(notAfter.Sub(notBefore) / 3 * 2)
}

func pkiRenew(c *cli.Context) error {
	args, err := operands(c, 0, 1)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		for _, flag := range []string{"ttl", "passphrase-file", "passphrase-fd"} {
			if c.IsSet(flag) {
				return usagef(c, "--%s is for a NAME, on the CA's machine", flag)
			}
		}
		return renewOverNetwork(c)
	}
	for _, flag := range []string{"daemon", "hook", "dir"} {
		if c.IsSet(flag) {
			return usagef(c, "--%s is for the owner of a certificate: without NAME", flag)
		}
	}
	return renewHere(c)
}

// renewHere renews the files of a name in the CA's directory.
func renewHere(c *cli.Context) error {
	name, err := leafName(c)
	if err != nil {
		return err
	}
	local := pki.Local{Name: name, By: asker()}
	if local.TTL, err = lifetime(c, "ttl"); err != nil {
		return err
	}
	ca, err := openSigner(c)
	if err != nil {
		return err
	}
	if c.Bool("due") {
		chain, err := live.ReadCertificates(ca.Files(name).Cert)
		if err != nil {
			return pkiFailed(c, name, noFiles(ca, name, err))
		}
		if !due(chain[0].NotBefore, chain[0].NotAfter, time.Now()) {
			return nothingDue(c, viewCertificate(chain[0], ca.Files(name).Cert))
		}
	}
	issued, err := ca.Reissue(c.Context, local)
	if err != nil {
		return refusedRequest(c, name, err)
	}
	view := renewedView{Renewed: true, Certificate: viewOfIssued(issued).certificateView}
	return showValue(c, view, func(t *terminal) error {
		return printLines(t, append([]string{
			fmt.Sprintf("%s: %s certificate %s, for the same key", issued.Name, issued.Kind, issued.Serial),
			fmt.Sprintf("  expires      %s (%s)", pkiTime(issued.NotAfter), remaining(issued.NotBefore, issued.NotAfter, time.Now())),
		}, installText(issued.Kind, filepath.Dir(issued.Files.Cert))...))
	})
}

// renewedView is what pki renew prints as a document.
type renewedView struct {
	// Renewed is false where nothing was due.
	Renewed     bool            `json:"renewed"`
	Certificate certificateView `json:"certificate"`
}

func nothingDue(c *cli.Context, v certificateView) error {
	return showValue(c, renewedView{Certificate: v}, func(t *terminal) error {
		return t.printf("%s: nothing to do before %s; %s expires %s", v.Name, pkiTime(dueAt(v.NotBefore, v.NotAfter)), v.File, pkiTime(v.NotAfter))
	})
}
