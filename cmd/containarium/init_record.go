package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/footprintai/containarium/daemon/config/strict"
	"github.com/footprintai/containarium/pki/guard"
)

// record is what init made on a host, for --undo, and what it was told. A thing is
// noted before it is made: a crash in between leaves nothing that undo does not
// know.
type record struct {
	path    string
	Version int    `json:"version"`
	Name    string `json:"name"`
	Admin   string `json:"admin,omitempty"`
	// Names are those that a certificate was requested for.
	Names []string   `json:"names,omitempty"`
	Made  []madeItem `json:"made"`
}

// madeItem is one thing that init made.
type madeItem struct {
	Kind string `json:"kind"`
	// Path is a file's or directory's, or the name of a unit or of a server entry.
	Path string `json:"path"`
	// SHA256 is the content as it was made. It is empty where the daemon and the
	// renewal timer bring a file up to date; then With is the key that it goes with.
	SHA256 string `json:"sha256,omitempty"`
	With   string `json:"with,omitempty"`
	// Serials are the certificates that init had a CA make.
	Serials []string `json:"serials,omitempty"`
	// New says that the servers file was made for the entry.
	New bool `json:"new,omitempty"`
}

// The kinds of what init makes.
const (
	madeDirectory = "directory"
	madeFile      = "file"
	madeCA        = "ca"
	madeServer    = "server"
	madeEnabled   = "enabled" // a unit, at boot
	madeStarted   = "started" // a unit, now
)

const recordVersion = 1

// loadRecord reads the record beside the daemon's configuration; without one it
// is empty.
func loadRecord(config string) (*record, error) {
	r := &record{path: filepath.Join(filepath.Dir(config), "init.json"), Version: recordVersion}
	data, err := strict.ReadFile(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", r.path, err)
	}
	if r.Version != recordVersion {
		return nil, fmt.Errorf("%s is of version %d, and this program knows %d", r.path, r.Version, recordVersion)
	}
	return r, nil
}

func (r *record) find(kind, path string) *madeItem {
	for i := range r.Made {
		if r.Made[i].Kind == kind && r.Made[i].Path == path {
			return &r.Made[i]
		}
	}
	return nil
}

// note writes that an item is about to be made, or what it came to be.
func (r *record) note(item madeItem) error {
	if old := r.find(item.Kind, item.Path); old != nil {
		*old = item
	} else {
		r.Made = append(r.Made, item)
	}
	return r.save()
}

// forget takes items out; the file goes with the last.
func (r *record) forget(gone func(madeItem) bool) error {
	r.Made = slices.DeleteFunc(r.Made, gone)
	return r.save()
}

func (r *record) save() error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return guard.Replace(r.path, append(data, '\n'), 0o600)
}

// newFile makes a file that is not there, and notes it. With another file named it
// is one that is brought up to date later.
func (r *record) newFile(path string, data []byte, mode fs.FileMode, with string) error {
	item := madeItem{Kind: madeFile, Path: path, With: with}
	if with == "" {
		item.SHA256 = digest(data)
	}
	if err := r.note(item); err != nil {
		return err
	}
	return newFile(path, data, mode)
}

// newDirectory makes a directory and those above it, and notes each.
func (r *record) newDirectory(path string, mode fs.FileMode) error {
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := r.newDirectory(filepath.Dir(path), mode); err != nil {
		return err
	}
	if err := os.Mkdir(path, mode); err != nil {
		return err
	}
	if filepath.Dir(r.path) != path && !r.reaches() {
		return nil // above the configuration's directory: nothing can be noted yet
	}
	return r.note(madeItem{Kind: madeDirectory, Path: path})
}

// reaches reports whether the record has a directory to be in.
func (r *record) reaches() bool {
	_, err := os.Stat(filepath.Dir(r.path))
	return err == nil
}

func digest(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }
