package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/pki/live"
	"github.com/footprintai/containarium/pki/pkitest"
)

// twoServers starts two daemons and has the user's file name them.
func twoServers(t *testing.T) (one, two *daemontest.Daemon) {
	t.Helper()
	ca := pkitest.New(t)
	one, two = daemontest.StartWith(t, daemontest.Options{CA: ca}), daemontest.StartWith(t, daemontest.Options{CA: ca})
	files := one.ClientFiles(t, "admin")
	dir := t.TempDir()
	for name, value := range map[string]string{
		"HOME": dir, "CONTAINARIUM_CONFIG": filepath.Join(dir, "config.toml"),
		"CONTAINARIUM_SERVER": "", "CONTAINARIUM_CERT": "", "CONTAINARIUM_KEY": "", "CONTAINARIUM_CA": "",
	} {
		t.Setenv(name, value)
	}
	for name, d := range map[string]*daemontest.Daemon{"jump-1": one, "jump-2": two} {
		if code, _, errs := runLine(t.Context(), false, "server", "add", name, d.Address, "--cert", files.Cert, "--key", files.Key, "--ca", files.CA); code != exitFine {
			t.Fatal(errs)
		}
	}
	return one, two
}

// Who sits at a terminal is asked before several servers are changed, is told
// which containers, and only yes is consent.
func TestChangesOfSeveralServersAreConfirmed(t *testing.T) {
	one, two := twoServers(t)
	if code, _, errs := runLine(t.Context(), false, "create", "alice", "--ssh-key", publicKey(t), "--server", "jump-1,jump-2"); code != exitFine {
		t.Fatal(errs)
	}
	one.Sim.Forget()
	two.Sim.Forget()
	for _, test := range []struct {
		answer string
		code   int
		want   string
	}{
		{"n", exitFailed, "containarium: nothing was done\n"},
		{"", exitFailed, "containarium: nothing was done\n"},
		{"yes", exitFine, "the container of alice on jump-1 is deleted\ncontainarium: the container of alice on jump-2 is deleted\n"},
	} {
		p := newPTY(t)
		screen, _, errs := capture(false)
		screen.tty = p.open
		go func() {
			p.see(t, "rm the containers jump-1:alice, jump-2:alice? [y/N] ")
			_, _ = p.WriteString(test.answer + "\n")
		}()
		code := run(patient(t), screen, strings.Fields("containarium rm alice --all --force"))
		if code != test.code || !strings.HasSuffix(errs.String(), test.want) {
			t.Errorf("%q: exit code %d, %q", test.answer, code, errs)
		}
		if n := one.Sim.Requests("DELETE", "") + two.Sim.Requests("DELETE", ""); (n > 0) != (test.code == exitFine) {
			t.Errorf("%q: %d deletions", test.answer, n)
		}
	}
}

// Ctrl-C ends a question to many servers with one line, not with one for each.
func TestInterruptedFleet(t *testing.T) {
	twoServers(t)
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	for _, line := range []string{"ls --all", "info alice --all", "stop alice --server jump-1,jump-2"} {
		code, out, errs := runLine(ctx, false, strings.Fields(line)...)
		if code != exitInterrupted || out.Len() > 0 || !oneLine(errs.String()) || !strings.HasSuffix(errs.String(), ": interrupted\n") {
			t.Errorf("%s: exit code %d, %q, %q", line, code, out, errs)
		}
	}
}

// A server that is on our list of the revoked is refused, and we are told since when.
func TestRevokedServer(t *testing.T) {
	d := daemontest.Start(t)
	files := d.ClientFiles(t, "admin")
	chain, err := live.ReadCertificates(d.Files.Cert)
	if err != nil {
		t.Fatal(err)
	}
	crl := filepath.Join(filepath.Dir(files.CA), "crl.pem")
	if err := os.WriteFile(crl, d.CA.CRL(t, chain[0].SerialNumber), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"HOME": t.TempDir(), "CONTAINARIUM_CONFIG": "", "CONTAINARIUM_SERVER": d.Address,
		"CONTAINARIUM_CERT": files.Cert, "CONTAINARIUM_KEY": files.Key, "CONTAINARIUM_CA": files.CA,
	} {
		t.Setenv(name, value)
	}
	code, _, errs := runLine(t.Context(), false, "ls")
	if code != exitFailed || !oneLine(errs.String()) || !strings.Contains(errs.String(), "was revoked on 20") || !strings.Contains(errs.String(), "; whoever answers there may have stolen its key") {
		t.Errorf("exit code %d, %q", code, errs)
	}
}

// No more servers are at work at a time than the bound.
func TestServersAtOnce(t *testing.T) {
	ca := pkitest.New(t)
	files := ca.Client(t, "admin").WriteFiles(t, t.TempDir(), ca)
	c := cli.NewContext(newApp(&terminal{}), nil, &cli.Context{Context: t.Context()})
	c.Command = &cli.Command{HelpName: "containarium start"}
	var places []place
	for n := range 2 * serversAtOnce {
		address := fmt.Sprintf("127.0.0.1:%d", n+1) // nobody is called
		places = append(places, place{"alice", client.Server{Name: address, Address: address, Cert: files.Cert, Key: files.Key, CA: files.CA}})
	}
	var now, most atomic.Int64
	full := make(chan struct{})
	waits := begin(c, &targets{timeout: time.Minute, config: &client.Config{}}, places, func(context.Context, *session, string) (*outcome, error) {
		n := now.Add(1)
		defer now.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			continue
		}
		<-full
		return &outcome{}, nil
	})
	daemontest.Wait(t, "as many as may be", func() bool { return now.Load() >= serversAtOnce })
	close(full)
	for _, wait := range waits {
		if _, err := wait(); err != nil {
			t.Error(err)
		}
	}
	if n := most.Load(); n != serversAtOnce {
		t.Errorf("%d at a time, want %d", n, serversAtOnce)
	}
}
