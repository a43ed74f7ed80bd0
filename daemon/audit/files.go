package audit

import (
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// rotation is how logrotate names a file: audit.log.1, audit.log-20260131 or
// audit.log-20260131-1769817600, and what packs it adds to that.
var rotation = regexp.MustCompile(`^(?:\.([0-9]{1,9})|-([0-9]{8}(?:-[0-9]{1,10})?))(\.gz|\.xz|\.zst|\.bz2|\.Z)?$`)

type rotatedFile struct {
	path   string
	number int
	date   string
	time   time.Time
}

// Rotated returns the files that were rotated from path, the oldest first.
func Rotated(path string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var files []rotatedFile
	for _, e := range entries {
		suffix, ok := strings.CutPrefix(e.Name(), filepath.Base(path))
		parts := rotation.FindStringSubmatch(suffix)
		if !ok || parts == nil || e.IsDir() {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		number, _ := strconv.Atoi(parts[1]) // digits, or none
		files = append(files, rotatedFile{filepath.Join(filepath.Dir(path), e.Name()), number, parts[2], info.ModTime()})
	}
	// Names count; only between the two kinds of them does the time.
	slices.SortStableFunc(files, func(a, b rotatedFile) int {
		if (a.date == "") != (b.date == "") {
			return a.time.Compare(b.time)
		}
		return cmp.Or(cmp.Compare(b.number, a.number), cmp.Compare(a.date, b.date), cmp.Compare(len(a.path), len(b.path)))
	})
	paths := make([]string, 0, len(files))
	for i, f := range files {
		// While a file is being packed both are there, and only the plain one is whole.
		if i > 0 && f.number == files[i-1].number && f.date == files[i-1].date {
			continue
		}
		paths = append(paths, f.path)
	}
	return paths, nil
}

// OpenFile opens a file of a log for reading, also one that gzip packed.
func OpenFile(path string) (io.ReadCloser, error) {
	switch ext := filepath.Ext(path); ext {
	case ".gz":
	case ".xz", ".zst", ".bz2", ".Z":
		return nil, fmt.Errorf("%s: can not unpack %s, only .gz: unpack it first", path, ext)
	default:
		return os.Open(path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{z, f}, nil
}

// rotatedEnd is how the newest file ends that was rotated from path and is not
// empty: the log goes on from there. Where there is none, it begins.
func rotatedEnd(path string) (end, error) {
	paths, err := Rotated(path)
	if err != nil {
		return end{}, err
	}
	for _, path := range slices.Backward(paths) {
		e, err := fileEnd(path)
		if err != nil {
			return end{}, fmt.Errorf("the log goes on from there: %w", err)
		}
		if !e.empty {
			e.dirty = false // the new file is not
			return e, nil
		}
	}
	return end{}, nil
}

func fileEnd(path string) (end, error) {
	r, err := OpenFile(path)
	if err != nil {
		return end{}, err
	}
	defer func() { _ = r.Close() }() // only read
	var data []byte
	cut, chunk := false, make([]byte, maxTail)
	for {
		n, err := r.Read(chunk)
		data = append(data, chunk[:n]...)
		if extra := len(data) - maxTail; extra > 0 {
			data, cut = slices.Delete(data, 0, extra), true
		}
		if err == io.EOF {
			return endOf(path, data, cut)
		}
		if err != nil {
			return end{}, fmt.Errorf("%s: %w", path, err)
		}
	}
}
