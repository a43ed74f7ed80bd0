package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/pki"
)

// errKept says that something that init made was not removed.
var errKept = errors.New("is kept")

// undo removes what init made, the last first. It fails closed: what is not as it
// was made, or can not be looked at, stays.
func (h *host) undo() error {
	report := &initReport{DryRun: h.c.Bool("dry-run"), Steps: []stepView{}, Next: []string{}}
	t := terminalOf(h.c)
	if len(h.record.Made) == 0 {
		t.notef("nothing to undo: %s does not say that init made anything", h.record.path)
		return h.showReport(report)
	}
	err := h.consent(report.DryRun)
	if err != nil {
		return err
	}
	kept := 0
	var touched bool // sshd's files
	for _, item := range slices.Backward(slices.Clone(h.record.Made)) {
		if item.Kind == madeDirectory {
			continue // when its files are gone
		}
		state, detail := h.undoable(item)
		if state == stepKept && item.Kind == madeCA {
			if state, err = h.askCA(item, detail); err != nil {
				return err
			}
		}
		if state == stepRemove && !report.DryRun {
			if err := h.remove(item); err != nil {
				return h.failed(&stepError{"undo " + item.Path, err})
			}
			state = stepRemoved
			touched = touched || filepath.Base(item.Path) == snippetFile
		}
		if state == stepKept {
			kept++
		} else if !report.DryRun {
			if err := h.record.forget(func(m madeItem) bool { return m.Kind == item.Kind && m.Path == item.Path }); err != nil {
				return err
			}
		}
		if err := h.show(report, stepView{item.Kind, state, item.Path, detail}); err != nil {
			return err
		}
	}
	if touched {
		if err := reloadSSHD(h.c.Context); err != nil {
			t.warnf("%s", err)
		}
	}
	if err := h.undoDirectories(report, kept); err != nil {
		return err
	}
	if err := h.showReport(report); err != nil || kept == 0 {
		return err
	}
	return h.failed(fmt.Errorf("init --undo: %d of the things that init made: %w", kept, errKept))
}

func (h *host) showReport(report *initReport) error {
	if !isDocument(terminalOf(h.c).format) {
		return nil
	}
	return showValue(h.c, report, nil)
}

// consent asks, unless there is nothing to lose or --yes was given.
func (h *host) consent(dryRun bool) error {
	if dryRun || root(h.c).Bool("yes") {
		return nil
	}
	yes, err := terminalOf(h.c).confirm(h.c.Context, fmt.Sprintf("stop the daemon, and remove what init made of this host as %s?", h.record.Name))
	if errors.Is(err, errNobody) {
		return usagef(h.c, "%s; --yes removes without a question, --dry-run shows what", err)
	}
	if err == nil && !yes {
		err = errors.New("init --undo: nothing was changed")
	}
	return err
}

// undoable says whether an item may be removed, and why not.
func (h *host) undoable(item madeItem) (state, detail string) {
	switch item.Kind {
	case madeEnabled:
		return stepRemove, "disable it"
	case madeStarted:
		return stepRemove, "stop it"
	case madeServer:
		config, err := client.LoadConfig(item.With)
		if err != nil {
			return stepKept, err.Error()
		}
		entry, ok := config.Servers[item.Path]
		if !ok {
			return stepGone, ""
		}
		if entryDigest(entry) != item.SHA256 {
			return stepKept, "it was changed since"
		}
		return stepRemove, "of " + item.With
	case madeCA:
		return h.undoableCA(item)
	}
	data, err := os.ReadFile(item.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return stepGone, ""
	case err != nil:
		return stepKept, err.Error()
	case item.With != "":
		// It was renewed, perhaps: it is ours as long as its key is.
		if key := h.record.find(madeFile, item.With); key != nil {
			if now, err := os.ReadFile(item.With); err == nil && digest(now) != key.SHA256 {
				return stepKept, item.With + " was changed since"
			}
		}
		return stepRemove, ""
	case digest(data) != item.SHA256:
		return stepKept, "it was changed since"
	}
	return stepRemove, ""
}

