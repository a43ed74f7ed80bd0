package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/daemon/config/strict"
	"github.com/footprintai/containarium/pki"
)

func pkiRevokeCommand() *cli.Command {
	return &cli.Command{
		Name:      "revoke",
		Usage:     "shut a certificate out before it expires",
		ArgsUsage: "NAME|SERIAL",
		Description: describe(`Revokes every certificate of a name that is still good, older ones too, or the one
with a serial number, and writes crl.pem. Where that is more than one it asks first.
A daemon that has the new crl.pem refuses the certificate and closes the
connections made with it. A revocation can not be taken back.`,
			"containarium pki revoke ops-laptop --reason key-compromise",
			"containarium pki revoke 5A3C... --reason superseded",
			"containarium pki revoke ci-7 --yes"),
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "reason", Usage: "`WHY`: key-compromise, affiliation-changed, superseded or cessation-of-operation", DefaultText: "none given"},
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask", DisableDefaultText: true},
		}, passphraseFlags()...),
		Action: pkiRevoke,
	}
}

// revokedView is what pki revoke prints as a document.
type revokedView struct {
	// Revoked is what is revoked now and was not before.
	Revoked []certificateView `json:"revoked"`
	CRL     string            `json:"crl"`
}

func pkiRevoke(c *cli.Context) error {
	args, err := operands(c, 1, 1)
	if err != nil {
		return err
	}
	var reason pki.Reason
	if c.IsSet("reason") {
		if reason, err = pki.ParseReason(c.String("reason")); err != nil {
			var known []string
			for _, r := range pki.Reasons() {
				known = append(known, hyphenated(r))
			}
			return usagef(c, "--reason: no reason %q: %s%s", c.String("reason"), strings.Join(known, ", "), strict.Suggest(c.String("reason"), known))
		}
	}
	ca, err := openSigner(c)
	if err != nil {
		return err
	}
	if err := confirmRevoke(c, ca, args[0]); err != nil {
		return err
	}
	entries, err := ca.Revoke(c.Context, pki.Revocation{NameOrSerial: args[0], Reason: reason, By: asker()})
	if err != nil {
		return pkiFailed(c, args[0], err)
	}
	view := revokedView{Revoked: []certificateView{}, CRL: filepath.Join(ca.Dir, "crl.pem")}
	now := time.Now()
	for _, e := range entries {
		v := viewEntry(e)
		v.State = stateOf(e, "", now)
		view.Revoked = append(view.Revoked, v)
	}
	return showValue(c, view, func(t *terminal) error {
		if len(entries) == 0 {
			return t.printf("%s: revoked before, nothing is left to do", args[0])
		}
		for _, e := range entries {
			if err := t.printf("%s: revoked the %s certificate %s, which would have expired %s", e.Name, e.Kind, e.Serial, pkiTime(e.NotAfter)); err != nil {
				return err
			}
		}
		return printLines(t, crlText(ca.Dir))
	})
}

// crlText says how the daemons get the list.
func crlText(dir string) []string {
	file := filepath.Join(dir, "crl.pem")
	return []string{
		"The revocation list is " + file + ". Daemons whose [server] crl is that file, or whose",
		"[tls] trust_from is a daemon that hosts this CA, follow it by themselves; for the others:",
		"  install -m 0644 " + quoted(file) + " /etc/containarium/tls/crl.pem",
	}
}

// confirmRevoke asks where more than one certificate would go. It fails closed:
// where nobody can be asked, nothing is revoked without --yes.
func confirmRevoke(c *cli.Context, ca *pki.CA, nameOrSerial string) error {
	entries, err := ca.Find(nameOrSerial)
	if err != nil {
		return pkiFailed(c, nameOrSerial, err)
	}
	now := time.Now()
	var good []pki.Entry
	for _, e := range entries {
		if !e.RevokedAt(now) && now.Before(e.NotAfter) {
			good = append(good, e)
		}
	}
	if len(good) < 2 || c.Bool("yes") {
		return nil
	}
	t := terminalOf(c)
	if !t.canAsk() {
		return usagef(c, "%s has %d certificates that are good: give --yes to revoke them all, or a serial number", nameOrSerial, len(good))
	}
	for _, e := range good {
		t.notef("%s  issued %s, expires %s", e.Serial, pkiTime(e.Issued), pkiTime(e.NotAfter))
	}
	yes, err := t.confirm(c.Context, fmt.Sprintf("%s has %d certificates that are good. Revoke them all?", nameOrSerial, len(good)))
	switch {
	case err != nil:
		return pkiFailed(c, nameOrSerial, err)
	case !yes:
		return pkiFailed(c, nameOrSerial, errors.New("nothing was revoked"))
	}
	return nil
}
