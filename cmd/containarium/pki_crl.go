package main

import (
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/pki"
)

func pkiCRLCommand() *cli.Command {
	return &cli.Command{
		Name:      "crl",
		Usage:     "write the revocation lists anew",
		ArgsUsage: " ",
		Description: describe(`Writes crl.pem, with one list for each issuer, also where nothing is revoked: a
daemon that has a crl.pem refuses everybody when it gets too old. With --due it is
written only when half its time is over or a revocation that lay ahead has come
due; a timer runs that every hour where no daemon hosts the CA.`,
			"containarium pki crl",
			"containarium pki crl --ttl 7d --out /etc/containarium/tls/crl.pem",
			"containarium pki crl --out - | openssl crl -noout -text",
			"containarium pki crl --due"),
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "ttl", Usage: "how `LONG` the lists are good, as 30d or 12h", DefaultText: pki.FormatTTL(pki.DefaultCRLTTL)},
			&cli.StringFlag{Name: "out", Usage: "write a copy to `FILE`, in place of what is there", TakesFile: true},
			&cli.BoolFlag{Name: "due", Usage: "only if it is time", DisableDefaultText: true},
		}, passphraseFlags()...),
		Action: pkiCRL,
	}
}

// crlsView is what pki crl prints as a document.
type crlsView struct {
	File string `json:"file"`
	// Written is false where nothing was due.
	Written bool `json:"written"`
	// Lists are empty with --due; pki show has them.
	Lists []crlView `json:"lists"`
}

// crlView is a list of one issuer.
type crlView struct {
	Issuer     string    `json:"issuer"`
	Number     string    `json:"number"`
	ThisUpdate time.Time `json:"thisUpdate"`
	NextUpdate time.Time `json:"nextUpdate"`
	Revoked    int       `json:"revoked"`
}

func pkiCRL(c *cli.Context) error {
	if _, err := operands(c, 0, 0); err != nil {
		return err
	}
	ttl, err := lifetime(c, "ttl")
	if err != nil {
		return err
	}
	if c.Bool("due") && ttl > 0 {
		return usagef(c, "--ttl does not go with --due, which keeps the time that the lists have")
	}
	format, err := formatOf(c)
	if err != nil {
		return err
	}
	if isDocument(format) && c.String("out") == standard {
		return usagef(c, "--out - and --output exclude each other: both are for standard output")
	}
	ca, err := openSigner(c)
	if err != nil {
		return err
	}
	t, file := terminalOf(c), filepath.Join(ca.Dir, "crl.pem")
	var lists []pki.CRL
	written := true
	if c.Bool("due") {
		written, err = ca.RefreshCRL(c.Context)
	} else {
		lists, err = ca.WriteCRL(c.Context, ttl)
	}
	if err != nil {
		return pkiFailed(c, "", err)
	}
	if out := c.String("out"); out != "" {
		data, err := ca.CRLs()
		if err == nil && data == nil {
			err = fmt.Errorf("%s is not there: containarium pki crl without --due writes it", file)
		}
		if err == nil {
			err = t.writeOutput(out, data, 0o644, true)
		}
		if err != nil {
			return pkiFailed(c, "", err)
		}
		if out == standard {
			return nil
		}
	}
	view := crlsView{File: file, Written: written, Lists: []crlView{}}
	for _, list := range lists {
		view.Lists = append(view.Lists, crlView{list.Issuer, numberText(list.Number), list.ThisUpdate, list.NextUpdate, list.Revoked})
	}
	return showValue(c, view, func(t *terminal) error {
		if !written {
			t.notef("nothing to do: %s is fresh", file)
			return nil
		}
		t.notef("wrote %s", file)
		if c.Bool("due") {
			return nil
		}
		rows := [][]string{{"ISSUER", "NUMBER", "NEXT UPDATE", "REVOKED"}}
		now := time.Now()
		for _, v := range view.Lists {
			rows = append(rows, []string{v.Issuer, v.Number, pkiTime(v.NextUpdate) + ", " + remaining(v.ThisUpdate, v.NextUpdate, now), strconv.Itoa(v.Revoked)})
		}
		return t.table(rows)
	})
}

func pkiBundleCommand() *cli.Command {
	return &cli.Command{
		Name:      "bundle",
		Usage:     "print the roots to trust",
		ArgsUsage: " ",
		Description: describe(`Prints the roots that daemons and clients have to trust, as their ca.crt; two of
them while the CA is rotated.`,
			"containarium pki bundle --out ca.crt",
			"containarium pki bundle | ssh jump-1 'cat > /etc/containarium/tls/ca.crt'"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Usage: "write to `FILE`, in place of what is there", DefaultText: "standard output", Value: standard, TakesFile: true},
		},
		Action: pkiBundle,
	}
}

func pkiBundle(c *cli.Context) error {
	if _, err := operands(c, 0, 0); err != nil {
		return err
	}
	ca, err := openPKI(c)
	if err != nil {
		return err
	}
	bundle, err := ca.Bundle()
	if err != nil {
		return pkiFailed(c, "", err)
	}
	out := c.String("out")
	format, err := formatOf(c)
	switch {
	case err != nil:
		return err
	case out != standard:
		if err := replaceFile(out, bundle, 0o644); err != nil {
			return pkiFailed(c, "", err)
		}
		terminalOf(c).notef("wrote %s", out)
		return nil
	case isDocument(format):
		return showValue(c, struct {
			Roots string `json:"roots"`
		}{string(bundle)}, nil)
	}
	return terminalOf(c).writeOutput(standard, bundle, 0, false)
}
