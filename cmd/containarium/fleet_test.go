package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/daemon"
	"github.com/footprintai/containarium/daemon/config"
	"github.com/footprintai/containarium/incusx/incustest"
	"github.com/footprintai/containarium/pki"
	"github.com/footprintai/containarium/pki/live"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// fleet is a CA and the daemons that trust it, in one process and with one
// clock. The first daemon hosts the CA; the others take roots and revocation
// lists from it.
type fleet struct {
	t       *testing.T
	clock   *clock
	ca      *pki.CA
	ttl     time.Duration // of what is issued; 0 takes the CA's default
	daemons []*member
}

// member is a host of the fleet. Its server's and its client's certificate have
// one name.
type member struct {
	name, address  string
	server, client live.Files
}

// clock is one that only the test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

const fleetPolicy = `
[roles.user]
allow = ["system.read"]

[identities]
"*" = "user"
`

func newFleet(t *testing.T, daemons int, ttl time.Duration) *fleet {
	t.Helper()
	f := &fleet{t: t, clock: &clock{now: time.Now()}, ttl: ttl}
	var err error
	if f.ca, err = pki.Init(t.Context(), filepath.Join(t.TempDir(), "pki"), pki.Options{}); err != nil {
		t.Fatal(err)
	}
	f.ca.Now = f.clock.Now
	if _, err := f.ca.WriteCRL(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	sim := incustest.Start(t)
	for n := range daemons {
		f.start(sim, fmt.Sprintf("jump-%d", n+1))
	}
	return f
}

func (f *fleet) start(sim *incustest.Server, name string) {
	f.t.Helper()
	dir := f.t.TempDir()
	m := &member{name: name, server: f.files(dir, "tls", name, pki.Server, "127.0.0.1"), client: f.files(dir, "client", name, pki.Client)}
	c := config.Config{File: config.Defaults(), LogLevel: logrus.WarnLevel}
	c.Server.Address = "127.0.0.1:0"
	c.Server.Cert, c.Server.Key, c.Server.CA, c.Server.CRL = m.server.Cert, m.server.Key, m.server.CA, m.server.CRL
	c.Policy.File, c.Audit.File = filepath.Join(dir, "policy.toml"), filepath.Join(dir, "audit.log")
	f.write(c.Policy.File, []byte(fleetPolicy), 0o600)
	c.Incus.Socket, c.Jump.Accounts = sim.Socket(), false
	log := logrus.New()
	log.SetOutput(f.t.Output())
	log.SetLevel(c.LogLevel)
	options := daemon.Options{Version: "test", Log: log, Now: f.clock.Now}
	if len(f.daemons) == 0 {
		c.CA.Dir, options.Authority = f.ca.Dir, &authority{f.ca}
	} else {
		c.TLS.TrustFrom, c.TLS.TrustInterval = f.daemons[0].address, 100*time.Millisecond
		c.TLS.ClientCert, c.TLS.ClientKey = m.client.Cert, m.client.Key
	}
	d, err := daemon.New(&c, options)
	if err != nil {
		f.t.Fatal(err)
	}
	m.address = d.Addr().String()
	f.daemons = append(f.daemons, m)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	f.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			f.t.Errorf("%s: %v", name, err)
		}
	})
}

