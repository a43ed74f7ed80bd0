package pki

import (
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestCorpus makes every kind of certificate and list that the CA can make and
// has OpenSSL look at each. Where CONTAINARIUM_PKI_CORPUS names a directory it
// writes them there, for linters: NAME.crt.pem and NAME.crl.pem, one in each file.
func TestCorpus(t *testing.T) {
	dir := os.Getenv("CONTAINARIUM_PKI_CORPUS")
	if dir == "" {
		dir = t.TempDir()
	}
	save := func(name string, block *pem.Block) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, algorithm := range []Algorithm{P256, P384, Ed25519} {
		now := time.Now()
		ca, err := initAt(t.Context(), filepath.Join(t.TempDir(), "pki"), Options{Algorithm: algorithm}, func() time.Time { return now })
		if err != nil {
			t.Fatal(err)
		}
		file := func(kind string) string { return fmt.Sprintf("%s-%s", algorithm, kind) }
		chain := func(kind string, issued Issued, crls []byte, purpose string) {
			t.Helper()
			if err := opensslVerify(t, issued.Chain, issued.Roots, crls, "-purpose", purpose); err != nil {
				t.Errorf("%s: %v", file(kind), err)
			}
			save(file(kind)+".crt.pem", &pem.Block{Type: "CERTIFICATE", Bytes: issued.Certificate.Raw})
		}
		lists := func(stage string) []byte {
			t.Helper()
			data, err := ca.CRLs()
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for rest := data; ; n++ {
				var block *pem.Block
				if block, rest = pem.Decode(rest); block == nil {
					break
				}
				kind := "crl"
				if block.Type == "CERTIFICATE" {
					kind = "crt"
				}
				save(fmt.Sprintf("%s-%s-%d.%s.pem", algorithm, stage, n, kind), block)
			}
			return data
		}
		if _, err := ca.WriteCRL(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		empty := lists("empty")
		for _, leaf := range []Algorithm{P256, P384, Ed25519} {
			name := string(leaf)
			chain("client-"+name, issue(t, ca, Request{Name: "client-" + name, Kind: Client, Algorithm: leaf}), empty, "sslclient")
			chain("server-"+name, issue(t, ca, Request{Name: "server-" + name, Kind: Server, SANs: []string{"jump-1.example.org", "192.0.2.1", "2001:db8::1"}, Algorithm: leaf}), empty, "sslserver")
			chain("short-"+name, issue(t, ca, Request{Name: "short-" + name, Kind: Client, Algorithm: leaf, TTL: MinTTL}), empty, "sslclient")
		}
		for i, reason := range Reasons() {
			name := fmt.Sprintf("revoked-%d", i)
			issue(t, ca, Request{Name: name, Kind: Client})
			if _, err := ca.Revoke(t.Context(), Revocation{NameOrSerial: name, Reason: reason}); err != nil {
				t.Fatal(err)
			}
		}
		lists("revoked")
		if _, err := ca.RotateIntermediate(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		chain("rotated", issue(t, ca, Request{Name: "rotated", Kind: Client}), lists("rotated"), "sslclient")
		roll(t, ca, Start)
		lists("started")
		roll(t, ca, Switch)
		switched := lists("switched")
		chain("switched", issue(t, ca, Request{Name: "switched", Kind: Client}), switched, "sslclient")
		for _, pattern := range []string{rootsDir, intermediatesDir} {
			paths, err := filepath.Glob(ca.path(pattern + "/*.crt"))
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range paths {
				cert, err := readOne(path)
				if err != nil {
					t.Fatal(err)
				}
				save(file(pattern+"-"+filepath.Base(path))+".pem", &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
			}
		}
	}
}
