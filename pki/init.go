package pki

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Options are for Init.
type Options struct {
	// Organization starts the names of the CA's certificates, "Containarium" if it
	// is empty. At most 32 characters.
	Organization string
	// Passphrase encrypts the keys of the CA, also those that are made later. Empty:
	// they are not encrypted.
	Passphrase []byte
	// Algorithm is that of the CA's keys, also of those that are made later.
	Algorithm Algorithm
	// By is as in Request.
	By string
}

// Init makes a CA in dir, which must not be there or be an empty folder, and
// opens it. On any error nothing is there that was not before.
func Init(ctx context.Context, dir string, options Options) (*CA, error) {
	return initAt(ctx, dir, options, time.Now)
}

func initAt(ctx context.Context, dir string, options Options, now func() time.Time) (*CA, error) {
	dir = filepath.Clean(dir)
	if resolved, err := filepath.EvalSymlinks(dir); err == nil {
		dir = resolved
	}
	above := filepath.Dir(dir)
	if err := os.MkdirAll(above, 0o755); err != nil { //nolint:gosec // others may pass, not into dir
		return nil, fmt.Errorf("make a CA: %w", err)
	}
	unlock, err := lock(ctx, above)
	if err != nil {
		return nil, fmt.Errorf("make a CA: %w", err)
	}
	defer unlock()
	if err := checkEmpty(dir); err != nil {
		return nil, err
	}
	if err := initIn(above, dir, options, now()); err != nil {
		return nil, fmt.Errorf("make a CA: %w", err)
	}
	ca, err := Open(dir)
	if err != nil {
		return nil, err
	}
	ca.Now = now
	if len(options.Passphrase) > 0 {
		ca.keys.asked, ca.keys.passphrase = true, bytes.Clone(options.Passphrase)
	}
	return ca, nil
}

func initIn(above, dir string, options Options, now time.Time) error {
	files, err := newFiles(options, now)
	if err != nil {
		return err
	}
	// What a crash left; the name says of which directory.
	prefix := "." + filepath.Base(dir) + ".init-"
	if err := sweep(above, prefix); err != nil {
		return err
	}
	outer, err := os.MkdirTemp(above, prefix)
	if err != nil {
		return err
	}
	defer os.RemoveAll(outer) //nolint:errcheck // swept the next time
	temp, sync, err := stage(outer, files)
	if err != nil {
		return err
	}
	if err := together(sync...); err != nil {
		return err
	}
	return publish(temp, dir)
}

// checkEmpty says what is in the way. That nothing is overwritten does not hang
// on it, but on the rename at the end.
func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("make a CA: %w", err)
	case len(entries) == 0:
		return nil
	}
	for _, entry := range entries {
		if entry.Name() == stateFile || entry.Name() == rootsDir {
			return fmt.Errorf("a CA in %s %w, and nothing was changed", dir, ErrExists)
		}
	}
	return fmt.Errorf("%s %w and holds something else than a CA; nothing was changed", dir, ErrExists)
}

// newFiles makes the files of a new CA.
func newFiles(options Options, now time.Time) ([]file, error) {
	algorithm, err := ParseAlgorithm(string(options.Algorithm))
	if err != nil {
		return nil, err
	}
	organization := options.Organization
	if organization == "" {
		organization = "Containarium"
	}
	if err := checkOrganization(organization); err != nil {
		return nil, err
	}
	root, intermediate, err := newPair(organization, algorithm, now)
	if err != nil {
		return nil, err
	}
	state := state{
		Version: stateVersion, Stage: Stable, Encrypted: len(options.Passphrase) > 0, Algorithm: algorithm, Organization: organization,
		Signs: pair{1, 1}, Trusted: []int{1}, Intermediates: []int{1},
	}
	raw, err := state.encode()
	if err != nil {
		return nil, err
	}
	files := []file{
		{stateFile, raw, 0o600},
		{bundleFile, encodeCertificates(root.cert), 0o644},
		{lockFile, nil, 0o600},
		{issuedDir + "/", nil, 0o700},
	}
	var index []byte
	for _, a := range []*authority{root, intermediate} {
		line, err := line{Op: opIssue, Entry: newEntry(a.signed(options.By), now)}.encode()
		if err != nil {
			return nil, err
		}
		index = append(index, line...)
		key, err := encodeKey(a.key, options.Passphrase)
		if err != nil {
			return nil, err
		}
		files = append(files,
			file{filepath.Join(a.folder(), keyFile(1)), key, 0o600},
			file{filepath.Join(a.folder(), certFile(1)), encodeCertificates(a.cert), 0o644})
	}
	return append(files, file{indexFile, index, 0o600}), nil
}

func checkOrganization(name string) error {
	if len(name) > 32 {
		return refusef("the organization %.40q is longer than 32 characters", name)
	}
	for _, r := range name {
		if r < ' ' || r > '~' {
			return refusef("the organization %q has characters other than printable ASCII", name)
		}
	}
	return nil
}
