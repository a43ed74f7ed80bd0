package main

import (
	"errors"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/daemon"
	"github.com/footprintai/containarium/daemon/config"
)

// checkDaemon says what is wrong with a configuration and with the files that it
// names, or that a daemon would serve with them.
func checkDaemon(c *cli.Context) error {
	path := c.String("config")
	cfg, err := config.Load(path)
	if err != nil {
		return err
	}
	warnings, err := daemon.Check(c.Context, cfg, time.Now())
	_, ofTheCA := openAuthority(cfg.CA)
	if err := errors.Join(err, ofTheCA); err != nil {
		return err
	}
	for _, warning := range warnings {
		terminalOf(c).warnf("%s", warning)
	}
	view := struct {
		Config   string   `json:"config"`
		Warnings []string `json:"warnings"`
	}{path, append([]string{}, warnings...)}
	return showValue(c, view, func(t *terminal) error { return t.printf("%s is good", path) })
}
