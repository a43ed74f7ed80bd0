package pki

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// figures are what the benchmarks found, each printed once: a benchmark runs
// several times until it has its length.
var figures struct {
	sync.Mutex
	names []string
	lines map[string]string
}

func figure(name string, value float64, unit string) {
	figures.Lock()
	defer figures.Unlock()
	if figures.lines == nil {
		figures.lines = map[string]string{}
	}
	if _, ok := figures.lines[name]; !ok {
		figures.names = append(figures.names, name)
	}
	figures.lines[name] = fmt.Sprintf("figure: %s %.3g %s", name, value, unit)
}

func TestMain(m *testing.M) {
	m.Run()
	for _, name := range figures.names {
		_, _ = fmt.Fprintln(os.Stdout, figures.lines[name])
	}
}

// cpu is what this process has used of the processors: on a busy machine the
// only time that says something.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// median is the middle of several ratios that were taken side by side.
func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// bare signs n leaves as the standard library does: no key, no check, no file.
func bare(b *testing.B, ca *CA, n int) {
	b.Helper()
	signer, err := ca.intermediateSigner(current(b, ca), 1)
	if err != nil {
		b.Fatal(err)
	}
	key := mustKey(b, P256)
	for range n {
		_, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: newSerial(), Subject: pkix.Name{CommonName: "bare"},
			NotBefore: time.Now(), NotAfter: time.Now().Add(day),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}, ca.Intermediate, key.Public(), signer)
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIssue makes key, certificate and files, all on disk, and compares the
// time on the processors with that of a bare x509.CreateCertificate.
func BenchmarkIssue(b *testing.B) {
	ca, _ := newCA(b)
	const pairs, each = 5, 40
	names := 0
	var ratios, floors []float64
	for range pairs {
		start := cpu(b)
		bare(b, ca, each)
		middle := cpu(b)
		for range each {
			issue(b, ca, Request{Name: fmt.Sprintf("pair-%d", names), Kind: Client})
			names++
		}
		issued := cpu(b)
		ratios = append(ratios, float64(issued-middle)/float64(middle-start))
		filesAlone(b, each)
		floors = append(floors, float64(cpu(b)-issued)/float64(middle-start))
	}
	ratio := median(ratios)
	b.ResetTimer()
	for i := range b.N {
		issue(b, ca, Request{Name: fmt.Sprintf("bench-%d", i), Kind: Client})
	}
	rate := float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(ratio, "cpu/bare")
	b.ReportMetric(rate, "certs/s")
	figure("pki_issue_cpu_vs_bare", ratio, "x")
	figure("pki_issue_files_alone_vs_bare", median(floors), "x")
	figure("pki_issue_rate", rate, "1/s")
}

