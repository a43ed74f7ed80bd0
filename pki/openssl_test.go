package pki

import (
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/footprintai/containarium/pki/live"
)

// opensslVerify asks OpenSSL what it says of the first certificate of a chain.
// Revocation counts where there are lists.
func opensslVerify(t testing.TB, chain, roots, crls []byte, args ...string) error {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	path := write("chain.pem", chain)
	args = append([]string{"verify", "-x509_strict", "-CAfile", write("roots.pem", roots), "-untrusted", path}, args...)
	if crls != nil {
		args = append(args, "-crl_check_all", "-CRLfile", write("crl.pem", crls))
	}
	out, err := exec.CommandContext(t.Context(), "openssl", append(args, path)...).CombinedOutput()
	if err == nil && strings.HasSuffix(string(out), ": OK\n") {
		return nil
	}
	return opensslError(out)
}

type opensslError string

func (e opensslError) Error() string { return string(e) }

// goVerify asks the same of crypto/x509, which knows no revocation.
func goVerify(t testing.TB, chain, roots []byte, use x509.ExtKeyUsage) error {
	t.Helper()
	certs, trusted := parseChain(t, chain), x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(roots) {
		t.Fatal("no roots")
	}
	_, err := certs[0].Verify(x509.VerifyOptions{Roots: trusted, Intermediates: pool(certs[1:]...), KeyUsages: []x509.ExtKeyUsage{use}})
	return err
}

func parseChain(t testing.TB, data []byte) []*x509.Certificate {
	t.Helper()
	path := filepath.Join(t.TempDir(), "chain.pem")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	certs, err := live.ReadCertificates(path)
	if err != nil {
		t.Fatal(err)
	}
	return certs
}
