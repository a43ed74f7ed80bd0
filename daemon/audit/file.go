package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// maxTail bounds how far from the end of a file its last whole line may be, in
// bytes: over ten times the longest line.
const maxTail = 64 << 10

// end is how a file ends.
type end struct {
	empty bool
	last  sum
	// dirty says that its last line has no newline.
	dirty bool
	// torn is the unfinished line at the end.
	torn []byte
	// note says what else is wrong.
	note string
}

// openFile opens a log for appending, makes it where it is missing, locks it and
// looks at how it ends. What is no regular file, as a pipe, is taken as empty.
func openFile(path string) (*os.File, end, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, end{}, err
	}
	e, err := inspect(f)
	if err != nil {
		return nil, end{}, errors.Join(err, f.Close())
	}
	return f, e, nil
}

func inspect(f *os.File) (end, error) {
	info, err := f.Stat()
	if err != nil {
		return end{}, err
	}
	if !info.Mode().IsRegular() {
		return end{empty: true}, nil
	}
	if info.Mode().Perm()&0o022 != 0 {
		return end{}, fmt.Errorf("%s can be written by others: chmod go-w %s", f.Name(), f.Name())
	}
	// Two processes would fork the chain.
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return end{}, fmt.Errorf("%s is being written by another process: %w", f.Name(), err)
	}
	r, err := os.Open(f.Name())
	if err != nil {
		return end{}, err
	}
	defer func() { _ = r.Close() }() // only read
	if _, err := r.Seek(max(0, info.Size()-maxTail), io.SeekStart); err != nil {
		return end{}, err
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return end{}, err
	}
	return endOf(f.Name(), data, info.Size() > maxTail)
}

// endOf finds the last whole line of data; cut says that more stands before it.
func endOf(name string, data []byte, cut bool) (end, error) {
	if len(data) == 0 {
		return end{empty: true}, nil
	}
	e, found, rest := end{}, false, data
	for at := 0; at < len(data); {
		line := data[at:]
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			line = line[:i]
		}
		at = min(at+len(line)+1, len(data))
		if _, own, ok := parseLine(line); ok && intact(line, own) {
			e.last, found, rest = own, true, data[at:]
		}
	}
	if !found && cut {
		return end{}, fmt.Errorf("%s does not end in an audit log: move it away to begin a new one", name)
	}
	e.dirty = data[len(data)-1] != '\n'
	switch {
	case len(rest) == 0:
	case bytes.IndexByte(rest, '\n') < 0:
		e.torn = rest
	default:
		// No crash leaves that: it is not accounted for, so that Verify names it.
		e.note = fmt.Sprintf("%d bytes before this are no audit log", len(rest))
	}
	return e, nil
}

// same reports whether the path still is the file.
func same(f *os.File, path string) bool {
	was, err := f.Stat()
	if err != nil {
		return false
	}
	is, err := os.Stat(path)
	return err == nil && os.SameFile(was, is)
}
