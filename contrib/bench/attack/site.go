package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/footprintai/containarium/daemon"
	"github.com/footprintai/containarium/daemon/config"
	"github.com/footprintai/containarium/incusx/incustest"
	"github.com/footprintai/containarium/pki/pkitest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// policy gives the well-behaved what they need, and the attackers what a tenant
// has: none, or reading.
const policy = `
[roles.admin]
allow = ["*"]

[roles.reader]
allow = ["container.read"]

[roles.guest]
allow = []

[identities]
admin = "admin"
"good-*" = "reader"
reader = "reader"
guest = "guest"
`

// containers are there to be listed: as many as a small host has.
const containers = 20

// site is a running daemon with callers.
type site struct {
	kit     *kit
	ca      *pkitest.CA
	sim     *incustest.Server
	address string
	stop    func() error
	log     counted
	audit   string
	callers []*grpc.ClientConn
	fresh   *credentials.TransportCredentials
}

// counted counts what is written to it, and keeps nothing.
type counted struct{ bytes atomic.Int64 }

func (c *counted) Write(p []byte) (int, error) {
	c.bytes.Add(int64(len(p)))
	return len(p), nil
}

func newSite(ctx context.Context, dir string) (_ *site, err error) {
	s := &site{kit: &kit{dir: dir}, audit: filepath.Join(dir, "audit.log"), stop: func() error { return nil }}
	if s.sim, err = incustest.New(incustest.Options{}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if err := s.kit.with(func() { s.ca = pkitest.New(s.kit) }); err != nil {
		return nil, err
	}
	if err := s.start(dir); err != nil {
		return nil, err
	}
	admin, err := s.dial("admin")
	if err != nil {
		return nil, err
	}
	defer func() { _ = admin.Close() }()
	for i := range containers {
		_, err := pb.NewContainerServiceClient(admin).CreateContainer(ctx, &pb.CreateContainerRequest{Username: fmt.Sprintf("user-%d", i), NoWait: true})
		if err != nil {
			return nil, fmt.Errorf("create a container: %w", err)
		}
	}
	for i := range callers {
		conn, err := s.dial(fmt.Sprintf("good-%d", i))
		if err != nil {
			return nil, err
		}
		s.callers = append(s.callers, conn)
	}
	fresh, err := s.credentials("good-new")
	s.fresh = &fresh
	return s, err
}

// start runs the daemon, with the defaults of its configuration.
func (s *site) start(dir string) error {
	c := config.Config{File: config.Defaults(), LogLevel: logrus.InfoLevel}
	err := s.kit.with(func() {
		files := s.ca.Server(s.kit, "127.0.0.1").WriteFiles(s.kit, dir, s.ca)
		c.Server.Cert, c.Server.Key, c.Server.CA = files.Cert, files.Key, files.CA
	})
	if err != nil {
		return err
	}
	c.Server.Address = "127.0.0.1:0"
	c.Server.CRL = filepath.Join(dir, "crl.pem")
	c.Policy.File = filepath.Join(dir, "policy.toml")
	c.Audit.File = s.audit
	c.Incus.Socket = s.sim.Socket()
	c.Containers.SSHPort = s.sim.SSHPort()
	c.Jump.Accounts = false
	if err := os.WriteFile(c.Policy.File, []byte(policy), 0o600); err != nil {
		return err
	}
	log := logrus.New()
	log.SetLevel(c.LogLevel)
	log.SetOutput(&s.log)
	running, err := daemon.New(&c, daemon.Options{Version: "bench", Log: log, Now: time.Now})
	if err != nil {
		return err
	}
	s.address = running.Addr().String()
	life, cancel := context.WithCancel(context.Background()) // ended by stop alone
	ended := make(chan error, 1)
	go func() { ended <- running.Run(life) }()
	s.stop = func() error {
		cancel()
		return <-ended
	}
	return nil
}

func (s *site) credentials(cn string) (made credentials.TransportCredentials, err error) {
	err = s.kit.with(func() { made = credentials.NewTLS(s.ca.ClientConfig(s.ca.Client(s.kit, cn))) })
	return made, err
}

func (s *site) dial(cn string) (*grpc.ClientConn, error) {
	made, err := s.credentials(cn)
	if err != nil {
		return nil, err
	}
	return grpc.NewClient(s.address, grpc.WithTransportCredentials(made))
}

func (s *site) close() error {
	for _, conn := range s.callers {
		_ = conn.Close()
	}
	err := s.stop()
	s.sim.Close()
	return err
}
