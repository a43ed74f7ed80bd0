package pki

import (
	"bytes"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func keyFiles(t testing.TB, ca *CA) []string {
	t.Helper()
	var keys []string
	for _, folder := range []string{rootsDir, intermediatesDir} {
		found, err := filepath.Glob(ca.path(folder + "/*.key"))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, found...)
	}
	return keys
}

// With a passphrase every key of the CA is encrypted, those that are made later
// too; OpenSSL reads them and says how. Without it nothing is signed or revoked,
// and nothing changes. One test, since each key costs 600,000 rounds.
func TestPassphrase(t *testing.T) {
	dir, secret := filepath.Join(t.TempDir(), "pki"), []byte("correct horse\xc3\xa4")
	made, err := Init(t.Context(), dir, Options{Passphrase: secret})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := made.RotateIntermediate(t.Context(), ""); err != nil { // Init knows it
		t.Fatal(err)
	}
	keys := keyFiles(t, made)
	if len(keys) != 3 {
		t.Errorf("keys: %v", keys)
	}
	for _, path := range keys {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		block, rest := pem.Decode(data)
		if block == nil || block.Type != encryptedKey || len(block.Headers) > 0 || len(rest) > 0 {
			t.Errorf("%s is not encrypted PKCS#8", path)
		}
		out, err := exec.CommandContext(t.Context(), "openssl", "asn1parse", "-in", path).CombinedOutput()
		// 0x927C0 is 600,000.
		for _, want := range []string{"PBES2", "PBKDF2", ":0927C0", "hmacWithSHA256", "aes-256-cbc"} {
			if err != nil || !strings.Contains(string(out), want) {
				t.Errorf("%s: no %s, %v\n%s", path, want, err, out)
			}
		}
	}
	if out, err := exec.CommandContext(t.Context(), "openssl", "pkey", "-in", keys[2], "-passin", "pass:"+string(secret), "-noout").CombinedOutput(); err != nil {
		t.Errorf("OpenSSL: %v\n%s", err, out)
	}

	ca, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	ca.Passphrase = func() ([]byte, error) { asked++; return secret, nil }
	for _, name := range []string{"alice", "bob"} {
		issue(t, ca, Request{Name: name, Kind: Client})
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	// A leaf's key is for a service, which nobody can ask.
	if _, err := readKey(ca.Files("alice").Key, nil); err != nil {
		t.Error(err)
	}
	refusesWithout(t, dir)
}

func refusesWithout(t *testing.T, dir string) {
	t.Helper()
	before := tree(t, dir)
	broken := errors.New("the terminal is gone")
	for name, test := range map[string]struct {
		ask  func() ([]byte, error)
		want error
		text string
	}{
		"wrong":  {func() ([]byte, error) { return []byte("wrong"), nil }, ErrPassphrase, "is wrong"},
		"empty":  {func() ([]byte, error) { return nil, nil }, ErrPassphrase, "is empty"},
		"none":   {nil, ErrPassphrase, "--passphrase-file"},
		"broken": {func() ([]byte, error) { return nil, broken }, broken, ""},
	} {
		ca, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		ca.Passphrase = test.ask
		verbs := map[string]func() error{
			"issue":  func() error { return failure(ca.Issue(t.Context(), Request{Name: "carol", Kind: Client})) },
			"revoke": func() error { return failure(ca.Revoke(t.Context(), Revocation{NameOrSerial: "alice"})) },
			"rotate": func() error { return failure(ca.RotateIntermediate(t.Context(), "")) },
			"start":  func() error { return failure(ca.Rollover(t.Context(), Start, "", false)) },
			"crl":    func() error { return failure(ca.WriteCRL(t.Context(), 0)) },
			"renew":  func() error { return failure(ca.Reissue(t.Context(), Local{Name: "alice", NewKey: true})) },
		}
		if name == "wrong" { // each costs the rounds
			delete(verbs, "rotate")
			delete(verbs, "start")
			delete(verbs, "crl")
			delete(verbs, "renew")
		}
		for verb, try := range verbs {
			if err := try(); !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("%s with a passphrase that is %s: %v", verb, name, err)
			}
		}
		for _, f := range ca.Check() {
			if f.Severity != SeverityOK {
				t.Errorf("Check asks for a passphrase: %+v", f)
			}
		}
	}
	if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
		t.Errorf("changed (-before +after):\n%s", diff)
	}
}

func failure[T any](_ T, err error) error { return err }

// Damage is told from a wrong passphrase, never panics, and shows no bytes.
func TestDamagedEncryptedKey(t *testing.T) {
	key := mustKey(t, P256)
	good, err := encodeKey(key, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(good)
	path := filepath.Join(t.TempDir(), "key")
	ask := func() ([]byte, error) { return []byte("x"), nil }
	try := func(data []byte) error {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := readKey(path, ask)
		return err
	}
	if err := try(good); err != nil {
		t.Fatal(err)
	}
	short := bytes.Clone(block.Bytes)
	short = short[:len(short)-3]
	for name, data := range map[string][]byte{
		"cut off": pem.EncodeToMemory(&pem.Block{Type: encryptedKey, Bytes: short}),
		"empty":   pem.EncodeToMemory(&pem.Block{Type: encryptedKey}),
		"plain":   pem.EncodeToMemory(&pem.Block{Type: plainKey, Bytes: block.Bytes}),
	} {
		if err := try(data); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The form of OpenSSL 0.9, with one round of MD5, is not read.
	legacy := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}, Bytes: block.Bytes})
	if err := try(legacy); err == nil || !strings.Contains(err.Error(), "no PKCS#8") {
		t.Errorf("legacy: %v", err)
	}
}
