package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// tempPrefix starts the names of what is not whole yet. A crash leaves it, and
// the next change sweeps it away.
const tempPrefix = ".new-"

// file is a file that is to be written; its name may have a folder.
type file struct {
	name string
	data []byte
	mode fs.FileMode
}

// stage writes files into a new folder in above, not synced yet, and returns it
// with what syncs it, to be called once.
func stage(above string, files []file) (temp string, sync []func() error, err error) {
	temp, err = os.MkdirTemp(above, tempPrefix) // mode 0700
	if err != nil {
		return "", nil, err
	}
	var open []*os.File
	defer func() {
		if err != nil {
			for _, f := range open {
				_ = f.Close()
			}
			err = errors.Join(err, os.RemoveAll(temp))
		}
	}()
	folders := map[string]bool{temp: true}
	for _, f := range files {
		path := filepath.Join(temp, f.name)
		if folder := filepath.Dir(path); !folders[folder] {
			if err := os.Mkdir(folder, 0o700); err != nil {
				return "", nil, err
			}
			folders[folder] = true
		}
		if strings.HasSuffix(f.name, "/") {
			if err := os.Mkdir(path, f.mode); err != nil {
				return "", nil, err
			}
			continue
		}
		file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, f.mode)
		if err != nil {
			return "", nil, err
		}
		open = append(open, file)
		if _, err := file.Write(f.data); err != nil {
			return "", nil, err
		}
		sync = append(sync, func() error { return errors.Join(file.Sync(), file.Close()) })
	}
	for folder := range folders {
		sync = append(sync, func() error { return syncPath(folder) })
	}
	return temp, sync, nil
}

// together runs all at once: the file system then commits them as one.
func together(tasks ...func() error) error {
	errs := make([]error, len(tasks))
	var wait sync.WaitGroup
	for i, task := range tasks[1:] {
		wait.Go(func() { errs[i+1] = task() })
	}
	errs[0] = tasks[0]()
	wait.Wait()
	return errors.Join(errs...)
}

// publish gives a staged and synced folder its name, which may be that of an
// empty folder. It fails with ErrExists where something else is in the way.
func publish(temp, target string) error {
	// The system call, since os.Rename refuses an empty folder as target. It fails
	// on one that is not empty.
	switch err := unix.Rename(temp, target); {
	case errors.Is(err, fs.ErrExist), errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%s %w", target, ErrExists)
	case err != nil:
		return fmt.Errorf("rename %s to %s: %w", temp, target, err)
	}
	return syncPath(filepath.Dir(target))
}

// exchange puts a staged and synced folder in the place of target, all at once,
// and removes what was there. Files of other names stay.
func exchange(temp, target string) error {
	if err := renameExchange(temp, target); err != nil {
		return fmt.Errorf("exchange %s and %s: %w", temp, target, err)
	}
	old, err := os.ReadDir(temp)
	if err != nil {
		return err
	}
	for _, entry := range old {
		if _, err := os.Lstat(filepath.Join(target, entry.Name())); errors.Is(err, fs.ErrNotExist) {
			if err := os.Rename(filepath.Join(temp, entry.Name()), filepath.Join(target, entry.Name())); err != nil {
				return err
			}
		}
	}
	if err := together(func() error { return syncPath(target) }, func() error { return syncPath(filepath.Dir(target)) }); err != nil {
		return err
	}
	return os.RemoveAll(temp)
}

// replace writes a file in dir, whole or not at all, over the one that is there.
func replace(dir string, f file) error {
	return write(dir, f, os.Rename)
}

// create writes files in dir, each whole or not at all and never over another:
// then it fails with ErrExists.
func create(dir string, files ...file) error {
	var tasks []func() error
	for _, f := range files {
		tasks = append(tasks, func() error { return write(dir, f, renameNew) })
	}
	return together(tasks...)
}

func write(dir string, f file, rename func(from, to string) error) (err error) {
	temp, err := os.CreateTemp(dir, tempPrefix) // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name())
		}
	}()
	_, err = temp.Write(f.data)
	if err = errors.Join(err, temp.Chmod(f.mode), temp.Sync(), temp.Close()); err != nil {
		return err
	}
	target := filepath.Join(dir, f.name)
	switch err = rename(temp.Name(), target); {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s %w", target, ErrExists)
	case err != nil:
		return fmt.Errorf("rename %s to %s: %w", temp.Name(), target, err)
	}
	return syncPath(filepath.Dir(target))
}

// sweep removes what a crash left. The caller holds a lock that keeps others
// from writing there.
func sweep(dir, prefix string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	names, err := d.Readdirnames(-1)
	if err = errors.Join(err, d.Close()); err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, prefix) {
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// syncPath puts on disk what is in a file, or what was made or renamed in a
// folder.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
