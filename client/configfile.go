package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/footprintai/containarium/pki/guard"
)

// maxConfig bounds the servers file, in bytes: 10,000 entries take some 3 MB.
const maxConfig = 4 << 20

// lockLook is how often a lock that another holds is tried: whoever has it reads
// and writes one small file.
const lockLook = 10 * time.Millisecond

// Save writes the servers file anew, whole or not at all; one that was not there
// has mode 0600. Comments are not kept. What it wrote, LoadConfig reads back as
// the same.
func (c *Config) Save() error {
	file := configFile{Default: c.Default, Identities: c.Identities, Servers: map[string]serverEntry{}, Groups: c.Groups}
	for name, s := range c.Servers {
		entry := serverEntry{Address: s.Address, Identity: s.Identity}
		if s.Identity == "" {
			entry.Cert, entry.Key, entry.CA, entry.CRL = s.Cert, s.Key, s.CA, s.CRL
		}
		file.Servers[name] = entry
	}
	var data bytes.Buffer
	encoder := toml.NewEncoder(&data)
	encoder.Indent = ""
	if err := encoder.Encode(file); err != nil {
		return fmt.Errorf("write %s: %w", c.Path, err)
	}
	// What we could not read again never replaces what we can.
	if _, err := parseConfig(c.Path, data.String()); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	path := target(c.Path)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write %s: %w", c.Path, err)
	}
	return guard.Replace(path, data.Bytes(), 0o600)
}

// target follows links: the file may be one into a directory of dot files.
func target(path string) string {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target
	}
	return path
}

// UpdateConfig loads the servers file, has change change it, and saves it. Of
// several that do so at once, in this process or others, none loses what another
// wrote: it waits for them until ctx ends. Where change fails, nothing is written.
func UpdateConfig(ctx context.Context, path string, change func(*Config) error) error {
	dir := filepath.Dir(target(path))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	unlock, err := lock(ctx, dir)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer unlock()
	config, err := LoadConfig(path)
	if err != nil {
		return err
	}
	if err := change(config); err != nil {
		return err
	}
	return config.Save()
}

// lock waits until nobody else holds the lock on the directory, or ctx ends. The
// system releases it when the process ends, however that may be.
func lock(ctx context.Context, dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
		case err == nil:
			return func() { _ = f.Close() }, nil // closing releases it
		case !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR):
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
		if err := sleep(ctx, lockLook); err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("another process holds %s: %w", dir, err)
		}
	}
}
