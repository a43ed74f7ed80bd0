package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/pki/guard"
)

// maxSecret bounds a passphrase, in bytes: what a terminal takes as one line is
// not much longer.
const maxSecret = 1024

// errNoPassphrase says that the CA's key is encrypted and nothing gives the
// passphrase.
var errNoPassphrase = errors.New("the CA's key is encrypted")

// secretFlags declare where a passphrase or password comes from, never the
// command line nor the environment: other processes see both. The terminal is
// asked where neither is given.
func secretFlags(name, what string) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: name + "-file", Usage: "read " + what + " from a `FILE` that only its owner can read; - is standard input", DefaultText: "the terminal asks", TakesFile: true},
		&cli.IntFlag{Name: name + "-fd", Usage: "read " + what + " from the open descriptor `N`", DefaultText: "the terminal asks"},
	}
}

func passphraseFlags() []cli.Flag {
	return secretFlags("passphrase", "the passphrase of the CA's keys")
}
func passwordFlags() []cli.Flag { return secretFlags("password", "the password of the PKCS#12 file") }

// givenSecret returns the secret that the flags name, nil where they name none.
func givenSecret(c *cli.Context, name string) ([]byte, error) {
	file, fd := name+"-file", name+"-fd"
	switch {
	case c.IsSet(file) && c.IsSet(fd):
		return nil, usagef(c, "--%s and --%s exclude each other", file, fd)
	case c.IsSet(file) && c.String(file) == "-":
		return readSecret(terminalOf(c).in, "standard input")
	case c.IsSet(file):
		data, err := guard.ReadFile(c.String(file), guard.Secret, maxSecret+1)
		if err != nil {
			return nil, err
		}
		return readSecret(bytes.NewReader(data), c.String(file))
	case c.IsSet(fd):
		if c.Int(fd) < 0 {
			return nil, usagef(c, "--%s: %d is not a descriptor", fd, c.Int(fd))
		}
		name := fmt.Sprintf("descriptor %d", c.Int(fd))
		f := os.NewFile(uintptr(c.Int(fd)), name)
		defer f.Close() //nolint:errcheck // only read
		return readSecret(f, name)
	}
	return nil, nil
}

// readSecret reads one line, its end not included. It fails closed: what is
// empty, too long or more than a line is refused, never cut. Errors do not show
// it.
func readSecret(r io.Reader, from string) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxSecret+3))
	if err != nil {
		return nil, fmt.Errorf("read the passphrase from %s: it can not be read", from)
	}
	data = bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))
	if err := checkSecret(data); err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	return data, nil
}

func checkSecret(secret []byte) error {
	switch {
	case len(secret) == 0:
		return errors.New("an empty passphrase protects nothing")
	case len(secret) > maxSecret:
		return fmt.Errorf("the passphrase is longer than %d bytes", maxSecret)
	case bytes.ContainsAny(secret, "\r\n\x00"):
		return errors.New("the passphrase must be a single line")
	}
	return nil
}

// newSecret returns the secret that the flags name, else what the terminal is
// asked for, twice.
func newSecret(c *cli.Context, name, prompt string) ([]byte, error) {
	secret, err := givenSecret(c, name)
	if secret != nil || err != nil {
		return secret, err
	}
	secret, err = terminalOf(c).askTwice(c.Context, prompt)
	if errors.Is(err, errNobody) {
		return nil, usagef(c, "%s; give --%s-file or --%s-fd", err, name, name)
	}
	if err != nil {
		return nil, err
	}
	return secret, checkSecret(secret)
}

// passphraseOf returns what a CA calls when it needs an encrypted key: at most
// once, and not where its keys are not encrypted.
func passphraseOf(ctx context.Context, c *cli.Context, given []byte) func() ([]byte, error) {
	return func() ([]byte, error) {
		if given != nil {
			return given, nil
		}
		secret, err := terminalOf(c).askSecret(ctx, "passphrase of the CA's keys")
		if errors.Is(err, errNobody) {
			return nil, errNoPassphrase
		}
		return secret, err
	}
}