// filesAlone writes what Issue writes, as safely, and does nothing else: most of
// what Issue costs.
func filesAlone(b *testing.B, n int) {
	b.Helper()
	dir := b.TempDir()
	for i := range n {
		temp, sync, err := stage(dir, []file{{leafCert, make([]byte, 1500), 0o644}, {leafKey, make([]byte, 240), 0o600}, {leafCA, make([]byte, 700), 0o644}})
		if err != nil {
			b.Fatal(err)
		}
		if err := together(sync...); err != nil {
			b.Fatal(err)
		}
		if err := publish(temp, filepath.Join(dir, fmt.Sprint(i))); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSign makes a certificate for a CSR, its entry on disk.
func BenchmarkSign(b *testing.B) {
	ca, _ := newCA(b)
	csr, _, err := NewRequest("bench", Client, nil, "", nil)
	if err != nil {
		b.Fatal(err)
	}
	const pairs, each = 5, 40
	var ratios []float64
	for range pairs {
		start := cpu(b)
		bare(b, ca, each)
		middle := cpu(b)
		signMany(b, ca, csr, each)
		ratios = append(ratios, float64(cpu(b)-middle)/float64(middle-start))
	}
	ratio := median(ratios)
	b.ResetTimer()
	signMany(b, ca, csr, b.N)
	rate := float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(ratio, "cpu/bare")
	b.ReportMetric(rate, "certs/s")
	figure("pki_sign_cpu_vs_bare", ratio, "x")
	figure("pki_sign_rate", rate, "1/s")
}

func signMany(b *testing.B, ca *CA, csr []byte, n int) {
	b.Helper()
	for range n {
		if _, err := ca.Sign(b.Context(), CSRRequest{CSR: csr, Kind: Client}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIssueVersusOpenSSL compares with one process of "openssl x509 -req"
// for each certificate, which checks nothing and syncs nothing: by the clock, in
// pairs. Sign does the same work, from CSR to certificate; Issue also makes the
// key and the files.
func BenchmarkIssueVersusOpenSSL(b *testing.B) {
	ca, _ := newCA(b)
	csr, _, err := NewRequest("bench", Client, nil, "", nil)
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	extensions := "keyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
	for name, data := range map[string][]byte{"csr.pem": csr, "ext.cnf": []byte(extensions)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	openssl := func() {
		cmd := exec.CommandContext(b.Context(), "openssl", "x509", "-req", "-in", "csr.pem", "-out", "crt.pem", "-days", "90", "-extfile", "ext.cnf",
			"-CA", ca.path(intermediateCert), "-CAkey", ca.path(intermediateKey))
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
	}
	openssl() // once from the cache
	const each = 10
	var issues, signs []float64
	n := 0
	for b.Loop() {
		start := time.Now()
		for range each {
			openssl()
		}
		peer := time.Since(start)
		start = time.Now()
		for range each {
			issue(b, ca, Request{Name: fmt.Sprintf("bench-%d", n), Kind: Client})
			n++
		}
		issues = append(issues, float64(peer)/float64(time.Since(start)))
		start = time.Now()
		signMany(b, ca, csr, each)
		signs = append(signs, float64(peer)/float64(time.Since(start)))
	}
	b.ReportMetric(median(issues), "issue/openssl")
	b.ReportMetric(median(signs), "sign/openssl")
	figure("pki_issue_vs_openssl", median(issues), "x")
	figure("pki_sign_vs_openssl", median(signs), "x")
}

// sizes are the numbers of certificates in the journal.
var sizes = []int{1_000, 10_000, 100_000}

// grown is a CA that has issued that many.
func grown(b *testing.B, n int) *CA {
	b.Helper()
	ca, _ := newCA(b)
	one := issue(b, ca, Request{Name: "first", Kind: Client}).Entry
	var data bytes.Buffer
	for i := range n {
		e := one
		e.Name, e.Serial, e.SHA256 = fmt.Sprintf("laptop-%d", i), fmt.Sprintf("%040X", i+1<<20), fmt.Sprintf("%064X", i)
		raw, err := line{Op: opIssue, Entry: e}.encode()
		if err != nil {
			b.Fatal(err)
		}
		data.Write(raw)
	}
	f, err := os.OpenFile(ca.path(indexFile), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := f.Write(data.Bytes()); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	return ca
}

// BenchmarkList reads a whole journal, as each run of a command does.
func BenchmarkList(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			ca := grown(b, n)
			start, times := cpu(b), 0
			for b.Loop() {
				ca.journal = journal{}
				if entries, err := ca.List(); err != nil || len(entries) < n {
					b.Fatal(len(entries), err)
				}
				times++
			}
			figure(fmt.Sprintf("pki_list_cpu_%d", n), float64(cpu(b)-start)/float64(times)/1e6, "ms")
			figure(fmt.Sprintf("pki_list_%d", n), b.Elapsed().Seconds()/float64(b.N)*1000, "ms")
		})
	}
}

// BenchmarkListAgain is what a process pays that has read it before.
func BenchmarkListAgain(b *testing.B) {
	ca := grown(b, 100_000)
	for b.Loop() {
		if _, err := ca.List(); err != nil {
			b.Fatal(err)
		}
	}
	figure("pki_list_again_100000", b.Elapsed().Seconds()/float64(b.N)*1000, "ms")
}

// BenchmarkIssueAt issues where there are many already.
func BenchmarkIssueAt(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			ca := grown(b, n)
			start, names := cpu(b), 0
			for b.Loop() {
				issue(b, ca, Request{Name: fmt.Sprintf("bench-%d", names), Kind: Client})
				names++
			}
			figure(fmt.Sprintf("pki_issue_cpu_at_%d", n), float64(cpu(b)-start)/float64(names)/1e6, "ms")
			figure(fmt.Sprintf("pki_issue_at_%d", n), b.Elapsed().Seconds()/float64(b.N)*1000, "ms")
		})
	}
}

// BenchmarkRevokeAt revokes in a process of its own: the journal is read, and the
// lists are written.
func BenchmarkRevokeAt(b *testing.B) {
	ca := grown(b, 100_000)
	n := 0
	start := cpu(b)
	for b.Loop() {
		ca.journal = journal{}
		if revoked, err := ca.Revoke(b.Context(), Revocation{NameOrSerial: fmt.Sprintf("laptop-%d", n)}); err != nil || len(revoked) != 1 {
			b.Fatal(revoked, err)
		}
		n++
	}
	figure("pki_revoke_cpu_at_100000", float64(cpu(b)-start)/float64(n)/1e6, "ms")
	figure("pki_revoke_at_100000", b.Elapsed().Seconds()/float64(b.N)*1000, "ms")
}
