//go:build !linux

package pki

import (
	"errors"
	"os"
)

// renameNew fails with fs.ErrExist where to is there.
func renameNew(from, to string) error {
	if err := os.Link(from, to); err != nil {
		return err
	}
	return os.Remove(from)
}

// renameExchange gives each the other's name. Between two of its steps a crash
// leaves b under its third name: there is no portable call that does it at once.
func renameExchange(a, b string) error {
	third := a + "-old"
	if err := os.Rename(b, third); err != nil {
		return err
	}
	if err := os.Rename(a, b); err != nil {
		return errors.Join(err, os.Rename(third, b))
	}
	return os.Rename(third, a)
}
