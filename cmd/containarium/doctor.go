package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/pki"
)

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name:      "doctor",
		Usage:     "check what has to be true here, and say how to mend what is not",
		ArgsUsage: " ",
		Description: describe(`On a host with a daemon, for root or with --host: config (config.toml), incus (it
answers), storage (a pool with room), bridge (the containers' network), files (who
may read and write them), certificate, lists (of the revoked), ca, trust (who is
asked for roots), policy, audit (there is room and a place for its log), sshd and
jump (what sshd refuses to the users' accounts), clock, unit and timer (systemd
keeps them running), serving (the daemon answers by the certificate in the file).

Elsewhere, or with --server or --all, for each server: config (the servers file),
certificate, ca, lists, clock, reachability, version (of releases) and role.

Each is ok, warn or fail; what has a warning works now. Exit status 1 where something
failed. With -o json an array of server (empty on a host), name, status, detail and,
unless it is ok, mend.`,
			"containarium doctor",
			"containarium doctor --all",
			"containarium doctor -o json | jq -r '.[] | select(.status != \"ok\") | .mend'"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "host", Usage: "check the host of a daemon, also if there is none yet", DisableDefaultText: true},
			&cli.StringFlag{Name: "host-config", Value: defaultDaemonConfig, Usage: "the daemon's configuration, a TOML `FILE`", TakesFile: true},
			&cli.StringFlag{Name: "sshd-dir", Value: defaultSSHDir, Usage: "the `DIRECTORY` from which sshd includes files", TakesFile: true},
		},
		Action: doctor,
	}
}

// checkView is a check as doctor prints it.
type checkView struct {
	Server string `json:"server"`
	Name   string `json:"name"`
	Status string `json:"status"`
	Detail string `json:"detail"`
	Mend   string `json:"mend,omitempty"`
}

// The statuses of a check.
const (
	checkOK   = "ok"
	checkWarn = "warn"
	checkFail = "fail"
)

// doctorReport is what doctor found.
type doctorReport struct {
	server string
	checks []checkView
}

func (r *doctorReport) ok(name, format string, args ...any) {
	r.checks = append(r.checks, checkView{r.server, name, checkOK, fmt.Sprintf(format, args...), ""})
}

func (r *doctorReport) warn(name, mend, format string, args ...any) {
	r.checks = append(r.checks, checkView{r.server, name, checkWarn, fmt.Sprintf(format, args...), mend})
}

func (r *doctorReport) fail(name, mend, format string, args ...any) {
	r.checks = append(r.checks, checkView{r.server, name, checkFail, fmt.Sprintf(format, args...), mend})
}

// found takes over what pki check looks at.
func (r *doctorReport) found(name string, findings ...findingView) {
	statuses := map[string]string{pki.SeverityOK: checkOK, pki.SeverityWarning: checkWarn, pki.SeverityError: checkFail}
	for _, f := range findings {
		r.checks = append(r.checks, checkView{r.server, name, statuses[f.Severity], f.What, f.Mend})
	}
}

func doctor(c *cli.Context) error {
	if _, err := operands(c, 0, 0); err != nil {
		return err
	}
	named := serverGiven(c) || root(c).Bool("all")
	onHost := c.Bool("host") || c.IsSet("host-config")
	if named && onHost {
		return usagef(c, "--host is about this machine: without --server and --all")
	}
	if !named && !onHost && os.Geteuid() == 0 {
		_, err := os.Stat(c.String("host-config"))
		onHost = err == nil
	}
	var checks []checkView
	var err error
	if onHost {
		checks = (&hostDoctor{path: c.String("host-config"), sshDir: c.String("sshd-dir"), now: time.Now()}).check(c.Context)
	} else {
		checks, err = checkServers(c)
	}
	if err != nil {
		return err
	}
	return showChecks(c, checks)
}

func showChecks(c *cli.Context, checks []checkView) error {
	failed, several := 0, map[string]bool{}
	for _, v := range checks {
		several[v.Server] = true
		if v.Status == checkFail {
			failed++
		}
	}
	err := showValue(c, checks, func(t *terminal) error {
		for _, v := range checks {
			name := v.Name
			if len(several) > 1 {
				name = v.Server + " " + name
			}
			text := fmt.Sprintf("%-4s  %-13s %s", v.Status, name, v.Detail)
			if v.Mend != "" {
				text += "; " + v.Mend
			}
			if err := t.printf("%s", text); err != nil {
				return err
			}
		}
		return nil
	})
	switch {
	case err != nil || failed == 0:
		return err
	case failed == 1:
		return errors.New("doctor: one thing is wrong")
	}
	return fmt.Errorf("doctor: %d things are wrong", failed)
}
