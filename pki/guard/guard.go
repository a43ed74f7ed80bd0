// Package guard reads the files that security rests on: keys, certificates,
// policies and configurations. Each is refused, whole, where somebody else could
// have read or changed it. What is written there is written whole or not at all.
package guard

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// What nobody but its owner may do with a file.
var (
	// Secret files, private keys, may be neither read nor written by others.
	Secret = Access{forbidden: 0o077, why: "can be read by others", mend: "chmod 600"}
	// Public files may be read by everybody, and be written by their owner alone:
	// who writes them chooses whom we trust.
	Public = Access{forbidden: 0o022, why: "can be written by others", mend: "chmod go-w"}
	// Ruling files are Public ones that decide for everybody, as a policy: they
	// must be root's or our own user's.
	Ruling = Access{forbidden: Public.forbidden, why: Public.why, mend: Public.mend, owned: true}
)

// Access is Secret, Public or Ruling.
type Access struct {
	forbidden fs.FileMode
	why, mend string
	owned     bool
}

// ReadFile reads a regular file of at most limit bytes. It fails closed: a mode
// that gives others more than access allows, or an owner that it does not allow,
// refuses the file; the error names the command that mends it.
func ReadFile(path string, access Access, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	// The checks look at the open file, so that it can not be swapped in between.
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if info.Mode().Perm()&access.forbidden != 0 {
		return nil, fmt.Errorf("%s %s (mode %04o): %s %s", path, access.why, info.Mode().Perm(), access.mend, path)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && access.owned && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("%s belongs to another user (uid %d): chown %d %s", path, st.Uid, os.Geteuid(), path)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return data, nil
}
