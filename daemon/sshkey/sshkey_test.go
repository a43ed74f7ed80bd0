package sshkey

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func authorizedLine(t testing.TB, public any) string {
	t.Helper()
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

func ed25519Line(t testing.TB) string {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return authorizedLine(t, public)
}

func rsaLine(t testing.TB, bits int) string {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0")
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return authorizedLine(t, &key.PublicKey)
}

func ecdsaLine(t testing.TB) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return authorizedLine(t, &key.PublicKey)
}

// certificateLine is a certificate for a key, which would bring principals and
// options of its own.
func certificateLine(t testing.TB) string {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate := &ssh.Certificate{Key: signer.PublicKey(), CertType: ssh.UserCert, ValidPrincipals: []string{"root"}, ValidBefore: ssh.CertTimeInfinity}
	if err := certificate.SignCert(rand.Reader, signer); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(certificate)))
}

// skLine is a key on a FIDO token, as ssh-keygen -t ed25519-sk makes it.
var skLine = strings.TrimSpace("sk-ssh-ed25519@openssh.com " + base64.StdEncoding.EncodeToString(ssh.Marshal(struct {
	Type        string
	Key         []byte
	Application string
}{"sk-ssh-ed25519@openssh.com", make([]byte, ed25519.PublicKeySize), "ssh:"})))

// What is on no list is refused by name, and errors never repeat the input.
func TestParseErrors(t *testing.T) {
	for name, test := range map[string]struct{ input, want string }{
		"rsa 1024":    {rsaLine(t, 1024), "less than 2048 bits"},
		"certificate": {certificateLine(t), "is of type ssh-ed25519-cert-v01@openssh.com"},
		"private key": {"-----BEGIN OPENSSH PRIVATE KEY----- c2VjcmV0", "is a private key"},
		"options":     {`command="c2VjcmV0" ` + ed25519Line(t), "must have no options"},
		"garbage":     {"c2VjcmV0", "is not a public key"},
	} {
		_, err := Parse(test.input)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "c2VjcmV0") {
			t.Errorf("%s: the error repeats the input: %v", name, err)
		}
	}
}

// dsaLine is well-formed and, as all of its kind, refused.
func dsaLine() string {
	return "ssh-dss " + base64.StdEncoding.EncodeToString(ssh.Marshal(struct {
		Type       string
		P, Q, G, Y *big.Int
	}{"ssh-dss", new(big.Int).SetBit(big.NewInt(1), 1023, 1), new(big.Int).SetBit(big.NewInt(1), 159, 1), big.NewInt(2), big.NewInt(4)}))
}

func TestParseAccepts(t *testing.T) {
	line := ed25519Line(t)
	for _, input := range []string{line, line + " alice@laptop", "  " + line + " two words \n", rsaLine(t, 2048), ecdsaLine(t), skLine} {
		key, err := Parse(input)
		if err != nil {
			t.Errorf("Parse(%q): %v", input, err)
			continue
		}
		if got := key.String(); got != strings.TrimSpace(input) {
			t.Errorf("String() = %q, want %q", got, input)
		}
		if !strings.HasPrefix(key.Fingerprint, "SHA256:") {
			t.Errorf("Fingerprint = %q", key.Fingerprint)
		}
	}
}

func TestSameKeyOtherComment(t *testing.T) {
	line := ed25519Line(t)
	a, errA := Parse(line + " one")
	b, errB := Parse(line + " two")
	if errA != nil || errB != nil || a.Fingerprint != b.Fingerprint {
		t.Errorf("fingerprints %q and %q (%v, %v), want the same", a.Fingerprint, b.Fingerprint, errA, errB)
	}
}

func TestParseRefuses(t *testing.T) {
	line := ed25519Line(t)
	for name, input := range map[string]string{
		"empty":          " ",
		"options":        `command="id" ` + line,
		"two lines":      line + "\n" + ed25519Line(t),
		"carriage":       line + " a\rb",
		"dsa":            dsaLine(),
		"rsa 1024":       rsaLine(t, 1024),
		"garbage":        "ssh-ed25519 notbase64",
		"private key":    "-----BEGIN OPENSSH PRIVATE KEY-----",
		"too long":       line + " " + strings.Repeat("x", MaxLine),
		"escape":         line + " \x1b[2J",
		"only a comment": "# " + line,
		"right to left":  line + " \u202ealice",
		"no UTF-8":       line + " \xff",
		"other type":     strings.Replace(line, "ssh-ed25519", "ssh-rsa", 1),
		"no type":        strings.TrimPrefix(line, "ssh-ed25519 "),
		"cut off":        line[:len(line)-8],
		"certificate":    certificateLine(t),
		"authority":      "cert-authority " + line,
	} {
		if key, err := Parse(input); err == nil {
			t.Errorf("%s: Parse = %v, want an error", name, key)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(ed25519Line(f))
	f.Add("ssh-ed25519 AAAA x")
	f.Fuzz(func(t *testing.T, input string) {
		key, err := Parse(input)
		if err != nil {
			return
		}
		line := key.String()
		if strings.ContainsAny(line, "\n\r\x00") {
			t.Errorf("Parse(%q) gives a line with a break: %q", input, line)
		}
		again, err := Parse(line)
		if err != nil || again != key {
			t.Errorf("Parse(String()) = %v, %v, want %v", again, err, key)
		}
	})
}
