// Package daemon puts the parts of the daemon together and runs them: TLS, the
// interceptors, the services and their watch over Incus.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/footprintai/containarium/daemon/audit"
	"github.com/footprintai/containarium/daemon/config"
	"github.com/footprintai/containarium/daemon/gateway"
	"github.com/footprintai/containarium/daemon/intercept"
	"github.com/footprintai/containarium/daemon/jump"
	"github.com/footprintai/containarium/daemon/limit"
	"github.com/footprintai/containarium/daemon/metrics"
	"github.com/footprintai/containarium/daemon/notify"
	"github.com/footprintai/containarium/daemon/service"
	"github.com/footprintai/containarium/daemon/traces"
	"github.com/footprintai/containarium/daemon/trust"
	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/pki/live"
)

const (
	// maxMessage bounds a request, in bytes: the largest that is valid, 32 keys of
	// 4 KiB and 32 labels, is under 160 KiB.
	maxMessage = 256 << 10
	// maxStreams bounds the calls of one connection at a time; a CLI makes one, a
	// program that manages a host some tens.
	maxStreams = 256
	// maxHeaders bounds the headers of a call, in bytes; gRPC's own need some
	// hundred.
	maxHeaders = 16 << 10
	// handshakeTimeout bounds how long a connection may take to prove who it is: a
	// handshake needs two round trips.
	handshakeTimeout = 10 * time.Second
	// A client may ping this often, also while it has no call; more often than that
	// serves nobody.
	minPing = 10 * time.Second
	// A client that vanished without a word is noticed after pingAfter+pingTimeout.
	pingAfter   = time.Minute
	pingTimeout = 20 * time.Second
)

// Options are what a Daemon gets beside its configuration.
type Options struct {
	Version string
	Log     logrus.FieldLogger
	// Authority signs and revokes certificates where this daemon hosts the CA; nil
	// elsewhere.
	Authority service.Authority
	// Notify is the systemd that waits for the daemon; nil where none does.
	Notify *notify.Notifier
	// Now is the clock that certificates and revocation lists are judged by; nil is
	// time.Now.
	Now func() time.Time
}

// Daemon is a daemon that is ready to run.
type Daemon struct {
	config      *config.Config
	log         logrus.FieldLogger
	now         func() time.Time
	generations *generations
	calls       *intercept.Interceptor
	connections connections
	// follower keeps roots and revocation lists like the CA's; nil where that is
	// somebody else's care.
	follower  *trust.Follower
	authority service.Authority
	notify    *notify.Notifier
	// looks is received from by whoever wants to know that the daemon still looks
	// after its connections.
	looks     chan struct{}
	server    *grpc.Server
	readiness *readiness
	service   *service.Service
	listener  *limit.Listener
	https     *httpsServer // nil where HTTP is off
	metrics   *metrics.Metrics
	traces    *traces.Traces // nil where there are none
	audit     *audit.Log
	// problem is what was wrong with the revocation lists at the last look, expired
	// whether the server certificate was.
	looking sync.Mutex
	problem string
	expired bool
	// drain ends reads, giveUp ends the work of calls.
	drain, giveUp context.CancelFunc
}

// New reads everything that the configuration names, checks it, and listens; it
// does not accept yet. It fails closed: with a key that others can read, a
// server certificate that no client would accept, a policy with a mistake, a
// method that nobody decided on, or an audit log that can not be written, there is
// no daemon. Incus need not be there.
func New(config *config.Config, options Options) (*Daemon, error) {
	actions, err := intercept.Actions()
	if err != nil {
		return nil, err
	}
	draining, drain := context.WithCancel(context.Background())
	work, giveUp := context.WithCancel(context.Background())
	d := &Daemon{
		config: config, log: options.Log, now: options.Now, authority: options.Authority, notify: options.Notify, looks: make(chan struct{}),
		readiness: newReadiness(), drain: drain, giveUp: giveUp,
	}
	if d.now == nil {
		d.now = time.Now
	}
	d.generations = &generations{
		files:  live.Files{Cert: config.Server.Cert, Key: config.Server.Key, CA: config.Server.CA, CRL: config.Server.CRL},
		policy: config.Policy.File, actions: actions, now: d.now, log: d.log, published: d.look, stopped: draining,
	}
	if err := d.generations.reload(true); err != nil {
		return nil, err
	}
	if d.audit, err = audit.Start(config.Audit.File, "containarium "+options.Version); err != nil {
		return nil, err
	}
	current := d.generations.current.Load
	d.metrics = d.newMetrics(options.Version)
	if d.traces, err = d.newTraces(options.Version); err != nil {
		return nil, errors.Join(err, d.audit.Close())
	}
	d.calls, err = intercept.New(draining, intercept.Config{
		Current: current, Audit: d.audit, MustAudit: config.Audit.OnError != "warn", Log: d.log, Now: d.now, Version: options.Version,
		// The real clock: a rate is one of the load there is.
		Rate: limit.NewRate(config.Limits.Rate, config.Limits.Burst, time.Now), Turns: limit.NewTurns(),
		Observe: d.metrics.Call, Tracer: d.traces.Tracer(),
	})
	if err != nil {
		return nil, errors.Join(err, d.audit.Close())
	}
	d.connections = newConnections(current, d.audit, d.metrics.Handshake, d.now, d.log)
	d.follower = d.newFollower()
	d.server = grpc.NewServer(append(d.calls.Options(),
		grpc.Creds(d.connections),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingAfter, Timeout: pingTimeout}),
		// A stop waits for the handlers, and so for the rollback of creates.
		grpc.WaitForHandlers(true),
	)...)
	d.service = service.New(work, d.serviceConfig(options.Version))
	inProcess := gateway.NewConn(d.calls)
	registrar := d.calls.Registrar(both{d.server, inProcess})
	d.service.Register(registrar)
	healthpb.RegisterHealthServer(registrar, d.readiness.health)
	reflection.Register(d.server)
	if err := d.calls.Covers(d.server.GetServiceInfo()); err != nil {
		return nil, errors.Join(err, d.audit.Close())
	}
	if d.follower != nil && config.CA.Dir != "" {
		_ = d.follower.Sync(work) // kept and logged
	}
	if current().Trust.CRLs == nil {
		d.log.WithField("file", config.Server.CRL).Warn("revocation is off: there is no file of revocation lists, so a certificate is good until it expires")
	}
	d.look()
	listener, err := net.Listen("tcp", config.Server.Address)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen: %w", err), d.audit.Close())
	}
	d.listener = limit.NewListener(listener, limit.Config{
		AllowFrom: config.AllowFrom, Connections: config.Server.MaxConnections, PerAddress: config.Server.MaxConnectionsPerAddress, Log: d.log,
	})
	if err := d.serveHTTP(inProcess); err != nil {
		return nil, errors.Join(err, d.listener.Close(), d.audit.Close())
	}
	return d, nil
}

