// Package sshkey checks the public keys that open a container.
package sshkey

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"
)

// MaxLine bounds a line of authorized_keys, in bytes: an RSA key of 16384 bits,
// the largest that sshd takes, needs 2,800 of them.
const MaxLine = 4096

// minRSABits is what OpenSSH asks of RSA keys by default since 9.1 and NIST
// SP 800-131A since 2013.
const minRSABits = 2048

// Key is a checked public key.
type Key struct {
	// Type is its algorithm, for example "ssh-ed25519".
	Type string
	// Comment is printable: no line break, no control character, nothing that
	// turns the direction of a terminal's text.
	Comment string
	// Fingerprint is "SHA256:" and the digest, as ssh-keygen -l prints it. Two
	// keys are the same if and only if their fingerprints are.
	Fingerprint string
	base64      string
}

// String returns the key as one line of authorized_keys, without line break.
func (k Key) String() string {
	if k.Comment == "" {
		return k.base64
	}
	return k.base64 + " " + k.Comment
}

// Parse checks one line of authorized_keys. It refuses, rather than repairs,
// whatever is not exactly one plain public key: several lines, options (which
// could run commands), DSA, RSA under 2048 bits, certificates. Errors never
// repeat the input.
func Parse(line string) (Key, error) {
	line = strings.TrimSpace(line)
	switch {
	case line == "":
		return Key{}, errors.New("is empty")
	case len(line) > MaxLine:
		return Key{}, fmt.Errorf("is longer than %d bytes", MaxLine)
	case strings.Contains(line, "PRIVATE KEY"):
		return Key{}, errors.New("is a private key: give the .pub file")
	case !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }):
		return Key{}, errors.New("must be one line of printable text")
	}
	public, comment, options, _, err := ssh.ParseAuthorizedKey([]byte(line))
	switch {
	case err != nil:
		return Key{}, errors.New("is not a public key as in a .pub file")
	case len(options) > 0:
		return Key{}, errors.New("must have no options")
	}
	if err := checkStrength(public); err != nil {
		return Key{}, err
	}
	return Key{
		Type:        public.Type(),
		Comment:     comment,
		Fingerprint: ssh.FingerprintSHA256(public),
		base64:      strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public))),
	}, nil
}

// checkStrength is a list of what is taken: an algorithm that is not on it is
// refused.
func checkStrength(public ssh.PublicKey) error {
	switch public.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKECDSA256:
		return nil
	case ssh.KeyAlgoRSA:
		if crypto, ok := public.(ssh.CryptoPublicKey); ok {
			if key, ok := crypto.CryptoPublicKey().(*rsa.PublicKey); ok && key.N.BitLen() >= minRSABits {
				return nil
			}
		}
		return fmt.Errorf("is an RSA key of less than %d bits", minRSABits)
	}
	return fmt.Errorf("is of type %s, which is not accepted: use ed25519", public.Type())
}
