package main

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/pki"
)

func pkiInitCommand() *cli.Command {
	return &cli.Command{
		Name:      "init",
		Usage:     "make a CA",
		ArgsUsage: " ",
		Description: describe(`Makes a root and an intermediate certificate with their keys in a new directory.
Where there is a CA already it fails and changes nothing. With a passphrase both
keys are encrypted, and every command that signs needs it; nothing can bring a
lost one back.`,
			"containarium pki init",
			"containarium pki init --passphrase",
			"containarium pki init --pki-dir ~/ca --organization Acme --passphrase-file ~/ca.pass"),
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "organization", Usage: "the first words of the CA's `NAME`", Value: "Containarium"},
			algorithmFlag("of the CA's two keys", string(pki.P256)),
			&cli.BoolFlag{Name: "passphrase", Usage: "encrypt the keys; the terminal asks for the passphrase twice", DisableDefaultText: true},
		}, passphraseFlags()...),
		Action: pkiInit,
	}
}

func pkiInit(c *cli.Context) error {
	if _, err := operands(c, 0, 0); err != nil {
		return err
	}
	algorithm, err := algorithmOf(c)
	if err != nil {
		return err
	}
	dir, err := pkiDir(c)
	if err != nil {
		return err
	}
	// Before anybody types a passphrase for nothing. Init looks again.
	if _, err := pki.Open(dir); err == nil {
		return pkiFailed(c, "", fmt.Errorf("a CA in %s %w, and nothing was changed", dir, pki.ErrExists))
	}
	passphrase, err := givenSecret(c, "passphrase")
	if err == nil && passphrase == nil && c.Bool("passphrase") {
		passphrase, err = newSecret(c, "passphrase", "a passphrase for the CA's keys")
	}
	if err != nil {
		return err
	}
	ca, err := pki.Init(c.Context, dir, pki.Options{Organization: c.String("organization"), Passphrase: passphrase, Algorithm: algorithm})
	if err != nil {
		return pkiFailed(c, "", err)
	}
	view := struct {
		Dir          string          `json:"dir"`
		Root         certificateView `json:"root"`
		Intermediate certificateView `json:"intermediate"`
		Encrypted    bool            `json:"encrypted"`
	}{ca.Dir, viewCertificate(ca.Root, ""), viewCertificate(ca.Intermediate, ""), passphrase != nil}
	return showValue(c, view, func(t *terminal) error {
		now, apart := time.Now(), ""
		if passphrase != nil {
			apart = ", and the passphrase apart from it"
		}
		return firstError(
			t.printf("made a CA in %s", ca.Dir),
			t.printf("  %s, expires %s (%s)", ca.Root.Subject.CommonName, pkiTime(ca.Root.NotAfter), remaining(ca.Root.NotBefore, ca.Root.NotAfter, now)),
			t.printf("  SHA-256 fingerprint %s", view.Root.SHA256),
			t.printf("Keep a copy of the directory offline%s: without its keys no certificate can be made.", apart),
			t.printf("Next, a certificate for a server and one for you:"),
			t.printf("  containarium pki issue jump-1 --server --san HOST%s", pkiFlag(c, ca.Dir)),
			t.printf("  containarium pki issue ops-laptop%s", pkiFlag(c, ca.Dir)),
		)
	})
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
