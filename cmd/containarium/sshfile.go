package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// The lines around what a program wrote into a file that others write, too.
const (
	beginMark = "# BEGIN containarium"
	endMark   = "# END containarium"
)

// maxManaged bounds such a file, in bytes: 10,000 containers take some 8 MB.
const maxManaged = 64 << 20

// managed is such a file, taken apart.
type managed struct {
	before, body, after string
}

// readManaged reads one; a missing one is empty. It fails closed where the lines
// around are not a pair: what is ours would be open.
func readManaged(path string) (managed, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return managed{}, nil
	}
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path) // a pipe would be read for ever
	}
	if err != nil {
		return managed{}, err
	}
	f, err := os.Open(path)
	if err != nil {
		return managed{}, err
	}
	defer f.Close() //nolint:errcheck // only read
	data, err := io.ReadAll(io.LimitReader(f, maxManaged+1))
	if err != nil {
		return managed{}, err
	}
	if len(data) > maxManaged {
		return managed{}, fmt.Errorf("%s is larger than %d bytes", path, maxManaged)
	}
	m, ok := parseManaged(string(data))
	if !ok {
		return managed{}, fmt.Errorf("%s: the lines %q and %q are not one pair: mend it or remove the file, then run it again", path, beginMark, endMark)
	}
	return m, nil
}

// parseManaged copies nothing: of a long file each copy would cost a second. It
// reports whether the lines around are one pair, or none.
func parseManaged(text string) (m managed, ok bool) {
	m.before = text
	begun, ended := false, false
	at := 0 // where the line begins
	for line := range strings.Lines(text) {
		next := at + len(line)
		switch {
		case strings.HasPrefix(line, beginMark):
			if begun || ended {
				return managed{}, false
			}
			begun = true
			m.before, m.body = text[:at], text[next:]
		case strings.HasPrefix(line, endMark):
			if !begun || ended {
				return managed{}, false
			}
			ended = true
			m.body, m.after = text[len(text)-len(m.body):at], text[next:]
		}
		at = next
	}
	return m, begun == ended
}

// with is the file with another body.
func (m managed) with(body string) []byte {
	before := m.before
	if before != "" && !strings.HasSuffix(before, "\n") {
		before += "\n"
	}
	return []byte(before + beginMark + ", which replaces all up to END\n" + body + endMark + "\n" + m.after)
}

// keepFile writes a file, 0600, unless it has these bytes already.
func keepFile(path string, data []byte) error {
	if there, err := os.ReadFile(path); err == nil && bytes.Equal(there, data) {
		return nil
	}
	return replaceFile(path, data, 0o600)
}
