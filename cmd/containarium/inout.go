package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// standard stands for standard input or output in the place of a file's name.
const standard = "-"

// errFileExists says that a file is there that nobody asked to replace.
var errFileExists = errors.New("already exists")

// readInput reads a file, or standard input, of at most limit bytes.
func (t *terminal) readInput(path string, limit int64) ([]byte, error) {
	from, name := t.in, "standard input"
	if path != standard {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close() //nolint:errcheck // only read
		from, name = f, path
	}
	data, err := io.ReadAll(io.LimitReader(from, limit+1))
	if err != nil {
		if path == standard {
			err = fmt.Errorf("read %s: %w", name, err)
		}
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return data, nil
}

// writeOutput writes what a command was asked for to a file or to standard
// output. A file that is there stays as it is, with errFileExists, unless
// replace is set. The file is there whole or not at all.
func (t *terminal) writeOutput(path string, data []byte, mode fs.FileMode, replace bool) error {
	if path == standard {
		t.endProgress()
		_, err := t.out.Write(data)
		return err
	}
	if replace {
		return replaceFile(path, data, mode)
	}
	return newFile(path, data, mode)
}

// checkNew refuses a file that is there already, for commands that have much to
// do, or to ask, before they write it.
func checkNew(path string) error {
	if path == standard {
		return nil
	}
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s %w, and nothing was changed", path, errFileExists)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	info, err := os.Stat(filepath.Dir(path))
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a directory", filepath.Dir(path))
	}
	return err
}

// newFile writes a file that is not there yet. Another process that makes it
// meanwhile keeps it: a link, unlike a rename, replaces nothing.
func newFile(path string, data []byte, mode fs.FileMode) error {
	return throughTemporary(path, data, mode, func(temporary string) error {
		err := os.Link(temporary, path)
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s %w, and nothing was changed", path, errFileExists)
		}
		if err == nil {
			err = os.Remove(temporary)
		}
		return err
	})
}

// replaceFile writes a file, in place of the one that was there; a link is
// followed. It fails closed on what is no file: root would rename one over a
// device.
func replaceFile(path string, data []byte, mode fs.FileMode) error {
	if info, err := os.Stat(path); err == nil {
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is not a regular file, and nothing was changed; - is standard output", path)
		}
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return err
		}
	}
	return throughTemporary(path, data, mode, func(temporary string) error { return os.Rename(temporary, path) })
}

// throughTemporary writes a file beside path to the disk, has publish give it its
// name, and leaves nothing behind where that fails.
func throughTemporary(path string, data []byte, mode fs.FileMode, publish func(temporary string) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".") // 0600
	if err != nil {
		if failed, ok := errors.AsType[*fs.PathError](err); ok {
			failed.Op, failed.Path = "write", path // nobody knows the temporary one
		}
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone where all went well
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = publish(f.Name())
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // only synced
	return dir.Sync()
}

// encodeChain is PEM of certificates.
func encodeChain(chain []*x509.Certificate) []byte {
	var out []byte
	for _, cert := range chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	return out
}
