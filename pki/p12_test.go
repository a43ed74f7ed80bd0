package pki

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	pkcs12 "software.sslmate.com/src/go-pkcs12"
)

// OpenSSL 3 imports what is exported, without its legacy provider, and says that
// it is encrypted as it should be.
func TestExportP12(t *testing.T) {
	ca, _ := newCA(t)
	issued := issue(t, ca, Request{Name: "alice", Kind: Client})
	key, err := readKey(issued.Files.Key, nil)
	if err != nil {
		t.Fatal(err)
	}
	chain, roots := parseChain(t, issued.Chain), parseChain(t, issued.Roots)
	const password = "pässword"
	data, err := ExportP12(chain, key, roots, password)
	if err != nil {
		t.Fatal(err)
	}
	_, leaf, above, err := pkcs12.DecodeChain(data, password)
	if err != nil || !leaf.Equal(issued.Certificate) || len(above) != 2 {
		t.Fatalf("%v, %d above, %v", leaf, len(above), err)
	}
	path := filepath.Join(t.TempDir(), "alice.p12")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "openssl", "pkcs12", "-in", path, "-info", "-nokeys", "-passin", "pass:"+password).CombinedOutput()
	for _, want := range []string{"PBES2, PBKDF2, AES-256-CBC, Iteration 600000", "MAC: sha256, Iteration 600000", "CN = alice"} {
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("OpenSSL does not say %q: %v\n%s", want, err, out)
		}
	}
	for name, err := range map[string]error{
		"no certificate": failure(ExportP12(nil, key, roots, password)),
		"another's key":  failure(ExportP12(chain, mustKey(t, P256), roots, password)),
		"no key":         failure(ExportP12(chain, nil, roots, password)),
		"no password":    failure(ExportP12(chain, key, roots, "")),
	} {
		if err == nil || name == "no password" && !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
