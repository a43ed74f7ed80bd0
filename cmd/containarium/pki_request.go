package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/pki"
)

func pkiRequestCommand() *cli.Command {
	return &cli.Command{
		Name:      "request",
		Usage:     "make a key here, and a request for the CA to sign",
		ArgsUsage: "NAME",
		Description: describe(`For machines that make their own key, which never leaves them: writes tls.key and
the request tls.csr. The CA's machine answers the request with the certificate
(containarium pki sign). Needs no CA here and overwrites nothing.`,
			"containarium pki request ops-laptop --out ~/.config/containarium",
			"containarium pki request jump-1 --server --san jump-1.example.org --out /etc/containarium/tls",
			"containarium pki request ops-laptop --out - > tls.csr"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "server", Usage: "ask for a server's certificate", DisableDefaultText: true},
			&cli.StringSliceFlag{Name: "san", Usage: "a DNS `NAME` or IP address that clients dial; for a server, at least one"},
			algorithmFlag("of the key", string(pki.P256)),
			&cli.StringFlag{Name: "out", Usage: "the `DIRECTORY` of the files; - prints the request and has only the key in a file", DefaultText: "NAME", TakesFile: true},
		},
		Action: pkiRequest,
	}
}

// requestView is what pki request prints as a document.
type requestView struct {
	Name string   `json:"name"`
	Kind pki.Kind `json:"kind"`
	Key  string   `json:"key"`
	// CSR is the file, absent where Request has its text.
	CSR     string `json:"csr,omitempty"`
	Request string `json:"request,omitempty"`
}

func pkiRequest(c *cli.Context) error {
	name, err := leafName(c)
	if err != nil {
		return err
	}
	algorithm, err := algorithmOf(c)
	if err != nil {
		return err
	}
	kind, dir := kindAsked(c), c.String("out")
	printed := dir == standard
	if dir == "" || printed {
		dir = name
	}
	key, csr := filepath.Join(dir, "tls.key"), filepath.Join(dir, "tls.csr")
	files := []string{key, csr}
	if printed {
		files = files[:1]
	}
	for _, file := range files {
		if _, err := os.Lstat(file); err == nil {
			return pkiFailed(c, name, fmt.Errorf("%s %w, and nothing was changed", file, errFileExists))
		}
	}
	request, secret, err := pki.NewRequest(name, kind, sansOf(c), algorithm, nil)
	if err != nil {
		return refusedRequest(c, name, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return pkiFailed(c, name, err)
	}
	if err := newFile(key, secret, 0o600); err != nil {
		return pkiFailed(c, name, err)
	}
	if !printed {
		if err := newFile(csr, request, 0o644); err != nil {
			return pkiFailed(c, name, errors.Join(err, os.Remove(key)))
		}
	}
	format, err := formatOf(c)
	if err != nil {
		return err
	}
	t, server := terminalOf(c), ""
	if kind == pki.Server {
		server = " --server"
	}
	switch {
	case isDocument(format) && printed:
		return showValue(c, requestView{name, kind, key, "", string(request)}, nil)
	case isDocument(format):
		return showValue(c, requestView{name, kind, key, csr, ""}, nil)
	case printed:
		t.notef("the key is in %s; the answer of containarium pki sign%s belongs beside it, as tls.crt", key, server)
		return t.writeOutput(standard, request, 0, false)
	}
	lines := []string{
		fmt.Sprintf("%s: a request for a %s certificate", name, kind),
		"  request      " + csr,
		"  private key  " + key,
		"The key stays here. On the CA's machine, with the request:",
		"  containarium pki sign tls.csr" + server + " --out tls.crt",
		"  containarium pki bundle --out ca.crt",
		"and both answers belong here:",
		"  " + quoted(filepath.Join(dir, "tls.crt")) + " " + quoted(filepath.Join(dir, "ca.crt")),
	}
	if kind == pki.Client {
		lines = append(lines, "then, with the three files:",
			fmt.Sprintf("  containarium server add jump-1 HOST --cert %s --key %s --ca %s", quoted(filepath.Join(dir, "tls.crt")), quoted(key), quoted(filepath.Join(dir, "ca.crt"))))
	}
	return printLines(t, lines)
}
