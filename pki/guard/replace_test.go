package guard_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/footprintai/containarium/pki/guard"
)

func replace(t *testing.T, path, data string) os.FileInfo {
	t.Helper()
	if err := guard.Replace(path, []byte(data), 0o640); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); string(got) != data || err != nil {
		t.Errorf("it holds %q, %v", got, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if mode := replace(t, path, "one").Mode().Perm(); mode != 0o640 {
		t.Errorf("mode %04o", mode)
	}
	if err := os.Chmod(path, 0o604); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(path, 12345, 54321); err != nil {
			t.Fatal(err)
		}
	}
	before, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close() //nolint:errcheck // only read
	info := replace(t, path, "two")
	if mode := info.Mode().Perm(); mode != 0o604 {
		t.Errorf("the mode became %04o", mode)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || os.Geteuid() == 0 && (st.Uid != 12345 || st.Gid != 54321) {
		t.Errorf("the owner became %d:%d", st.Uid, st.Gid)
	}
	old := make([]byte, 4)
	if n, _ := before.Read(old); string(old[:n]) != "one" {
		t.Errorf("who reads the old file reads %q", old[:n])
	}

	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	replace(t, link, "three")
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v", err)
	}
	if data, err := os.ReadFile(path); string(data) != "three" {
		t.Errorf("behind the link is %q, %v", data, err)
	}
	if entries, err := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left in the directory: %v, %v", entries, err)
	}
}

// What is no file stays what it is: root would rename a file over a device.
func TestReplaceDevice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := guard.Replace(path, []byte("x"), 0o600); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("over a fifo: %v", err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		t.Errorf("the fifo became %v, %v", info, err)
	}
}

func TestReplaceFails(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "d"), filepath.Join(dir, "none", "f")} {
		if err := guard.Replace(path, nil, 0o600); err == nil || !strings.HasPrefix(err.Error(), "write "+path+": ") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if entries, err := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left in the directory: %v, %v", entries, err)
	}
}