func (d *Daemon) serviceConfig(version string) service.Config {
	c := d.config
	var hop service.Hop
	if c.Jump.Accounts {
		hop = &jump.Accounts{Group: c.Jump.Group, Home: c.Jump.Home, SSHPort: c.Containers.SSHPort}
	}
	hostKeys := &jump.HostKeys{Pattern: c.Jump.ToldHostKeys(), Now: d.now}
	return service.Config{
		Incus: incusx.New(incusx.Config{
			Socket:  c.Incus.Socket,
			Project: c.Incus.Project,
			Profile: c.Incus.Profile,
			Remotes: c.Incus.Remotes,
			SSHPort: c.Containers.SSHPort,
			Observe: d.metrics.IncusRequest,
		}),
		Hop:           hop,
		DefaultImage:  c.Containers.Image,
		Defaults:      incusx.Limits{CPU: c.Containers.CPU, Memory: c.Containers.Memory, Disk: c.Containers.Disk},
		PrepareImages: c.Images.Prepare,
		RefreshImages: c.Images.Refresh,
		CreateTimeout: c.Containers.CreateTimeout,
		SSHPort:       c.Containers.SSHPort,
		JumpAddress:   c.Jump.Address,
		JumpHostKeys:  hostKeys.Lines,
		Version:       version,
		May:           intercept.May,
		Standing:      intercept.Standing,
		Caller:        intercept.WhoAmI,
		Certificate:   intercept.Certificate,
		Authority:     d.hosted(),
		Generation:    d.Generation,
		TrustSource:   d.trustSource,
		TrustBundle:   d.trustBundle,
		Now:           d.now,
		Serving:       d.readiness.incus,
		Observer:      d.metrics,
		Log:           d.log,
	}
}

// Addr is the address that the daemon listens on.
func (d *Daemon) Addr() net.Addr { return d.listener.Addr() }

// Run serves until ctx ends, then drains: new calls are refused, those under way
// have the configured time, then what still runs is rolled back. It returns nil
// after an orderly stop. A Daemon runs once.
func (d *Daemon) Run(ctx context.Context) error {
	background, stopBackground := context.WithCancel(ctx)
	var running sync.WaitGroup
	// Calls under way read to their end.
	reading, stopReading := context.WithCancel(context.WithoutCancel(ctx))
	running.Go(func() { d.service.Follow(reading) })
	running.Go(func() { d.service.Supervise(background) })
	running.Go(func() { d.service.ClearUp(background) })
	running.Go(func() { d.service.Roam(background) })
	running.Go(func() { d.service.Sample(background) })
	running.Go(func() { d.generations.watch(background) })
	running.Go(func() { d.lookOn(background) })
	running.Go(func() { d.notify.Watch(background, d.alive) })
	running.Go(func() { d.follow(background) })
	served := make(chan error, 2)
	go func() { served <- d.server.Serve(d.listener) }()
	d.log.WithField("address", d.Addr().String()).Info("serving")
	if d.https != nil {
		go func() { served <- d.https.serve() }()
		d.log.WithField("address", d.HTTPAddr().String()).Info("serving HTTP")
	}
	d.notify.Ready(d.standing())

	var err error
	select {
	case err = <-served: // neither port ends by itself without an error
		d.stop()
	case <-ctx.Done():
		d.log.Info("draining")
		d.notify.Stopping("draining: calls under way are finished")
		d.stop()
	}
	stopBackground()
	stopReading()
	running.Wait()
	d.drain()
	d.giveUp()
	if err := d.traces.Close(); err != nil {
		d.log.WithError(err).Warn("the last traces are lost")
	}
	return errors.Join(err, d.audit.Close())
}

// stop waits for the calls under way on either port, at most for the configured time.
func (d *Daemon) stop() {
	d.readiness.stop()
	d.drain()
	late, cancel := context.WithTimeout(context.Background(), d.config.Server.DrainTimeout)
	defer cancel()
	defer context.AfterFunc(late, func() {
		d.log.Warn("calls are still under way; giving up on them")
		d.giveUp()
		d.server.Stop()
	})()
	var stopping sync.WaitGroup
	if d.https != nil {
		stopping.Go(func() { d.https.stop(late) })
	}
	d.server.GracefulStop()
	stopping.Wait()
}
