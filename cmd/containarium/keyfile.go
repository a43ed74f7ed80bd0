package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/daemon/sshkey"
)

// maxKeyFile bounds what is read as public keys, in bytes: 32 of the longest fit.
const maxKeyFile = 32 * (sshkey.MaxLine + 1)

// readKeys returns the public keys that an argument names: a file such as
// alice.pub, "-" for standard input, or the key itself. It fails closed: what is
// not plainly a list of public keys, a private key above all, never leaves the
// machine and never reaches a message.
func readKeys(t *terminal, arg string) ([]string, error) {
	name, data := arg, []byte(arg)
	switch {
	case arg == "":
		return nil, errors.New("a key must not be empty")
	case looksLikeKey(arg):
		name = "the key given"
	case arg == "-":
		name = "standard input"
		var err error
		if data, err = io.ReadAll(io.LimitReader(t.in, maxKeyFile+1)); err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
	default:
		f, err := os.Open(arg)
		if err != nil {
			return nil, err
		}
		defer f.Close() //nolint:errcheck // only read
		if data, err = io.ReadAll(io.LimitReader(f, maxKeyFile+1)); err != nil {
			return nil, err
		}
	}
	switch {
	case len(data) > maxKeyFile:
		return nil, fmt.Errorf("%s is too long for public keys", name)
	case bytes.Contains(data, []byte("PRIVATE KEY")), bytes.HasPrefix(data, []byte("PuTTY-User-Key-File")):
		return nil, fmt.Errorf("%s is a private key, which stays where it is: give the public one%s", name, publicBeside(arg))
	}
	var keys []string
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := sshkey.Parse(line)
		if err != nil {
			return nil, fmt.Errorf("%s %w", name, err)
		}
		keys = append(keys, key.String())
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s has no public key", name)
	}
	return keys, nil
}

// readKey is readKeys for a single key.
func readKey(t *terminal, arg string) (string, error) {
	keys, err := readKeys(t, arg)
	switch {
	case err != nil:
		return "", err
	case len(keys) > 1:
		return "", fmt.Errorf("%s has %d keys: give one", arg, len(keys))
	}
	return keys[0], nil
}

// looksLikeKey tells a key from the name of a file: only a key begins with its
// type and a blank.
func looksLikeKey(arg string) bool {
	kind, _, found := strings.Cut(strings.TrimSpace(arg), " ")
	return found && (strings.HasPrefix(kind, "ssh-") || strings.HasPrefix(kind, "ecdsa-") || strings.HasPrefix(kind, "sk-")) ||
		strings.Contains(arg, "PRIVATE KEY")
}

// publicBeside names the public key that ssh-keygen put beside a private one.
func publicBeside(path string) string {
	if _, err := os.Stat(path + ".pub"); err == nil && !strings.Contains(path, "\n") {
		return ", " + path + ".pub"
	}
	return ""
}

// userKeyFile is the key that a create takes where none is given.
func userKeyFile() (string, bool) {
	home, err := os.UserHomeDir()
	if err != nil {
		return "", false
	}
	path := filepath.Join(home, ".ssh", "id_ed25519.pub")
	_, err = os.Stat(path)
	return path, err == nil
}

// keyArguments reads all keys of a flag that may repeat.
func keyArguments(c *cli.Context, flag string) ([]string, error) {
	var keys []string
	for _, arg := range c.StringSlice(flag) {
		read, err := readKeys(terminalOf(c), arg)
		if err != nil {
			return nil, usagef(c, "--%s: %s", flag, err)
		}
		keys = append(keys, read...)
	}
	return keys, nil
}
