package main

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/daemon"
	"github.com/footprintai/containarium/daemon/policy"
)

func newHost(c *cli.Context) (*host, error) {
	// What sets hosts up, as cloud-init, may have no home; the servers file has.
	if u, err := user.Current(); err == nil && os.Getenv("HOME") == "" {
		if err := os.Setenv("HOME", u.HomeDir); err != nil {
			return nil, err
		}
	}
	path, err := filepath.Abs(c.String("config"))
	if err != nil {
		return nil, err
	}
	if path == defaultDaemonConfig && os.Geteuid() != 0 && !c.Bool("dry-run") {
		return nil, fmt.Errorf("init: only root can make a host's files: sudo containarium init")
	}
	h := &host{c: c, path: path, now: time.Now()}
	h.record, err = loadRecord(path)
	return h, err
}

// make makes what is missing, in the order in which each needs those before.
func (h *host) make() error {
	report := &initReport{DryRun: h.c.Bool("dry-run"), Steps: []stepView{}, Next: []string{}}
	err := h.makeAll(report)
	if isDocument(terminalOf(h.c).format) {
		return firstError(err, showValue(h.c, report, nil))
	}
	if err != nil || len(report.Next) == 0 {
		return err
	}
	t := terminalOf(h.c)
	if err := t.printf("Next:"); err != nil {
		return err
	}
	for _, line := range report.Next {
		if err := t.printf("  %s", line); err != nil {
			return err
		}
	}
	return nil
}

func (h *host) makeAll(report *initReport) error {
	if !report.DryRun {
		h.record.Name, h.record.Admin = h.answers.Name, h.answers.Admin
	}
	switch {
	case h.answers.CSR != "":
		return h.request(report)
	case h.joins():
		return h.join(report)
	case h.waits():
		return h.failed(errWaits)
	}
	steps := h.directories()
	steps = append(steps, h.authoritySteps()...)
	steps = append(steps, h.configSteps()...)
	steps = append(steps, h.adminSteps()...)
	steps = append(steps, h.sshdStep())
	if err := h.run(report, steps); err != nil {
		return err
	}
	if err := h.start(report); err != nil {
		return err
	}
	report.Next = append(report.Next, h.afterwards()...)
	return nil
}

// configSteps make the configuration and the policy.
func (h *host) configSteps() []step {
	return []step{
		h.file("configuration", h.path, 0o644, "", func() ([]byte, error) { return h.text, nil }, func() (string, error) {
			if have, asked := h.config.Server.Address, h.answers.Address; asked != "" && have != asked {
				return fmt.Sprintf("its address is %s, not %s", have, asked), nil
			}
			return "", nil
		}),
		h.file("policy", h.config.Policy.File, 0o644, "", func() ([]byte, error) { return policyText(h.answers.Admin) }, func() (string, error) {
			data, err := os.ReadFile(h.config.Policy.File)
			var p *policy.Policy
			if err == nil {
				p, err = parsePolicy(h.config.Policy.File, data)
			}
			if err == nil && !isAdmin(p, h.answers.Admin) {
				return fmt.Sprintf("it does not make %s an admin", h.answers.Admin), nil
			}
			return "", err
		}),
	}
}

// start has the daemon started once it would take the files.
func (h *host) start(report *initReport) error {
	if !report.DryRun {
		warnings, err := daemon.Check(h.c.Context, h.config, h.now)
		if err != nil {
			return h.failed(&stepError{"check", err})
		}
		for _, warning := range warnings {
			terminalOf(h.c).warnf("%s", warning)
		}
	}
	unit := h.unitStep()
	if err := h.run(report, []step{unit}); err != nil {
		return err
	}
	last := report.Steps[len(report.Steps)-1]
	if last.State == stepSkipped {
		if h.answers.NoStart {
			report.Next = append(report.Next, "systemctl enable --now "+serviceUnit+" "+renewTimer)
		} else {
			report.Next = append(report.Next, "containarium daemon --config "+quoted(h.path))
		}
		return nil
	}
	if report.DryRun || h.joins() {
		return nil
	}
	ctx, cancel := context.WithTimeout(h.c.Context, answerTimeout)
	defer cancel()
	response, err := h.firstCall(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(report.Steps, func(v stepView) bool { return v.State == stepMade }) {
		terminalOf(h.c).notef("nothing was to be done: this host is a jump server")
	}
	count := len(response.GetContainers())
	if err := h.show(report, stepView{"first ls", stepMade, h.answers.Name, fmt.Sprintf("as %s; containers: %d", h.answers.Admin, count)}); err != nil || isDocument(terminalOf(h.c).format) {
		return err
	}
	return lsTable(h.c, listed(h.answers.Name, response.GetContainers()), false)
}

// afterwards is what the administrator does next.
func (h *host) afterwards() []string {
	issued := h.caDir() + "/issued/" + h.answers.Admin
	return []string{
		"containarium create alice --ssh-key alice.pub",
		"containarium pki issue ops-laptop",
		fmt.Sprintf("containarium server add %s HOST --cert tls.crt --key tls.key --ca ca.crt    # elsewhere, with the files of %s", h.answers.Name, issued),
		fmt.Sprintf("tar -czf containarium-pki.tar.gz -C %s %s    # and keep it offline", quoted(filepath.Dir(h.caDir())), quoted(filepath.Base(h.caDir()))),
	}
}