// files makes a key and a certificate for it, and puts them into dir with the
// roots and the revocation lists of the moment.
func (f *fleet) files(dir, base, name string, kind pki.Kind, sans ...string) live.Files {
	f.t.Helper()
	csr, key, err := pki.NewRequest(name, kind, sans, pki.P256, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	issued, err := f.ca.Sign(f.t.Context(), pki.CSRRequest{CSR: csr, Kind: kind, TTL: f.ttl, By: "test"})
	if err != nil {
		f.t.Fatal(err)
	}
	crls, err := f.ca.CRLs()
	if err != nil {
		f.t.Fatal(err)
	}
	files := live.Files{
		Cert: filepath.Join(dir, base+".crt"), Key: filepath.Join(dir, base+".key"),
		CA: filepath.Join(dir, "ca.crt"), CRL: filepath.Join(dir, "crl.pem"),
	}
	f.write(files.Cert, issued.Chain, 0o644)
	f.write(files.Key, key, 0o600)
	f.write(files.CA, issued.Roots, 0o644)
	f.write(files.CRL, crls, 0o644)
	return files
}

func (f *fleet) write(path string, data []byte, mode os.FileMode) {
	f.t.Helper()
	if err := os.WriteFile(path, data, mode); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) dial(m *member, files live.Files) *client.Client {
	f.t.Helper()
	c, err := client.Dial(client.Server{Name: m.name, Address: m.address, Cert: files.Cert, Key: files.Key, CA: files.CA, CRL: files.CRL}, client.WithClock(f.clock.Now))
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// renewer renews files at the CA, as the member's or user's client that they name.
func (f *fleet) renewer(files, as live.Files) *client.Renewer {
	return &client.Renewer{
		Client: func() (*client.Client, error) { return f.dial(f.daemons[0], as), nil },
		Files:  files, Now: f.clock.Now, Log: f.t.Logf,
	}
}

// traffic is a user who calls every daemon all the time.
type traffic struct {
	name  string
	calls []*atomic.Int64
}

// begin begins the calls; the first one that fails fails the test.
func (f *fleet) begin(name string, files live.Files) *traffic {
	f.t.Helper()
	tr := &traffic{name: name}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	f.t.Cleanup(func() { stop(); running.Wait() })
	for _, m := range f.daemons {
		c, calls := f.dial(m, files), &atomic.Int64{}
		tr.calls = append(tr.calls, calls)
		running.Go(func() {
			defer func() { _ = c.Close() }()
			pace := time.NewTicker(20 * time.Millisecond)
			defer pace.Stop()
			for ctx.Err() == nil {
				if _, err := c.Auth.WhoAmI(ctx, &pb.WhoAmIRequest{}); err != nil && ctx.Err() == nil {
					f.t.Errorf("a call of %s to %s failed: %v", name, m.name, err)
					return
				}
				calls.Add(1)
				select {
				case <-pace.C:
				case <-ctx.Done():
				}
			}
		})
	}
	return tr
}

// goOn waits until every loop made calls that began after now.
func (f *fleet) goOn(all ...*traffic) {
	f.t.Helper()
	for _, tr := range all {
		for n, calls := range tr.calls {
			least := calls.Load() + 2 // the one under way, and one after it
			f.until(fmt.Sprintf("%s calls %s", tr.name, f.daemons[n].name), func() bool { return calls.Load() >= least || f.t.Failed() })
		}
	}
	if f.t.Failed() {
		f.t.FailNow()
	}
}

// until waits for a condition.
func (f *fleet) until(what string, met func() bool) {
	f.t.Helper()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for !met() {
		select {
		case <-again.C:
		case <-limit.C:
			f.t.Fatalf("it never came to this: %s", what)
		}
	}
}

// served waits until every daemon presents what its file holds.
func (f *fleet) served() {
	f.t.Helper()
	for _, m := range f.daemons {
		config := f.clientConfig(m.client)
		want := m.leaf(f.t)
		f.until(m.name+" serves its renewed certificate", func() bool {
			conn, err := (&tls.Dialer{Config: config}).DialContext(f.t.Context(), "tcp", m.address)
			if err != nil {
				f.t.Fatalf("dial %s: %v", m.name, err)
			}
			defer conn.Close() //nolint:errcheck // it said what was asked
			secured, _ := conn.(*tls.Conn)
			return secured.ConnectionState().PeerCertificates[0].Equal(want)
		})
	}
}

func (f *fleet) clientConfig(files live.Files) *tls.Config {
	f.t.Helper()
	loaded, err := files.Load(live.Client, f.clock.Now())
	if err != nil {
		f.t.Fatal(err)
	}
	config := loaded.ClientConfig(f.clock.Now)
	config.ServerName, config.NextProtos = "127.0.0.1", []string{"h2"}
	return config
}

func (m *member) leaf(t *testing.T) *x509.Certificate {
	t.Helper()
	certs, err := live.ReadCertificates(m.server.Cert)
	if err != nil {
		t.Fatal(err)
	}
	return certs[0]
}
