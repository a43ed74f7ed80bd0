package main

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/pki"
	"github.com/footprintai/containarium/pki/live"
)

func pkiShowCommand() *cli.Command {
	return &cli.Command{
		Name:      "show",
		Usage:     "show a certificate, a request or a revocation list",
		ArgsUsage: "NAME|SERIAL|FILE",
		Description: describe(`Shows the certificates of a name, the last issued first, the one with a serial
number, or all that a PEM file has: certificates, certificate requests,
revocation lists. What has a slash in it is a file, and so is what the CA does not
know. A document is always a list.`,
			"containarium pki show ops-laptop",
			"containarium pki show ./tls.crt",
			"containarium pki show - < tls.csr",
			"containarium pki show ops-laptop -o json | jq -r '.[0].notAfter'"),
		Action: pkiShow,
	}
}

// shown is one thing in a file: its document, and its lines for people.
type shown interface {
	fields(now time.Time) [][2]string
}

func pkiShow(c *cli.Context) error {
	args, err := operands(c, 1, 1)
	if err != nil {
		return err
	}
	var views []shown
	if args[0] == standard || strings.ContainsRune(args[0], filepath.Separator) {
		views, err = viewFile(terminalOf(c), args[0])
		err = pkiFailed(c, args[0], err)
	} else {
		views, err = viewFound(c, args[0])
	}
	if err != nil {
		return err
	}
	return showValue(c, views, func(t *terminal) error {
		now := time.Now()
		for i, view := range views {
			if i > 0 {
				if err := t.printf(""); err != nil {
					return err
				}
			}
			if err := printFields(t, view.fields(now)); err != nil {
				return err
			}
		}
		return nil
	})
}

// maxShown bounds what is read of a file to show, in bytes: a revocation list
// with 100,000 entries has some 5 MB.
const maxShown = 64 << 20

// viewFile shows everything in a PEM file. It fails closed: what it can not read
// is named, and nothing is shown; a private key is never parsed.
func viewFile(t *terminal, path string) ([]shown, error) {
	data, err := t.readInput(path, maxShown)
	if err != nil {
		return nil, err
	}
	var views []shown
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		view, err := viewBlock(block, path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", inputName(path), err)
		}
		views = append(views, view)
	}
	if len(views) == 0 {
		return nil, fmt.Errorf("%s holds no certificate", inputName(path))
	}
	return views, nil
}

// viewFound shows what the CA knows by that name or serial number, else a file of
// that name.
func viewFound(c *cli.Context, arg string) ([]shown, error) {
	ca, err := openPKI(c)
	var entries []pki.Entry
	if err == nil {
		entries, err = ca.List()
	}
	views := viewEntries(ca, entries, arg)
	if len(views) > 0 {
		return views, nil
	}
	if _, stat := os.Stat(arg); stat == nil {
		views, err = viewFile(terminalOf(c), arg)
		return views, pkiFailed(c, arg, err)
	} else if err == nil && !errors.Is(stat, fs.ErrNotExist) {
		err = stat
	}
	if err == nil {
		err = &saying{fmt.Sprintf("no certificate has the name or serial number %q, and no file is called that", arg), pki.ErrNotFound}
	}
	return nil, pkiFailed(c, arg, err)
}

// viewEntries shows the entries with that name, else with that serial number, as
// CA.Find does, with what only the whole journal tells.
func viewEntries(ca *pki.CA, entries []pki.Entry, nameOrSerial string) []shown {
	if len(entries) == 0 {
		return nil
	}
	found, err := ca.Find(nameOrSerial)
	if err != nil {
		return nil
	}
	replaced, now := replacements(entries), time.Now()
	var views []shown
	for _, e := range found {
		view := viewIssued(ca, e)
		view.addEntry(e)
		view.ReplacedBy = replaced[e.Serial]
		view.State = stateOf(e, view.ReplacedBy, now)
		views = append(views, view)
	}
	return views
}

// viewIssued looks for the certificate where it was written; by its fingerprint
// it knows whether it still is that one.
func viewIssued(ca *pki.CA, e pki.Entry) certificateView {
	var files []string
	switch e.Kind {
	case pki.Root:
		files, _ = filepath.Glob(filepath.Join(ca.Dir, "roots", "*.crt"))
	case pki.Intermediate:
		files, _ = filepath.Glob(filepath.Join(ca.Dir, "intermediates", "*.crt"))
	default:
		files = []string{ca.Files(e.Name).Cert}
	}
	for _, file := range files {
		certs, err := live.ReadCertificates(file)
		if err == nil && pki.Fingerprint(certs[0]) == e.SHA256 {
			return viewCertificate(certs[0], file)
		}
	}
	return viewEntry(e)
}

func (v certificateView) fields(now time.Time) [][2]string {
	kind := string(v.Kind)
	if kind == "" {
		kind = "foreign"
	}
	fields := [][2]string{
		{"name", v.Name},
		{"kind", kind},
		{"serial", v.Serial},
		{"begins", pkiTime(v.NotBefore)},
		{"expires", pkiTime(v.NotAfter) + " (" + remaining(v.NotBefore, v.NotAfter, now) + ")"},
		{"state", v.stateText(now)},
		{"names", strings.Join(v.SANs, ", ")},
		{"subject", v.Subject},
		{"issuer", v.Issuer},
		{"key", v.Key},
		{"SHA-256", v.SHA256},
		{"asked by", v.By},
		{"replaces", v.Replaces},
		{"file", v.File},
	}
	if v.ReplacedBy != "" {
		fields = append(fields, [2]string{"replaced", "by " + v.ReplacedBy})
	}
	return fields
}

// printFields prints what is not empty, names and values in two columns.
func printFields(t *terminal, fields [][2]string) error {
	for _, field := range fields {
		if field[1] == "" {
			continue
		}
		if err := t.printf("%-8s  %s", field[0], field[1]); err != nil {
			return err
		}
	}
	return nil
}
