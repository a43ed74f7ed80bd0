package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func publicKey(t *testing.T) string {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

func privateKey(t *testing.T) string {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block))
}

func TestReadKeys(t *testing.T) {
	one, two := publicKey(t), publicKey(t)
	dir := t.TempDir()
	file := func(name, data string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, test := range map[string]struct{ arg, stdin, want string }{
		"file":         {file("one", one+" alice@laptop\n"), "", one + " alice@laptop"},
		"several":      {file("two", "# mine\n\n"+one+"\r\n"+two), "", one + "\n" + two},
		"given":        {one + " x", "", one + " x"},
		"stdin":        {"-", one + "\n", one},
		"no such file": {filepath.Join(dir, "ssh-key"), "", ""},
		"empty":        {file("empty", "\n# nothing\n"), "", ""},
		"options":      {`command="x" ` + one, "", ""},
		"a host key":   {file("known", "host "+one), "", ""},
		"too long":     {file("long", strings.Repeat("#\n", maxKeyFile)), "", ""},
		"directory":    {dir, "", ""},
	} {
		terminal, _, _ := capture(false)
		terminal.in = strings.NewReader(test.stdin)
		keys, err := readKeys(terminal, test.arg)
		if (err == nil) != (test.want != "") || strings.Join(keys, "\n") != test.want {
			t.Errorf("%s: %q, %v", name, keys, err)
		}
	}
	if _, err := readKey(&terminal{}, file("two", one+"\n"+two)); err == nil {
		t.Error("two keys were taken for one")
	}
}

// A private key in any form is refused, and no part of it is repeated.
func TestPrivateKeysAreRefused(t *testing.T) {
	secret := privateKey(t)
	path := filepath.Join(t.TempDir(), "id_ed25519")
	damaged := filepath.Join(t.TempDir(), "id")
	putty := filepath.Join(t.TempDir(), "id.ppk")
	headless := filepath.Join(t.TempDir(), "headless")
	body := strings.Join(strings.Split(secret, "\n")[1:3], "\n")
	for name, data := range map[string]string{path: secret, path + ".pub": publicKey(t), damaged: "  \n" + secret[:90], putty: "PuTTY-User-Key-File-3: ssh-ed25519\n" + body, headless: body} {
		if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, arg := range map[string]string{"file": path, "stdin": "-", "given": secret, "damaged": damaged, "PuTTY": putty, "without its head": headless} {
		terminal, _, _ := capture(false)
		terminal.in = strings.NewReader(secret)
		keys, err := readKeys(terminal, arg)
		if err == nil {
			t.Fatalf("%s: taken as %d keys", name, len(keys))
		}
		for _, line := range strings.Split(secret, "\n")[1:3] {
			if strings.Contains(err.Error(), line[:10]) {
				t.Errorf("%s: the error repeats it: %v", name, err)
			}
		}
		if name == "file" && !strings.Contains(err.Error(), path+".pub") {
			t.Errorf("the public key beside it is not named: %v", err)
		}
	}
}
