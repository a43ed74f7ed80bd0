package pki

import (
	"os"
	"strings"
	"testing"
	"time"
)

// worst returns the findings that are not fine, as "severity: what -> mend".
func worst(ca *CA) []string {
	var out []string
	for _, f := range ca.Check() {
		if f.Severity != SeverityOK {
			out = append(out, f.Severity+": "+f.What+" -> "+f.Mend)
		}
	}
	return out
}

// Each thing that can go wrong is found, and nothing else; mended, it is fine.
func TestCheck(t *testing.T) {
	ca, now := newCA(t)
	alice := issue(t, ca, Request{Name: "alice", Kind: Client, TTL: 30 * day})
	start := *now
	if got := worst(ca); len(got) > 0 {
		t.Errorf("a fresh CA: %q", got)
	}
	if fine := ca.Check(); len(fine) < 6 {
		t.Errorf("little is looked at: %+v", fine)
	}
	good := tree(t, ca.Dir)
	restore := func() {
		t.Helper()
		*now = start
		for path := range tree(t, ca.Dir) {
			if _, ok := good[path]; !ok {
				if err := os.RemoveAll(path); err != nil {
					t.Fatal(err)
				}
			}
		}
		for path, content := range good {
			mode, data, _ := strings.Cut(content, " ")
			if mode[0] == 'd' {
				continue
			}
			perm := os.FileMode(0o600)
			if strings.HasSuffix(mode, "r--r--") {
				perm = 0o644
			}
			if err := os.WriteFile(path, []byte(data), perm); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, perm); err != nil {
				t.Fatal(err)
			}
		}
		if got := worst(ca); len(got) > 0 {
			t.Fatalf("restored: %q", got)
		}
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	other, _ := newCA(t)
	for _, test := range []struct {
		name string
		do   func()
		want string
	}{
		{"open directory", func() { do(os.Chmod(ca.Dir, 0o755)) }, "error: " + ca.Dir + " is open to others (mode 0755) -> chmod 700 " + ca.Dir},
		{"open key", func() { do(os.Chmod(ca.path(rootKey), 0o640)) }, "chmod 600 " + ca.path(rootKey)},
		{"open leaf key", func() { do(os.Chmod(alice.Files.Key, 0o604)) }, "chmod 600 " + alice.Files.Key},
		{"no intermediate key", func() { do(os.Remove(ca.path(intermediateKey))) }, "is missing: nothing can be signed"},
		{"foreign key", func() {
			data, err := os.ReadFile(other.path(intermediateKey))
			do(err)
			do(os.WriteFile(ca.path(intermediateKey), data, 0o600))
		}, "error: " + ca.path(intermediateKey) + " is not the key"},
		{"damaged journal", func() { do(os.WriteFile(ca.path(indexFile), []byte("x\n"), 0o600)) }, "error: read the journal: " + ca.path(indexFile) + ": line 1"},
		{"damaged state", func() { do(os.WriteFile(ca.path(stateFile), []byte("x\n"), 0o600)) }, "error: the state can not be read"},
		{"other bundle", func() { do(os.WriteFile(ca.path(bundleFile), encodeCertificates(other.Root), 0o644)) }, "error: " + ca.path(bundleFile) + " does not hold"},
		{"root about to expire", func() { *now = ca.Root.NotAfter.Add(-rootWarning + time.Second) }, "warning: the root \"" + ca.Root.Subject.CommonName + "\" expires on"},
		{"intermediate about to expire", func() { *now = ca.Intermediate.NotAfter.Add(-day) }, "warning: the intermediate"},
		{"intermediate over", func() { *now = ca.Intermediate.NotAfter.Add(day) }, "error: the intermediate"},
		{"leaf in its last third", func() { *now = start.Add(21 * day) }, "warning: \"alice\" expires on"},
		{"leaf over", func() { *now = start.Add(31 * day) }, "-> containarium pki renew alice"},
		{"clock behind", func() { *now = start.Add(-time.Hour) }, "error: the clock is at least "},
		{"foreign leaf", func() {
			issued := issue(t, other, Request{Name: "mallory", Kind: Client})
			do(os.Mkdir(ca.folder("mallory"), 0o700))
			do(os.WriteFile(ca.Files("mallory").Cert, issued.Chain, 0o644))
		}, "error: " + ca.Files("mallory").Cert + " was not issued by this CA"},
		{"empty folder", func() { do(os.Mkdir(ca.folder("nobody"), 0o700)) }, "warning: open " + ca.Files("nobody").Cert},
		{"revoked leaf", func() { do(failure(ca.Revoke(t.Context(), Revocation{NameOrSerial: "alice"}))) }, "warning: \"alice\" is revoked since"},
		{"unwritten revocation", func() { do(ca.record(revokeLine(alice.Entry, *now, Unspecified, "", *now))) }, "error: " + ca.path(crlFile) + " was not written, and certificates are revoked -> containarium pki crl"},
		{"missing revocation", func() {
			do(failure(ca.WriteCRL(t.Context(), 0)))
			do(ca.record(revokeLine(alice.Entry, *now, Unspecified, "", *now)))
		}, "error: " + ca.path(crlFile) + " lacks a certificate that is revoked"},
		{"old lists", func() { do(failure(ca.WriteCRL(t.Context(), day))); *now = start.Add(13 * time.Hour) }, "older than half its life"},
		{"lists over", func() { do(failure(ca.WriteCRL(t.Context(), day))); *now = start.Add(25 * time.Hour) }, "servers refuse all its certificates"},
		{"damaged lists", func() { do(os.WriteFile(ca.path(crlFile), []byte("-----BEGIN X509 CRL-----"), 0o644)) }, "error: " + ca.path(crlFile) + " is cut off"},
	} {
		test.do()
		found := worst(ca)
		if got := strings.Join(found, "\n"); !strings.Contains(got, test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
		if strings.HasPrefix(test.name, "open ") && len(found) != 1 {
			t.Errorf("%s is told more than once: %q", test.name, found)
		}
		do(os.Chmod(ca.Dir, 0o700))
		restore()
	}
	roll(t, ca, Start)
	if got := strings.Join(worst(ca), "\n"); !strings.Contains(got, "a rollover of the root is started; certificates of the old root without a successor: 1, of alice") {
		t.Errorf("in a rollover: %q", got)
	}
}
