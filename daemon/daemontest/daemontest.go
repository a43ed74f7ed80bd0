// Package daemontest runs the real daemon, in process, on a simulated Incus and
// with certificates of a throw-away CA.
package daemontest

import (
	"cmp"
	"context"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"

	"github.com/footprintai/containarium/daemon"
	"github.com/footprintai/containarium/daemon/audit"
	"github.com/footprintai/containarium/daemon/config"
	"github.com/footprintai/containarium/daemon/limit"
	"github.com/footprintai/containarium/daemon/notify"
	"github.com/footprintai/containarium/daemon/service"
	"github.com/footprintai/containarium/incusx/incustest"
	"github.com/footprintai/containarium/pki/live"
	"github.com/footprintai/containarium/pki/pkitest"
)

// Policy is the policy of a Daemon unless a test gives another. Who is not named
// has no role; alice and bob are tenants.
const Policy = `
[roles.admin]
allow = ["*"]

[roles.operator]
allow = ["container.*", "sshkey.*", "snapshot.*", "image.*", "metrics.read", "system.read"]
deny = ["container.delete", "image.delete"]

[roles.tenant]
allow = ["container.read", "container.start", "container.stop", "container.restart", "sshkey.*", "snapshot.read", "snapshot.restore", "metrics.read"]
containers = ["{cn}"]

[roles.guest]
allow = []

[identities]
admin = "admin"
"operator-*" = "operator"
alice = "tenant"
bob = "tenant"
guest = "guest"
`

// Daemon is a running daemon.
type Daemon struct {
	*daemon.Daemon
	// Address is where it listens, HOST:PORT, and URL its HTTP port, without a slash
	// at the end.
	Address, URL string
	CA           *pkitest.CA
	Sim          *incustest.Server
	// Files are what the daemon goes by, and may be written. Without a file of
	// revocation lists revocation is off.
	Files live.Files

	policy, audit string
	log           *record
	stop          func() error
}

// Options are how a daemon differs from that of Start. The zero value is Start's.
type Options struct {
	// Sim is an Incus that is there already.
	Sim *incustest.Server
	// CA is one that is there already; its clock is the daemon's.
	CA *pkitest.CA
	// Policy is another than the package's.
	Policy string
	// CRLs is the file of revocation lists; nil means that there is none.
	CRLs []byte
	// Authority is the CA that the daemon hosts, whose directory it follows.
	Authority *Authority
	// Version is another than "test".
	Version string
	// Notify is the systemd that waits for it.
	Notify *notify.Notifier
	// Change changes the configuration, which is relative to a directory of its own.
	Change func(*config.File)
}

// Start runs a daemon until the test ends. It keeps no accounts on the host.
// Each of change may change its configuration, which is relative to a directory
// of its own.
func Start(t testing.TB, change ...func(*config.File)) *Daemon {
	t.Helper()
	return StartOn(t, incustest.Start(t), change...)
}

// StartOn is Start on an Incus that is there already.
func StartOn(t testing.TB, sim *incustest.Server, change ...func(*config.File)) *Daemon {
	t.Helper()
	return StartWith(t, Options{Sim: sim, Change: func(c *config.File) {
		for _, f := range change {
			f(c)
		}
	}})
}

// StartWith is Start with options.
func StartWith(t testing.TB, options Options) *Daemon {
	t.Helper()
	d := &Daemon{CA: options.CA, Sim: options.Sim, log: &record{out: t.Output()}}
	if d.CA == nil {
		d.CA = pkitest.New(t)
	}
	if d.Sim == nil {
		d.Sim = incustest.Start(t)
	}
	dir := t.TempDir()
	d.Files = d.CA.Server(t, "127.0.0.1", "localhost").WriteFiles(t, dir, d.CA)
	d.Files.CRL = filepath.Join(dir, "crl.pem")
	d.policy = filepath.Join(dir, "policy.toml")
	d.audit = filepath.Join(dir, "audit.log")
	c := config.Config{File: config.Defaults(), LogLevel: logrus.DebugLevel}
	c.Server.Address, c.HTTP.Address = "127.0.0.1:0", "127.0.0.1:0"
	c.Server.Cert, c.Server.Key, c.Server.CA, c.Server.CRL = d.Files.Cert, d.Files.Key, d.Files.CA, d.Files.CRL
	c.Policy.File, c.Audit.File = d.policy, d.audit
	c.Incus.Socket = d.Sim.Socket()
	c.Containers.SSHPort = d.Sim.SSHPort()
	c.Jump.Accounts = false
	d.SetPolicy(t, cmp.Or(options.Policy, Policy))
	if options.CRLs != nil {
		d.SetCRLs(t, options.CRLs)
	}
	var authority service.Authority // nil, and not one that is nothing
	if options.Authority != nil {
		authority, c.CA.Dir = options.Authority, options.Authority.Dir
	}
	if options.Change != nil {
		options.Change(&c.File)
	}
	var err error
	if c.AllowFrom, err = limit.ParseAllowFrom(c.Server.AllowFrom); err != nil {
		t.Fatal(err)
	}
	d.run(t, &c, daemon.Options{Version: cmp.Or(options.Version, "test"), Authority: authority, Notify: options.Notify, Now: d.CA.Now})
	return d
}

func (d *Daemon) run(t testing.TB, c *config.Config, options daemon.Options) {
	t.Helper()
	log := logrus.New()
	log.SetLevel(c.LogLevel)
	log.SetOutput(d.log)
	options.Log = log
	running, err := daemon.New(c, options)
	if err != nil {
		t.Fatal(err)
	}
	d.Daemon = running
	d.Address = running.Addr().String()
	if address := running.HTTPAddr(); address != nil {
		d.URL = "https://" + address.String()
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- running.Run(ctx) }()
	stopped := false
	d.stop = func() error {
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if stopped {
			return
		}
		if err := d.stop(); err != nil {
			t.Errorf("the daemon: %v", err)
		}
	})
}

// Stop stops the daemon as SIGTERM does, and returns what Run returned.
func (d *Daemon) Stop() error { return d.stop() }

// ClientFiles writes a client certificate for the CN and returns its files.
func (d *Daemon) ClientFiles(t testing.TB, cn string) live.Files {
	t.Helper()
	return d.CA.Client(t, cn).WriteFiles(t, t.TempDir(), d.CA)
}

// Dial connects as the CN, until the test ends.
func (d *Daemon) Dial(t testing.TB, cn string) *grpc.ClientConn {
	t.Helper()
	return d.DialWith(t, d.CA.Client(t, cn))
}

// Audit returns the audit records of calls on their way out so far, the oldest
// first.
func (d *Daemon) Audit(t testing.TB) []audit.Record {
	t.Helper()
	return slices.DeleteFunc(d.Events(t), func(r audit.Record) bool { return r.Event != audit.EventRPC })
}

// Events returns all audit records so far, the oldest first.
func (d *Daemon) Events(t testing.TB) []audit.Record {
	t.Helper()
	var records []audit.Record
	// The daemon may be in the middle of a line.
	Wait(t, "an audit log that is all records", func() bool {
		records = nil
		skipped, err := audit.Records([]audit.Source{audit.FileSource(d.audit)}, func(r audit.Record, _ []byte) bool {
			records = append(records, r)
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		return skipped == 0
	})
	return records
}
