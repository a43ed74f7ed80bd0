package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/daemon"
	"github.com/footprintai/containarium/daemon/config"
	"github.com/footprintai/containarium/daemon/notify"
)

func daemonCommand() *cli.Command {
	return &cli.Command{
		Name:      "daemon",
		Usage:     "run the daemon of this host",
		ArgsUsage: " ",
		Description: describe(`Serves the containers of this host to clients with a certificate of its CA, as
far as the policy allows, until SIGTERM or Ctrl-C; calls under way are finished
first. Certificates, revocation lists and policy are loaded anew when their files
change, and on SIGHUP. config.example.toml explains the configuration.

With --check it does not serve: it reads the configuration and all the files that
it names, prints each mistake and fails, or says that they are good. It asks neither
Incus nor another daemon, and leaves the audit log alone. A reload by systemd does
that first.`,
			"containarium daemon --config /etc/containarium/config.toml",
			"containarium daemon --check"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Value: "/etc/containarium/config.toml", Usage: "the daemon's configuration, a TOML `FILE`", TakesFile: true},
			&cli.BoolFlag{Name: "check", Usage: "say whether a start or a reload would take the files as they are, and do neither", DisableDefaultText: true},
		},
		Before:      checkFormat,
		Action:      runDaemon,
		Subcommands: []*cli.Command{daemonRenewCommand()},
	}
}

func runDaemon(c *cli.Context) error {
	if _, err := operands(c, 0, 0); err != nil {
		return err
	}
	if c.Bool("check") {
		return checkDaemon(c)
	}
	ctx, stop := signal.NotifyContext(c.Context, syscall.SIGTERM)
	defer stop()
	hangup := make(chan os.Signal, 1) // of several that come while one is served, one is enough
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	cfg, err := config.Load(c.String("config"))
	if err != nil {
		return err
	}
	log := logrus.New()
	log.SetOutput(c.App.ErrWriter)
	log.SetLevel(cfg.LogLevel)
	if cfg.Log.Format == "json" {
		log.SetFormatter(&logrus.JSONFormatter{})
	} else {
		log.SetFormatter(&logrus.TextFormatter{FullTimestamp: true})
	}
	systemd, err := notify.FromEnvironment(log)
	if err != nil {
		return err
	}
	options := daemon.Options{Version: version(), Log: log, Notify: systemd}
	ca, err := openAuthority(cfg.CA)
	if err != nil {
		return err
	}
	if ca != nil {
		options.Authority = ca
	}
	d, err := daemon.New(cfg, options)
	if err != nil {
		return err
	}
	var background sync.WaitGroup
	defer background.Wait()
	ctx, stopBackground := context.WithCancel(ctx)
	defer stopBackground()
	if ca != nil {
		background.Go(func() { ca.refresh(ctx, log) })
	}
	background.Go(func() { reloadOn(ctx, hangup, d, log) })
	return d.Run(ctx)
}

// reloadOn has the daemon reload on each signal, until ctx ends.
func reloadOn(ctx context.Context, hangup <-chan os.Signal, d *daemon.Daemon, log logrus.FieldLogger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			log.Info("SIGHUP: loading certificates, revocation lists and policy anew")
			_ = d.Reload() // it logs and keeps why it failed
		}
	}
}
