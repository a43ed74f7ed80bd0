package main

import (
	"crypto/x509"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/pki"
)

func pkiSignCommand() *cli.Command {
	return &cli.Command{
		Name:      "sign",
		Usage:     "sign a certificate request, whose owner keeps the key",
		ArgsUsage: "FILE",
		Description: describe(`Signs a PKCS#10 request in PEM, as containarium pki request or openssl req make it,
and prints the certificate with what leads to the root. Of the request only its
key, its Common Name and, with --server, its DNS names and IP addresses count.
Look at it first: containarium pki show FILE.`,
			"containarium pki sign tls.csr --out tls.crt",
			"containarium pki sign jump-1.csr --server --ttl 30d > jump-1.crt",
			"ssh laptop containarium pki request ops-laptop --out - | containarium pki sign - > tls.crt"),
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "server", Usage: "make a server's certificate", DisableDefaultText: true},
			ttlFlag(pki.FormatTTL(pki.DefaultTTL) + ", or as long as the CA"),
			&cli.StringFlag{Name: "out", Usage: "write the certificate to `FILE`", DefaultText: "standard output", TakesFile: true},
		}, passphraseFlags()...),
		Action: pkiSign,
	}
}

func pkiSign(c *cli.Context) error {
	args, err := operands(c, 1, 1)
	if err != nil {
		return err
	}
	request := pki.CSRRequest{Kind: kindAsked(c), By: asker()}
	if request.TTL, err = lifetime(c, "ttl"); err != nil {
		return err
	}
	if request.CSR, err = terminalOf(c).readInput(args[0], maxRequest); err != nil {
		return pkiFailed(c, args[0], err)
	}
	csr, err := parseRequest(request.CSR)
	if err != nil {
		return pkiFailed(c, args[0], fmt.Errorf("%s %w", inputName(args[0]), err))
	}
	return sign(c, request, csr, nil)
}

// sign signs a request and writes the certificate where --out says. What is
// said beside it goes to standard error.
func sign(c *cli.Context, request pki.CSRRequest, csr *x509.CertificateRequest, role *string) error {
	out := c.String("out")
	if out == "" {
		out = standard
	}
	format, err := formatOf(c)
	if err != nil {
		return err
	}
	if err := checkNew(out); err != nil {
		return pkiFailed(c, csr.Subject.CommonName, err)
	}
	ca, err := openSigner(c)
	if err != nil {
		return err
	}
	issued, err := ca.Sign(c.Context, request)
	if err != nil {
		return pkiFailed(c, csr.Subject.CommonName, err)
	}
	t := terminalOf(c)
	if out != standard || isTable(format) {
		if err := t.writeOutput(out, issued.Chain, 0o644, false); err != nil {
			return pkiFailed(c, issued.Name, fmt.Errorf("%s %s is in the journal, but nobody has it: %w", issued.Name, issued.Serial, err))
		}
	}
	if isDocument(format) {
		view := viewOfIssued(issued)
		view.Role = role
		if out != standard {
			view.File = out
		}
		return showValue(c, view, nil)
	}
	t.notef("%s: %s certificate %s, expires %s (%s)", issued.Name, issued.Kind, issued.Serial, pkiTime(issued.NotAfter), remaining(issued.NotBefore, issued.NotAfter, time.Now()))
	if c.IsSet("csr") && issued.Kind == pki.Client {
		t.notef("%s", roleText(c, issued.Name, role))
	}
	if out != standard {
		t.notef("%s goes back to its owner as tls.crt, beside tls.key and the ca.crt that containarium pki bundle%s prints", out, pkiFlag(c, ca.Dir))
	}
	return nil
}
