package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	serviceUnit = "containarium.service"
	renewTimer  = "containarium-renew.timer"
)

// unitTimeout is how long systemd may take, which waits for the daemon to be ready.
const unitTimeout = 2 * time.Minute

// systemctl runs systemctl and returns what it prints; where it fails, that is the
// error.
func systemctl(ctx context.Context, args ...string) (string, error) {
	return tool(ctx, "systemctl", args...)
}

// tool runs a program of the host and returns what it prints.
func tool(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, unitTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // a program of the system's
	cmd.Env = append(os.Environ(), "LC_ALL=C", "SYSTEMD_PAGER=cat")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil && errs.Len() > 0 {
		lines := strings.Split(strings.TrimSpace(errs.String()), "\n")
		err = fmt.Errorf("%s %s: %s", name, strings.Join(args, " "), lines[0])
	}
	return strings.TrimSpace(out.String()), err
}

// unitStep enables and starts the daemon and the renewal timer.
func (h *host) unitStep() step {
	return step{name: "systemd", path: serviceUnit + " " + renewTimer, look: h.lookUnits, make: func(ctx context.Context) error {
		args := []string{"enable", "--now"}
		for _, unit := range []string{serviceUnit, renewTimer} {
			if h.loaded(ctx, unit) != nil {
				continue
			}
			args = append(args, unit)
			for kind, verb := range map[string]string{madeEnabled: "is-enabled", madeStarted: "is-active"} {
				if _, err := systemctl(ctx, verb, "--quiet", unit); err == nil {
					continue // not by us
				}
				if err := h.record.note(madeItem{Kind: kind, Path: unit}); err != nil {
					return err
				}
			}
		}
		_, err := systemctl(ctx, args...)
		return err
	}}
}

func (h *host) lookUnits() (seen, error) {
	ctx := h.c.Context
	if h.answers.NoStart {
		return seen{stepSkipped, "--no-start"}, nil
	}
	if why := noSystemd(ctx); why != "" {
		return seen{stepSkipped, why}, nil
	}
	if err := h.loaded(ctx, serviceUnit); err != nil {
		return seen{stepSkipped, err.Error()}, nil
	}
	// A unit of somebody's own may run the daemon with other files.
	command, err := systemctl(ctx, "show", "--property=ExecStart", serviceUnit)
	if err != nil {
		return seen{}, err
	}
	if !strings.Contains(command, h.path) {
		return seen{stepSkipped, serviceUnit + " does not run with " + h.path}, nil
	}
	units := []string{serviceUnit}
	if h.loaded(ctx, renewTimer) == nil {
		units = append(units, renewTimer)
	} else {
		terminalOf(h.c).warnf("%s is not installed: containarium daemon renew has to be run daily by something else", renewTimer)
	}
	for _, verb := range []string{"is-enabled", "is-active"} {
		for _, unit := range units {
			if _, err := systemctl(ctx, verb, "--quiet", unit); err != nil {
				return seen{}, nil
			}
		}
	}
	return seen{state: stepKept}, nil
}

// noSystemd says why systemd can start nothing here, "" where it can.
func noSystemd(ctx context.Context) string {
	if _, err := exec.LookPath("systemctl"); err != nil {
		return "there is no systemd"
	}
	// It also fails on a system that is degraded, or still starting.
	state, _ := systemctl(ctx, "is-system-running")
	if state == "" || state == "offline" || state == "unknown" {
		return "systemd does not run here"
	}
	return ""
}

// loaded fails where systemd has no such unit.
func (h *host) loaded(ctx context.Context, unit string) error {
	state, err := systemctl(ctx, "show", "--property=LoadState", "--value", unit)
	if err != nil {
		return err
	}
	if state != "loaded" {
		return fmt.Errorf("%s is not installed: the containarium package has it", unit)
	}
	return nil
}
