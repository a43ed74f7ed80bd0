package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/pki/live"
)

// crlBeside is where a client keeps the revocation lists.
func crlBeside(ca string) string { return filepath.Join(filepath.Dir(ca), "crl.pem") }

// renewOverNetwork renews a certificate at a daemon that hosts the CA.
func renewOverNetwork(c *cli.Context) error {
	if c.Bool("daemon") && c.Bool("due") {
		return usagef(c, "--daemon renews only what is due anyway")
	}
	to, err := oneTarget(c, readTimeout)
	if err != nil {
		return err
	}
	server := to.servers[0]
	failed := func(err error) error { return to.failed(err, commandPath(c), "", server) }
	files := server.Files()
	if dir := c.String("dir"); dir != "" {
		files = live.Files{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key"), CA: filepath.Join(dir, "ca.crt"), CRL: filepath.Join(dir, "crl.pem")}
		if err := sameOwner(server.Cert, files.Cert); err != nil {
			return failed(err)
		}
	}
	t := terminalOf(c)
	r := &client.Renewer{
		Client: func() (*client.Client, error) { return client.Dial(server) },
		Files:  files,
	}
	h := hook{command: c.String("hook"), files: files, output: c.App.ErrWriter}
	at, err := r.Due()
	if err == nil {
		err = h.begin()
	}
	if err != nil {
		return failed(err)
	}
	if c.Bool("daemon") {
		ctx, stop := signal.NotifyContext(c.Context, syscall.SIGTERM)
		defer stop()
		// The Renewer's own words about a call would not say what to do next.
		r.Log = func(format string, args ...any) {
			for i, arg := range args {
				if err, ok := arg.(error); ok {
					args[i] = explain(ctx, failed(err))
				}
			}
			t.notef(format, args...)
		}
		r.Wait = h.wait(t)
		t.notef("%s is to be renewed %s", files.Cert, pkiTime(at))
		return r.Run(ctx)
	}
	ctx, cancel := to.call(c.Context)
	defer cancel()
	var renewed bool
	if !c.Bool("due") || !time.Now().Before(at) {
		renewed, err = r.Renew(ctx)
	} else if _, err = r.Once(ctx); err != nil && c.Err() == nil {
		// It has time: the next run of the timer looks again.
		t.warnf("roots and revocation lists were not brought up to date: %s", explain(c.Context, failed(err)))
		err = nil
	}
	if err != nil && !renewed {
		return failed(err)
	}
	return errors.Join(err, showRenewed(c, files, renewed, at), h.run(c.Context))
}

// sameOwner says so before the daemon does where the certificate that is to be
// renewed is not of the name of the one that calls.
func sameOwner(caller, renewed string) error {
	var names []string
	for _, path := range []string{caller, renewed} {
		chain, err := live.ReadCertificates(path)
		if err != nil {
			return err
		}
		names = append(names, chain[0].Subject.CommonName)
	}
	if names[0] != names[1] {
		return fmt.Errorf("%s is of %q, and a client certificate of that name has to renew it: %s is of %q", renewed, names[1], caller, names[0])
	}
	return nil
}

func showRenewed(c *cli.Context, files live.Files, renewed bool, at time.Time) error {
	chain, err := live.ReadCertificates(files.Cert)
	if err != nil {
		return err
	}
	v := viewCertificate(chain[0], files.Cert)
	return showValue(c, renewedView{renewed, v}, func(t *terminal) error {
		if !renewed {
			return t.printf("%s: nothing to do before %s; %s expires %s", v.Name, pkiTime(at), v.File, pkiTime(v.NotAfter))
		}
		return firstError(
			t.printf("%s: %s certificate %s, for the same key", v.Name, v.Kind, v.Serial),
			t.printf("  expires      %s (%s)", pkiTime(v.NotAfter), remaining(v.NotBefore, v.NotAfter, time.Now())),
			t.printf("  certificate  %s", v.File),
		)
	})
}

// wait is the Renewer's wait, before which a hook that is due is run. Where the
// hook fails it is tried again at growing intervals.
func (h *hook) wait(t *terminal) func(ctx context.Context, d time.Duration) error {
	failures := 0
	return func(ctx context.Context, d time.Duration) error {
		if err := h.run(ctx); err != nil && ctx.Err() == nil {
			again := min(hookFirstRetry<<min(failures, 10), hookLastRetry)
			failures++
			t.notef("%s; another try in %s", err, min(d, again).Round(time.Second))
			d = min(d, again)
		} else {
			failures = 0
		}
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
