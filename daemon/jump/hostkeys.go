package jump

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	// hostKeysFor is how long the host keys are taken as they were read.
	hostKeysFor = time.Minute
	// maxHostKey bounds a file with a public key, in bytes: one of RSA with 16,384
	// bits has 2.8 kB.
	maxHostKey = 16 << 10
	// maxHostKeys bounds how many are told; sshd has one of each type.
	maxHostKeys = 16
)

// HostKeys are the public host keys of the jump host's sshd: those in the files
// that match a pattern. They may be read by several at once.
type HostKeys struct {
	// Pattern is one of filepath.Glob; empty matches nothing.
	Pattern string
	// Now is the clock.
	Now func() time.Time

	mu    sync.Mutex
	read  time.Time
	lines []string
}

// Lines returns the keys, each as one line of type and base64, sorted. They are at
// most a minute old. What is no public key is left out, so that of a private one
// that matches, nothing is told.
func (h *HostKeys) Lines() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := h.Now(); h.read.IsZero() || now.Sub(h.read) >= hostKeysFor || now.Before(h.read) {
		h.read, h.lines = now, readHostKeys(h.Pattern)
	}
	return h.lines
}

func readHostKeys(pattern string) []string {
	files, _ := filepath.Glob(pattern)
	var lines []string
	for _, file := range files {
		// What is no file may never end.
		if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() || info.Size() > maxHostKey {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		key, _, _, _, err := ssh.ParseAuthorizedKey(data)
		if _, certificate := key.(*ssh.Certificate); err != nil || certificate {
			continue
		}
		lines = append(lines, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))))
	}
	slices.Sort(lines)
	lines = slices.Compact(lines)
	return lines[:min(len(lines), maxHostKeys)]
}