// undoableCA keeps a CA that others hang on.
func (h *host) undoableCA(item madeItem) (state, detail string) {
	ca, err := pki.Open(item.Path)
	if errors.Is(err, pki.ErrNoCA) {
		return stepGone, ""
	}
	if err != nil {
		return stepKept, err.Error()
	}
	entries, err := ca.List()
	if err != nil {
		return stepKept, err.Error()
	}
	own := map[string]bool{}
	var others []string
	for _, e := range entries {
		switch {
		case slices.Contains(item.Serials, e.Serial), own[e.Replaces]:
			own[e.Serial] = true
		case (e.Kind == pki.Client || e.Kind == pki.Server) && !slices.Contains(others, e.Name):
			others = append(others, e.Name)
		}
	}
	switch {
	case h.c.Bool("remove-ca"):
		return stepRemove, ""
	case item.SHA256 != "" && pki.Fingerprint(ca.Root) != item.SHA256:
		return stepKept, "its root is another since; --remove-ca removes it all the same"
	case len(others) > 0:
		return stepKept, fmt.Sprintf("it has issued certificates to %s, who need it to renew and to be revoked; --remove-ca removes it all the same", strings.Join(others, ", "))
	}
	return stepRemove, ""
}

// askCA asks about a CA that is to be kept, where somebody can answer.
func (h *host) askCA(item madeItem, why string) (state string, err error) {
	if h.c.Bool("dry-run") || root(h.c).Bool("yes") {
		return stepKept, nil
	}
	why, _, _ = strings.Cut(why, "; --remove-ca")
	yes, err := terminalOf(h.c).confirm(h.c.Context, fmt.Sprintf("the CA in %s: %s. Remove it all the same, for good?", item.Path, why))
	if err == nil && yes {
		return stepRemove, nil
	}
	return stepKept, err
}

func (h *host) remove(item madeItem) error {
	ctx := h.c.Context
	switch item.Kind {
	case madeEnabled:
		return withoutUnit(ctx, "disable", item.Path)
	case madeStarted:
		return withoutUnit(ctx, "stop", item.Path)
	case madeCA:
		return os.RemoveAll(item.Path)
	case madeServer:
		err := client.UpdateConfig(ctx, item.With, func(config *client.Config) error {
			forgetServer(config, item.Path)
			return nil
		})
		if err != nil || !item.New {
			return err
		}
		config, err := client.LoadConfig(item.With)
		if err != nil || len(config.Servers) > 0 || len(config.Identities) > 0 {
			return err
		}
		return os.Remove(item.With)
	}
	return os.Remove(item.Path)
}

// withoutUnit stops or disables a unit. Where there is no systemd, or the package
// with the unit was removed before, nothing is left to be done.
func withoutUnit(ctx context.Context, verb, unit string) error {
	if noSystemd(ctx) != "" {
		return nil
	}
	if state, err := systemctl(ctx, "show", "--property=LoadState", "--value", unit); err != nil || state == "not-found" {
		return err
	}
	_, err := systemctl(ctx, verb, unit)
	return err
}

// undoDirectories removes those that are empty by now, and the record with the
// last of what it has.
func (h *host) undoDirectories(report *initReport, kept int) error {
	if kept == 0 && !report.DryRun {
		if err := os.Remove(h.record.path); err != nil {
			return err
		}
	}
	for _, item := range slices.Backward(slices.Clone(h.record.Made)) {
		if item.Kind != madeDirectory {
			continue
		}
		v := stepView{item.Kind, stepRemove, item.Path, "where it is empty"}
		if !report.DryRun {
			v.State, v.Detail = stepRemoved, ""
			if err := os.Remove(item.Path); errors.Is(err, fs.ErrNotExist) {
				v.State = stepGone
			} else if err != nil {
				v.State, v.Detail = stepKept, "it holds something else"
			}
		}
		if err := h.show(report, v); err != nil {
			return err
		}
	}
	return nil
}
