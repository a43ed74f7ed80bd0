package main

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/pki"
	"github.com/footprintai/containarium/pki/live"
)

func pkiExportCommand() *cli.Command {
	return &cli.Command{
		Name:      "export",
		Usage:     "pack a key and its certificate for a browser",
		ArgsUsage: "[NAME]",
		Description: describe(`Writes a PKCS#12 file, which browsers, NSS and OpenSSL 3 import, of the files of NAME
in the CA's directory, or without NAME of --cert, --key and --ca. The terminal asks
for a new password twice. The file holds the private key: whoever has it and the
password is NAME.`,
			"containarium pki export ops-laptop --p12 ops-laptop.p12",
			"containarium pki export --cert tls.crt --key tls.key --ca ca.crt --p12 me.p12 --password-file pass",
			"pk12util -d sql:$HOME/.pki/nssdb -i ops-laptop.p12"),
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "p12", Usage: "the `FILE` to write", TakesFile: true},
			&cli.BoolFlag{Name: "force", Usage: "write it in place of what is there", DisableDefaultText: true},
		}, passwordFlags()...),
		Action: pkiExport,
	}
}

func pkiExport(c *cli.Context) error {
	args, err := operands(c, 0, 1)
	if err != nil {
		return err
	}
	if c.String("p12") == "" {
		return usagef(c, "needs --p12 FILE")
	}
	var files live.Files
	name := ""
	if len(args) == 1 {
		ca, err := openPKI(c)
		if err != nil {
			return err
		}
		if name, err = leafName(c); err != nil {
			return err
		}
		files = ca.Files(name)
		if _, err := os.Stat(files.Cert); err != nil {
			return pkiFailed(c, name, noFiles(ca, name, err))
		}
	} else if files, err = givenFiles(c); err != nil {
		return err
	}
	password, err := p12Password(c)
	if err != nil {
		return err
	}
	if err := exportP12(terminalOf(c), files, c.String("p12"), password, c.Bool("force")); err != nil {
		return pkiFailed(c, name, err)
	}
	if out := c.String("p12"); out != standard {
		terminalOf(c).notef("wrote %s; it holds the private key: delete it once it is imported", out)
	}
	return nil
}

// givenFiles are the files that --cert, --key and --ca or the environment name.
func givenFiles(c *cli.Context) (live.Files, error) {
	files := live.Files{Cert: globalString(c, "cert"), Key: globalString(c, "key"), CA: globalString(c, "ca")}
	if files.Cert == "" || files.Key == "" || files.CA == "" {
		return live.Files{}, usagef(c, "needs NAME, or --cert, --key and --ca")
	}
	return files, nil
}

// p12Password returns the password of the file that --p12 names, nil without
// --p12. A file that must not be overwritten is refused before anybody is asked.
func p12Password(c *cli.Context) ([]byte, error) {
	if !c.IsSet("p12") {
		if c.IsSet("password-file") || c.IsSet("password-fd") {
			return nil, usagef(c, "a password is for --p12")
		}
		return nil, nil
	}
	if !c.Bool("force") {
		if err := checkNew(c.String("p12")); err != nil {
			return nil, pkiFailed(c, "", err)
		}
	}
	return newSecret(c, "password", "a password for "+inputName(c.String("p12")))
}

// exportP12 packs a key pair. It fails closed: files that others could have read
// or changed, or that do not belong together, are refused.
func exportP12(t *terminal, files live.Files, out string, password []byte, replace bool) error {
	chain, err := live.ReadCertificates(files.Cert)
	if err != nil {
		return err
	}
	roots, err := live.ReadCertificates(files.CA)
	if err != nil {
		return err
	}
	key, err := readPair(files, chain)
	if err != nil {
		return err
	}
	data, err := pki.ExportP12(chain, key, roots, string(password))
	if err != nil {
		return err
	}
	return t.writeOutput(out, data, 0o600, replace)
}

// readPair reads the key of a certificate. Errors name the file alone.
func readPair(files live.Files, chain []*x509.Certificate) (crypto.Signer, error) {
	secret, err := live.ReadKey(files.Key)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(encodeChain(chain), secret)
	if err != nil {
		return nil, fmt.Errorf("%s is not the key of the certificate in %s", files.Key, files.Cert)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, errors.New(files.Key + " holds a key that can not sign")
	}
	return key, nil
}
