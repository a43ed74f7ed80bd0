package live

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// Signature changes whenever one of the files does: by a write, by a rename or by
// another target of a link, as certificate renewers do it. Links are followed.
// It takes four system calls and no read, so it can be polled; a file may be half
// written when it changes, so load when two looks in a row agree.
func (f Files) Signature() string {
	var s strings.Builder
	for _, path := range []string{f.Cert, f.Key, f.CA, f.CRL} {
		info, err := os.Stat(path)
		if err != nil {
			s.WriteString("-;")
			continue
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			fmt.Fprintf(&s, "%d/%d/%s/", st.Dev, st.Ino, changed(st))
		}
		fmt.Fprintf(&s, "%d/%d;", info.Size(), info.ModTime().UnixNano())
	}
	return s.String()
}
