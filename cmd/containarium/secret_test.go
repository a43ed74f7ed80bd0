package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestReadSecret(t *testing.T) {
	long := strings.Repeat("x", maxSecret)
	for in, want := range map[string]string{
		"secret": "secret", "secret\n": "secret", "secret\r\n": "secret", " sec ret ": " sec ret ", "pässwort\n": "pässwort", long + "\r\n": long,
	} {
		got, err := readSecret(strings.NewReader(in), "x")
		if err != nil || string(got) != want {
			t.Errorf("%.20q: %.20q, %v", in, got, err)
		}
	}
	for in, want := range map[string]string{
		"": "empty", "\n": "empty", "secret\n\n": "single line", "sec\nret": "single line", "sec\x00ret": "single line", long + "x": "longer than 1024", long + "xxxxxxxx": "longer than 1024",
	} {
		_, err := readSecret(strings.NewReader(in), "x")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "sec") {
			t.Errorf("%.20q: %v, want %s", in, err, want)
		}
	}
}

// A file that is there stays as it is, and one that can not be written leaves
// nothing behind.
func TestWriteOutput(t *testing.T) {
	terminal, out, _ := capture(false)
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := terminal.writeOutput(path, []byte("one"), 0o600, false); err != nil {
		t.Fatal(err)
	}
	if err := terminal.writeOutput(path, []byte("two"), 0o644, false); err == nil || !strings.Contains(err.Error(), "already exists") {
		t.Errorf("overwritten: %v", err)
	}
	check := func(want string, mode os.FileMode) {
		t.Helper()
		data, err := os.ReadFile(path)
		info, _ := os.Stat(path)
		if err != nil || string(data) != want || info.Mode().Perm() != mode {
			t.Errorf("%q, %v, %v; want %q, %v", data, info.Mode(), err, want, mode)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 1 {
			t.Errorf("left behind: %v", entries)
		}
	}
	check("one", 0o600)
	if err := terminal.writeOutput(path, []byte("two"), 0o644, true); err != nil {
		t.Error(err)
	}
	check("two", 0o644)
	// Root could put a file in the place of a device: of a fifo and of a link to one
	// as well, which a test can make.
	fifo, link := filepath.Join(dir, "fifo"), filepath.Join(dir, "link")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(fifo, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, link} {
		before, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := terminal.writeOutput(path, []byte("two"), 0o644, true); err == nil || !strings.Contains(err.Error(), "is not a regular file") {
			t.Errorf("over %s: %v", before.Mode(), err)
		}
		if after, err := os.Lstat(path); err != nil || after.Mode() != before.Mode() {
			t.Errorf("%s became %v, %v", before.Mode(), after, err)
		}
	}
	if err := errors.Join(os.Remove(fifo), os.Remove(link), os.Symlink(path, link)); err != nil {
		t.Fatal(err)
	}
	if err := terminal.writeOutput(link, []byte("two"), 0o644, true); err != nil {
		t.Error(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link to a file became %v, %v", info, err)
	}
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := terminal.writeOutput("-", []byte("three"), 0o600, false); err != nil || out.String() != "three" {
		t.Errorf("%q, %v", out, err)
	}
	if err := terminal.writeOutput(filepath.Join(dir, "no", "dir"), nil, 0o600, true); err == nil {
		t.Error("written into a folder that is not there")
	}
	check("two", 0o644)
}
