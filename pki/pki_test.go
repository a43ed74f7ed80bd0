package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/footprintai/containarium/pki/identity"
	"github.com/footprintai/containarium/pki/live"
)

// The files of a new CA.
const (
	rootCert         = rootsDir + "/1.crt"
	rootKey          = rootsDir + "/1.key"
	intermediateCert = intermediatesDir + "/1.crt"
	intermediateKey  = intermediatesDir + "/1.key"
)

// newCA makes a CA whose clock is the returned one.
func newCA(t testing.TB) (*CA, *time.Time) {
	t.Helper()
	now := time.Now()
	ca, err := initAt(t.Context(), filepath.Join(t.TempDir(), "pki"), Options{}, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	return ca, &now
}

func issue(t testing.TB, ca *CA, req Request) Issued {
	t.Helper()
	issued, err := ca.Issue(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return issued
}

// tree returns the contents, modes and names of everything below dir.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		data := ""
		if entry.Type().IsRegular() {
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			data = string(raw)
		}
		files[path] = info.Mode().String() + " " + data
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestInit(t *testing.T) {
	ca, now := newCA(t)
	for name, mode := range map[string]fs.FileMode{
		".": 0o700, rootsDir: 0o700, rootKey: 0o600, intermediateKey: 0o600, stateFile: 0o600, indexFile: 0o600, lockFile: 0o600,
	} {
		info, err := os.Stat(filepath.Join(ca.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != mode {
			t.Errorf("%s has mode %04o, want %04o", name, info.Mode().Perm(), mode)
		}
	}
	start := now.UTC().Truncate(time.Second)
	for _, test := range []struct {
		cert    *x509.Certificate
		years   int
		pathLen int
	}{{ca.Root, 10, -1}, {ca.Intermediate, 5, 0}} {
		cert, name := test.cert, test.cert.Subject.CommonName
		if cert.MaxPathLen != test.pathLen || !cert.IsCA || cert.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign {
			t.Errorf("%s: path length %d, CA %v, key usage %b", name, cert.MaxPathLen, cert.IsCA, cert.KeyUsage)
		}
		if got := len(cert.SerialNumber.Bytes()); got != 20 || cert.SerialNumber.Sign() <= 0 {
			t.Errorf("%s: serial of %d octets", name, got)
		}
		if !cert.NotBefore.Equal(start.Add(-time.Minute)) {
			t.Errorf("%s begins at %s, not a minute before %s", name, cert.NotBefore, start)
		}
		if want := start.AddDate(test.years, 0, 0); cert.NotAfter.Sub(want).Abs() > 2*day {
			t.Errorf("%s ends at %s, want %s", name, cert.NotAfter, want)
		}
	}
	if !bytes.Equal(ca.Intermediate.AuthorityKeyId, ca.Root.SubjectKeyId) || len(ca.Root.SubjectKeyId) == 0 {
		t.Error("key identifiers of root and intermediate do not fit")
	}
	entries, err := ca.List()
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 2 || entries[0].Kind != Root || entries[1].Kind != Intermediate || entries[1].Issuer != entries[0].Issuer {
		t.Errorf("index of a new CA: %+v", entries)
	}
}

func TestInitOverwritesNothing(t *testing.T) {
	ca, _ := newCA(t)
	issue(t, ca, Request{Name: "alice", Kind: Client})
	above := filepath.Dir(ca.Dir)
	before := tree(t, above)
	if _, err := Init(t.Context(), ca.Dir, Options{}); !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), "nothing was changed") {
		t.Errorf("Init on a CA: %v", err)
	}
	if _, err := Init(t.Context(), filepath.Join(ca.Dir, issuedDir), Options{}); !errors.Is(err, ErrExists) {
		t.Errorf("Init on a folder with something in it: %v", err)
	}
	if _, err := Init(t.Context(), filepath.Join(ca.Dir, rootCert), Options{}); err == nil {
		t.Error("Init on a file succeeded")
	}
	if diff := cmp.Diff(before, tree(t, above)); diff != "" {
		t.Errorf("changed (-before +after):\n%s", diff)
	}
	// The rename alone holds, without the look before.
	temp, _, err := stage(t.TempDir(), []file{{"a", nil, 0o600}})
	if err != nil {
		t.Fatal(err)
	}
	if err := publish(temp, ca.Dir); !errors.Is(err, ErrExists) {
		t.Errorf("publish over a CA: %v", err)
	}
	if diff := cmp.Diff(before, tree(t, above)); diff != "" {
		t.Errorf("changed (-before +after):\n%s", diff)
	}
}

// An administrator may have made the folder, and a crash may have left half a CA
// beside it.
func TestInitInEmptyFolderAfterCrash(t *testing.T) {
	above := t.TempDir()
	dir := filepath.Join(above, "pki")
	for _, folder := range []string{dir, filepath.Join(above, ".pki.init-123")} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(above, ".pki.init-123", stateFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Init(t.Context(), dir, Options{Organization: "Acme"}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(above)
	if err != nil || len(entries) != 1 {
		t.Errorf("left beside the CA: %v, %v", entries, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := Open(t.TempDir()); !errors.Is(err, ErrNoCA) {
		t.Errorf("Open of an empty folder: %v", err)
	}
	ca, _ := newCA(t)
	other, _ := newCA(t)
	path := filepath.Join(ca.Dir, intermediateCert)
	if err := os.WriteFile(path, encodeCertificates(other.Intermediate), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(ca.Dir); err == nil || !strings.Contains(err.Error(), "was not signed by a root of this CA") {
		t.Errorf("Open with another's intermediate: %v", err)
	}
	if err := os.Chmod(other.Dir, 0o770); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(other.Dir); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("Open of a folder that others can write: %v", err)
	}
}

func TestIssue(t *testing.T) {
	ca, now := newCA(t)
	for _, test := range []struct {
		req   Request
		use   live.Use
		usage x509.ExtKeyUsage
		sans  []string
	}{
		{Request{Name: "alice", Kind: Client}, live.Client, x509.ExtKeyUsageClientAuth, nil},
		{
			Request{Name: "jump-1", Kind: Server, SANs: []string{"10.0.0.1", "Jump-1.Example.org", "::1", "10.0.0.1"}},
			live.Server, x509.ExtKeyUsageServerAuth,
			[]string{"jump-1.example.org", "10.0.0.1", "::1"},
		},
	} {
		issued := issue(t, ca, test.req)
		cert := issued.Certificate
		if err := issued.Files.Check(test.use, *now); err != nil {
			t.Error(err)
		}
		if len(cert.ExtKeyUsage) != 1 || cert.ExtKeyUsage[0] != test.usage || cert.KeyUsage != x509.KeyUsageDigitalSignature || cert.IsCA {
			t.Errorf("%s: usage %v %b, CA %v", test.req.Name, cert.ExtKeyUsage, cert.KeyUsage, cert.IsCA)
		}
		if cert.Subject.String() != "CN="+test.req.Name || len(cert.SerialNumber.Bytes()) != 20 {
			t.Errorf("%s: subject %s, serial %s", test.req.Name, cert.Subject, issued.Serial)
		}
		want := Entry{
			Serial: identity.Serial(cert), Name: test.req.Name, Kind: test.req.Kind, SANs: test.sans,
			Issued:    now.UTC().Truncate(time.Second),
			NotBefore: now.UTC().Truncate(time.Second).Add(-time.Minute), NotAfter: now.UTC().Truncate(time.Second).Add(90 * day),
			Issuer: fmt.Sprintf("%X", ca.Intermediate.SubjectKeyId), SHA256: Fingerprint(cert),
		}
		found, err := ca.Find(test.req.Name)
		if err != nil || len(found) != 1 {
			t.Fatalf("Find: %v, %v", found, err)
		}
		if diff := cmp.Diff(want, found[0]); diff != "" {
			t.Errorf("entry (-want +got):\n%s", diff)
		}
		if bySerial, err := ca.Find(strings.ToLower(issued.Serial)); err != nil || !cmp.Equal(bySerial, found) {
			t.Errorf("Find by serial: %v, %v", bySerial, err)
		}
		info, err := os.Stat(issued.Files.Key)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("key: %v, %v", info.Mode(), err)
		}
	}
}

func TestIssueOverwritesNothing(t *testing.T) {
	ca, _ := newCA(t)
	issue(t, ca, Request{Name: "alice", Kind: Client})
	if err := os.Mkdir(filepath.Join(ca.Dir, issuedDir, "bob"), 0o700); err != nil {
		t.Fatal(err)
	}
	before := tree(t, ca.Dir)
	for _, req := range []Request{
		{Name: "alice", Kind: Client},
		{Name: "alice", Kind: Server, SANs: []string{"localhost"}},
		{Name: "bob", Kind: Client},
	} {
		if _, err := ca.Issue(t.Context(), req); !errors.Is(err, ErrExists) {
			t.Errorf("Issue(%+v) = %v", req, err)
		}
	}
	if diff := cmp.Diff(before, tree(t, ca.Dir)); diff != "" {
		t.Errorf("changed (-before +after):\n%s", diff)
	}
}

// Each refused request leaves the directory as it was.
func TestIssueRefuses(t *testing.T) {
	ca, _ := newCA(t)
	many := make([]string, 101)
	for i := range many {
		many[i] = strings.Repeat("a", i%60+1) + ".example.org"
	}
	before := tree(t, ca.Dir)
	for _, test := range []struct {
		name string
		req  Request
		want string
	}{
		{"empty name", Request{Kind: Client}, "Common Name is empty"},
		{"bad name", Request{Name: "a b", Kind: Client}, "characters other than"},
		{"path", Request{Name: "../x", Kind: Client}, "characters other than"},
		{"dots", Request{Name: "..", Kind: Client}, "not a Common Name"},
		{"no kind", Request{Name: "a"}, `kind ""`},
		{"a root", Request{Name: "a", Kind: Root}, `kind "root"`},
		{"an intermediate", Request{Name: "a", Kind: Intermediate}, `kind "intermediate"`},
		{"server without names", Request{Name: "a", Kind: Server}, "at least one DNS name or IP address"},
		{"client with names", Request{Name: "a", Kind: Client, SANs: []string{"b"}}, "they are for servers"},
		{"wildcard", server("*.example.org"), "wildcard"},
		{"port", server("localhost:50051"), "has a port"},
		{"underscore", server("a_b"), "neither an IP address nor a DNS name"},
		{"hyphen first", server("-a.b"), "neither"},
		{"trailing dot", server("a.b."), "neither"},
		{"empty", server(""), "a name is empty"},
		{"almost an address", server("10.0.0.300"), "neither"},
		{"URL", server("https://a"), "give the host alone"},
		{"not ASCII", server("jümp"), "xn--"},
		{"long label", server(strings.Repeat("a", 64)), "neither"},
		{"long name", server(strings.Repeat("a.", 127) + "a"), "longer than 253"},
		{"unspecified", server("0.0.0.0"), "not the address of a host"},
		{"multicast", server("224.0.0.1"), "not the address of a host"},
		{"zone", server("fe80::1%eth0"), "zone"},
		{"many", Request{Name: "a", Kind: Server, SANs: many}, "more than 100"},
		{"short", Request{Name: "a", Kind: Client, TTL: 4 * time.Minute}, "4m is not between 5m and 730d"},
		{"negative", Request{Name: "a", Kind: Client, TTL: -time.Hour}, "not between"},
		{"long", Request{Name: "a", Kind: Client, TTL: 731 * day}, "731d is not between"},
	} {
		_, err := ca.Issue(t.Context(), test.req)
		if err == nil || !strings.Contains(err.Error(), test.want) || !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	if diff := cmp.Diff(before, tree(t, ca.Dir)); diff != "" {
		t.Errorf("changed (-before +after):\n%s", diff)
	}
}

func server(san string) Request { return Request{Name: "a", Kind: Server, SANs: []string{san}} }

func TestLifetime(t *testing.T) {
	ca, now := newCA(t)
	start := *now
	end := ca.Intermediate.NotAfter
	for _, test := range []struct {
		name  string
		at    time.Time
		ttl   time.Duration
		after time.Time // zero: refused
		want  string
	}{
		{"shortest", start, MinTTL, start.Add(MinTTL), ""},
		{"longest", start, MaxTTL, start.Add(MaxTTL), ""},
		{"to the last second", end.Add(-day), day, end, ""},
		{"one second past the CA", end.Add(-day + time.Second), day, time.Time{}, "longer than that of the CA, which ends on " + date(end)},
		{"default is cut", end.Add(-day), 0, end, ""},
		{"CA almost over", end.Add(-MinTTL + time.Second), 0, time.Time{}, "ends on " + date(end)},
		{"CA over", end.Add(time.Hour), time.Hour, time.Time{}, "ends on " + date(end)},
		{"before the CA", start.Add(-time.Hour), 0, time.Time{}, "is the clock right?"},
		{"within the back-dating", start.Add(-time.Second), 0, start.Add(-time.Second + DefaultTTL), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			*now = test.at
			issued, err := ca.Issue(t.Context(), Request{Name: strings.ReplaceAll(test.name, " ", "-"), Kind: Client, TTL: test.ttl})
			switch {
			case test.after.IsZero():
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%v, want %q", err, test.want)
				}
			case err != nil:
				t.Error(err)
			case !issued.NotAfter.Equal(test.after.UTC().Truncate(time.Second)):
				t.Errorf("ends at %s, want %s", issued.NotAfter, test.after)
			case issued.NotBefore.Before(ca.Intermediate.NotBefore):
				t.Errorf("begins at %s, before its issuer", issued.NotBefore)
			}
		})
	}
}

// A key that others can read, or that belongs to another CA, signs nothing.
func TestIssueNeedsTheKey(t *testing.T) {
	ca, _ := newCA(t)
	other, _ := newCA(t)
	issue(t, ca, Request{Name: "bob", Kind: Client}) // makes the folder above
	path := filepath.Join(ca.Dir, intermediateKey)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := os.ReadFile(filepath.Join(other.Dir, intermediateKey))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(good)
	block.Bytes = block.Bytes[:len(block.Bytes)-5]
	for _, test := range []struct {
		name string
		data []byte
		mode fs.FileMode
		want string
	}{
		{"readable", good, 0o640, "chmod 600 " + path},
		{"foreign", foreign, 0o600, "is not the key of the certificate"},
		{"empty", nil, 0o600, "holds no PKCS#8 private key"},
		{"damaged", pem.EncodeToMemory(block), 0o600, "holds a damaged private key"},
	} {
		if err := os.WriteFile(path, test.data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, test.mode); err != nil {
			t.Fatal(err)
		}
		before := tree(t, ca.Dir)
		_, err := ca.Issue(t.Context(), Request{Name: "alice", Kind: Client})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
		after := tree(t, ca.Dir)
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("%s: changed (-before +after):\n%s", test.name, diff)
		}
	}
}

func TestTTL(t *testing.T) {
	for text, want := range map[string]time.Duration{"90d": 90 * day, "12h": 12 * time.Hour, "1h30m": 90 * time.Minute, "5m": 5 * time.Minute, "45s": 45 * time.Second} {
		got, err := ParseTTL(text)
		if err != nil || got != want || FormatTTL(got) != text {
			t.Errorf("ParseTTL(%q) = %s, %v; FormatTTL = %q", text, got, err, FormatTTL(got))
		}
	}
	for _, text := range []string{"", "d", "-1d", "90", "1.5d", "99999999999d", "1y", "+3d"} {
		if got, err := ParseTTL(text); err == nil {
			t.Errorf("ParseTTL(%q) = %s", text, got)
		}
	}
}

// What other software says of our certificates.
func TestOpenSSL(t *testing.T) {
	ca, _ := newCA(t)
	client := issue(t, ca, Request{Name: "alice", Kind: Client})
	serverCert := issue(t, ca, Request{Name: "jump-1", Kind: Server, SANs: []string{"jump-1.example.org", "192.0.2.1"}})
	root, intermediate := filepath.Join(ca.Dir, rootCert), filepath.Join(ca.Dir, intermediateCert)
	for _, test := range []struct {
		args []string
		good bool
	}{
		{[]string{"-purpose", "sslclient", client.Files.Cert}, true},
		{[]string{"-purpose", "sslserver", client.Files.Cert}, false},
		{[]string{"-purpose", "sslserver", serverCert.Files.Cert}, true},
		{[]string{"-purpose", "sslclient", serverCert.Files.Cert}, false},
		{[]string{"-purpose", "sslserver", "-verify_hostname", "jump-1.example.org", serverCert.Files.Cert}, true},
		{[]string{"-purpose", "sslserver", "-verify_ip", "192.0.2.1", serverCert.Files.Cert}, true},
		{[]string{"-purpose", "sslserver", "-verify_hostname", "jump-2.example.org", serverCert.Files.Cert}, false},
	} {
		args := append([]string{"verify", "-x509_strict", "-CAfile", root, "-untrusted", intermediate}, test.args...)
		out, err := exec.CommandContext(t.Context(), "openssl", args...).CombinedOutput()
		if good := err == nil && strings.HasSuffix(string(out), ": OK\n"); good != test.good {
			t.Errorf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
