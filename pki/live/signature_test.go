package live_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/footprintai/containarium/pki/live"
	"github.com/footprintai/containarium/pki/pkitest"
)

func TestSignature(t *testing.T) {
	ca := pkitest.New(t)
	dir := t.TempDir()
	first, second := filepath.Join(dir, "1"), filepath.Join(dir, "2")
	for _, d := range []string{first, second} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
		ca.Client(t, "alice").WriteFiles(t, d, ca)
	}
	link := filepath.Join(dir, "current")
	if err := os.Symlink(first, link); err != nil {
		t.Fatal(err)
	}
	files := live.Files{
		Cert: filepath.Join(link, "tls.crt"), Key: filepath.Join(link, "tls.key"), CA: filepath.Join(link, "ca.crt"), CRL: filepath.Join(link, "crl.pem"),
	}
	last := files.Signature()
	for _, change := range []struct {
		name string
		do   func() error
	}{
		{"a new file", func() error { return os.WriteFile(files.CRL, []byte("1"), 0o600) }},
		{"a write", func() error { return os.WriteFile(files.CRL, []byte("22"), 0o600) }},
		{"a mode", func() error { return os.Chmod(files.Cert, 0o640) }},
		{"a rename over it, of the same size and time", func() error {
			info, err := os.Stat(files.CRL)
			if err != nil {
				return err
			}
			path := filepath.Join(dir, "new")
			if err := os.WriteFile(path, []byte("33"), 0o600); err != nil {
				return err
			}
			if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
				return err
			}
			return os.Rename(path, files.CRL)
		}},
		{"a link to elsewhere", func() error {
			path := filepath.Join(dir, "link")
			if err := os.Symlink(second, path); err != nil {
				return err
			}
			return os.Rename(path, link)
		}},
		{"a file that is gone", func() error { return os.Remove(files.Key) }},
	} {
		if same := files.Signature(); same != last {
			t.Errorf("before %s: changed without a change", change.name)
		}
		if err := change.do(); err != nil {
			t.Fatal(err)
		}
		now := files.Signature()
		if now == last {
			t.Errorf("%s is not seen", change.name)
		}
		last = now
	}
}
