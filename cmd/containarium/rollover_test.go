package main

import (
	"bytes"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/pki"
	"github.com/footprintai/containarium/pki/live"
)

// TestRolloverUnderTraffic changes the root of a fleet that is called all the
// time: by a user who keeps the old root, by one who follows, and by one who
// knows the new root alone. No call fails, and OpenSSL agrees at each step.
func TestRolloverUnderTraffic(t *testing.T) {
	f := newFleet(t, 2, 0)
	var all []*traffic
	roll := func(step pki.Step) {
		t.Helper()
		f.clock.advance(time.Minute) // time for whoever looks at files now and then
		f.goOn(all...)
		if _, err := f.ca.Rollover(t.Context(), step, "test", false); err != nil {
			t.Fatal(err)
		}
	}
	oldRoot := read(t, f.daemons[0].server.CA)
	stays := f.files(t.TempDir(), "tls", "stays", pki.Client)
	follows := f.files(t.TempDir(), "tls", "follows", pki.Client)
	all = append(all, f.begin("stays", stays), f.begin("follows", follows))

	roll(pki.Start)
	f.trusts(2)
	renew(t, f.renewer(follows, follows), false) // takes the bundle alone
	if roots := read(t, follows.CA); !bytes.Contains(roots, oldRoot) || bytes.Equal(roots, oldRoot) {
		t.Fatal("the bundle of a user who follows has not both roots")
	}
	f.goOn(all...)
	f.opensslAccepts(oldRoot, read(t, follows.CA))

	roll(pki.Switch)
	newRoot := bytes.TrimSpace(bytes.ReplaceAll(read(t, follows.CA), oldRoot, nil))
	for _, m := range f.daemons {
		renew(t, f.renewer(m.server, m.client), true)
		renew(t, f.renewer(m.client, m.client), true)
	}
	f.served()
	renew(t, f.renewer(follows, follows), true)
	// The certificate is renewed, the bundle is not: somebody else installed it.
	mixed := stays
	mixed.CA = filepath.Join(t.TempDir(), "ca.crt")
	f.write(mixed.CA, read(t, follows.CA), 0o644)
	renew(t, f.renewer(mixed, mixed), true)
	if !bytes.Equal(read(t, stays.CA), oldRoot) {
		t.Fatal("the user who keeps the old root has another")
	}
	late := f.files(t.TempDir(), "tls", "late", pki.Client)
	f.write(late.CA, newRoot, 0o644)
	all = append(all, f.begin("late", late))
	f.goOn(all...)
	f.opensslAccepts(oldRoot, read(t, follows.CA), newRoot)

	// Whoever kept the old root alone has to let go of it now.
	f.write(stays.CA, read(t, follows.CA), 0o644)
	roll(pki.Finish)
	f.trusts(1)
	renew(t, f.renewer(follows, follows), false)
	if !bytes.Equal(bytes.TrimSpace(read(t, follows.CA)), newRoot) {
		t.Error("the bundle has more than the new root after the finish")
	}
	f.goOn(all...)
	f.opensslAccepts(newRoot)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func renew(t *testing.T, r *client.Renewer, certificate bool) {
	t.Helper()
	do := r.Once
	if certificate {
		do = r.Renew
	}
	if renewed, err := do(t.Context()); err != nil || renewed != certificate {
		t.Fatalf("renew %s: %v, %v", r.Files.Cert, renewed, err)
	}
}

// trusts waits until every daemon trusts that many roots.
func (f *fleet) trusts(roots int) {
	f.t.Helper()
	for _, m := range f.daemons {
		f.until(m.name+" takes the new bundle", func() bool {
			certs, err := live.ReadCertificates(m.server.CA)
			return err == nil && len(certs) == roots
		})
	}
}

// opensslAccepts has OpenSSL verify what each daemon sends, with each of the
// bundles.
func (f *fleet) opensslAccepts(bundles ...[]byte) {
	f.t.Helper()
	dir := f.t.TempDir()
	for _, m := range f.daemons {
		chain := read(f.t, m.server.Cert)
		_, rest := pem.Decode(chain)
		f.write(filepath.Join(dir, "leaf.pem"), bytes.TrimSuffix(chain, rest), 0o644)
		f.write(filepath.Join(dir, "rest.pem"), rest, 0o644)
		for _, bundle := range bundles {
			f.write(filepath.Join(dir, "roots.pem"), bundle, 0o644)
			args := []string{"verify", "-attime", strconv.FormatInt(f.clock.Now().Unix(), 10), "-x509_strict", "-purpose", "sslserver", "-CAfile", "roots.pem", "-untrusted", "rest.pem", "leaf.pem"}
			verify := exec.CommandContext(f.t.Context(), "openssl", args...)
			verify.Dir = dir
			if out, err := verify.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("leaf.pem: OK")) {
				f.t.Errorf("%s: openssl %s: %v: %s", m.name, strings.Join(args, " "), err, out)
			}
		}
	}
}
