package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// step is one thing that init makes.
type step struct {
	name, path string
	// look says what there is, and changes nothing.
	look func() (seen, error)
	// make makes what is not there.
	make func(ctx context.Context) error
}

// seen is what a look found: "" for nothing, else one of the states below.
type seen struct{ state, detail string }

// The states of a step. Only the first is followed by a make.
const (
	stepMake    = "make" // with --dry-run: it would be
	stepMade    = "made"
	stepKept    = "kept"    // it was there
	stepDiffers = "differs" // it was there, and is not what was asked for; kept
	stepSkipped = "skipped" // it can not be done here, or is not to be
	stepRemove  = "remove"  // with --undo and --dry-run
	stepRemoved = "removed"
	stepGone    = "gone" // there was nothing left to undo
)

// stepView is a step as init reports it.
type stepView struct {
	Step   string `json:"step"`
	State  string `json:"state"`
	Path   string `json:"path"`
	Detail string `json:"detail,omitempty"`
}

// report is what init did, or with --dry-run would do.
type initReport struct {
	DryRun bool       `json:"dryRun"`
	Steps  []stepView `json:"steps"`
	// Next are the commands to go on with.
	Next []string `json:"next"`
}

// errHalfway says that a step failed after others were done.
var errHalfway = errors.New("init did not get to its end")

// run looks at each step and makes what is missing. Each is shown as it is done.
// Where one fails, those before it stay as they are.
func (h *host) run(report *initReport, steps []step) error {
	for _, s := range steps {
		if err := h.c.Err(); err != nil {
			return err
		}
		at, err := s.look()
		if err == nil && at.state == "" {
			at.state = stepMake
			if !report.DryRun {
				at.state = stepMade
				err = s.make(h.c.Context)
			}
		}
		if err != nil {
			return h.failed(&stepError{s.name, err})
		}
		if err := h.show(report, stepView{s.name, at.state, s.path, at.detail}); err != nil {
			return err
		}
	}
	return nil
}

// show adds a line to the report, and prints it where people read.
func (h *host) show(report *initReport, v stepView) error {
	report.Steps = append(report.Steps, v)
	t := terminalOf(h.c)
	if isDocument(t.format) {
		return nil
	}
	text := fmt.Sprintf("%-8s %-22s %s", v.State, v.Step, v.Path)
	if v.Detail != "" {
		text += "  (" + v.Detail + ")"
	}
	return t.printf("%s", text)
}

// stepError names the step that failed.
type stepError struct {
	step string
	err  error
}

func (e *stepError) Error() string   { return "init: " + e.step + ": " + e.err.Error() }
func (e *stepError) Unwrap() []error { return []error{e.err, errHalfway} }

// directory is a step that makes one.
func (h *host) directory(path string, mode fs.FileMode) step {
	return step{name: "directory", path: path,
		look: func() (seen, error) {
			info, err := os.Stat(path)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return seen{}, nil
			case err == nil && !info.IsDir():
				err = fmt.Errorf("%s is not a directory", path)
			}
			return seen{state: stepKept}, err
		},
		make: func(context.Context) error { return h.record.newDirectory(path, mode) },
	}
}

// directories are those of the configuration, the certificates, the policy and the
// audit log.
func (h *host) directories() []step {
	var steps []step
	made := map[string]bool{}
	add := func(path string, mode fs.FileMode) {
		if !made[path] {
			made[path] = true
			steps = append(steps, h.directory(path, mode))
		}
	}
	add(filepath.Dir(h.path), 0o755)
	add(filepath.Dir(h.config.Server.Cert), 0o755)
	add(filepath.Dir(h.config.Policy.File), 0o755)
	if audit := h.config.Audit.File; filepath.IsAbs(audit) {
		add(filepath.Dir(audit), 0o750)
	}
	return steps
}

// file is a step that makes a file with that content, which is made when it is
// needed. differs says of one that is there what is wrong with it, "" for nothing.
func (h *host) file(name, path string, mode fs.FileMode, with string, content func() ([]byte, error), differs func() (string, error)) step {
	return step{name: name, path: path,
		look: func() (seen, error) {
			if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
				return seen{}, nil
			}
			why, err := differs()
			if err != nil || why == "" {
				return seen{state: stepKept}, err
			}
			return seen{stepDiffers, why}, nil
		},
		make: func(context.Context) error {
			data, err := content()
			if err != nil {
				return err
			}
			return h.record.newFile(path, data, mode, with)
		},
	}
}
