package jump

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
)

// hostKey makes a key of a host: its line and, in PEM, its private half.
func hostKey(t *testing.T) (line string, signer ssh.Signer, private []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if signer, err = ssh.NewSignerFromKey(key); err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "root@jump-1")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))), signer, pem.EncodeToMemory(block)
}

// Of the files that match only the public keys are told, and of those the key
// alone: a comment names whoever made it.
func TestHostKeysTellPublicKeysAlone(t *testing.T) {
	dir := t.TempDir()
	first, signer, private := hostKey(t)
	second, _, _ := hostKey(t)
	certificate := &ssh.Certificate{Key: signer.PublicKey(), CertType: ssh.HostCert, ValidPrincipals: []string{"jump-1"}, ValidBefore: ssh.CertTimeInfinity}
	if err := certificate.SignCert(rand.Reader, signer); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"ssh_host_a_key.pub":  first + " root@jump-1\n",
		"ssh_host_b_key.pub":  second + "\n",
		"ssh_host_c_key.pub":  first + "\n", // twice
		"ssh_host_d_key.pub":  string(private),
		"ssh_host_e_key.pub":  string(ssh.MarshalAuthorizedKey(certificate)),
		"ssh_host_f_key.pub":  strings.Repeat("#\n", maxHostKey/2) + second + "\n",
		"ssh_host_g_key.pub":  "",
		"ssh_host_a_key":      string(private),
		"other_host_key.pub2": second,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := mkfifo(filepath.Join(dir, "ssh_host_h_key.pub")); err != nil {
		t.Fatal(err)
	}
	want := []string{first, second}
	slices.Sort(want)
	h := HostKeys{Pattern: filepath.Join(dir, "ssh_host_*_key.pub"), Now: time.Now}
	if diff := cmp.Diff(want, h.Lines()); diff != "" {
		t.Error(diff)
	}
	// A pattern that takes in private ones tells nothing of them.
	private2 := HostKeys{Pattern: filepath.Join(dir, "ssh_host_a_key"), Now: time.Now}
	if lines := private2.Lines(); len(lines) > 0 {
		t.Errorf("%q", lines)
	}
	if lines := (&HostKeys{Now: time.Now}).Lines(); len(lines) > 0 {
		t.Errorf("%q", lines)
	}
}

func TestHostKeysAreReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key.pub")
	write := func() string {
		t.Helper()
		line, _, _ := hostKey(t)
		if err := os.WriteFile(file, []byte(line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return line
	}
	now := time.Now()
	h := HostKeys{Pattern: file, Now: func() time.Time { return now }}
	first := write()
	if got := h.Lines(); !slices.Equal(got, []string{first}) {
		t.Fatalf("%q", got)
	}
	second := write()
	now = now.Add(hostKeysFor - time.Nanosecond)
	if got := h.Lines(); !slices.Equal(got, []string{first}) {
		t.Errorf("they are read before their time: %q", got)
	}
	now = now.Add(time.Nanosecond)
	if got := h.Lines(); !slices.Equal(got, []string{second}) {
		t.Errorf("%q, want the new one", got)
	}
	third := write()
	now = now.Add(-time.Hour)
	if got := h.Lines(); !slices.Equal(got, []string{third}) {
		t.Errorf("with the clock set back: %q", got)
	}
}
