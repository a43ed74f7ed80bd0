// Package client is the Go SDK of Containarium: it knows the daemons by name,
// dials them with a client certificate and calls their API.
//
//	config, err := client.LoadConfig(path)       // the servers that the user knows
//	server, err := config.Resolve("jump-1")      // a name, or HOST[:PORT]
//	c, err := client.Dial(server)                // checks the files, connects at the first call
//	defer c.Close()
//	got, err := c.Containers.GetContainer(ctx, &pb.GetContainerRequest{Username: "alice"})
//
// The messages and methods are those of proto/containarium/v1, imported as pb. A
// Client is made once and used by all goroutines.
//
// # Who we are
//
// There is one way to connect: TLS 1.3 with certificates on both sides, and no
// CA trusted but the one in the server's entry. Certificate, key and CA are files
// that a Server names, or Credentials in memory (WithCredentials). Both may be
// renewed while the program runs: calls go on over a new connection, and none
// fails of it, so that a program may run for years on certificates that live for
// days. Renewer renews them, where a daemon hosts the CA.
//
// # When calls fail
//
// Errors of calls are *Error; status.Code tells the kind, Error.Reason the
// daemon's own word for it. A call has no deadline but that of its context, and is
// made once, unless WithRetry says otherwise. A call that was to change something
// and failed as Unavailable or past its deadline may have changed it: ask before
// it is made again.
//
// # Many servers
//
// Config.Select and Config.All find servers by name, group and address. Ask calls
// them all at once, and each answers once, whatever becomes of the others. Watch
// follows the containers of one server, over its restarts.
package client

import (
	"fmt"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/pki/live"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

const (
	// connectTimeout bounds one attempt to connect, handshake included, where the
	// caller's deadline does not: a host behind a firewall that drops packets would
	// hold it for two minutes.
	connectTimeout = 10 * time.Second
	// pingAfter and pingTimeout find a dead server under a call that takes minutes,
	// and keep home routers, which forget quiet connections after a minute or more,
	// from cutting it. The daemon allows a ping every 10 seconds.
	pingAfter   = 30 * time.Second
	pingTimeout = 10 * time.Second
	// maxReceive bounds an answer, in bytes: 10,000 containers with four keys each
	// take some 12 MB.
	maxReceive = 64 << 20
)

// Server is a daemon and what proves who we are to it.
type Server struct {
	// Name is what messages call it; it need not resolve.
	Name string
	// Address is HOST or HOST:PORT; the port is DefaultPort where none is given.
	Address string
	// Identity names the entry of the servers file that the files are from, or is
	// empty where the server has its own.
	Identity string
	// Cert, Key and CA name PEM files: our certificate with its intermediates, its
	// private key, which only its owner may read, and the CA that the server's
	// certificate must come from.
	Cert, Key, CA string
	// CRL names a PEM file with revocation lists, which need not be there; crl.pem
	// beside CA where none is given. A server that is on one is refused.
	CRL string
}

// Files are the server's files.
func (s Server) Files() live.Files {
	crl := s.CRL
	if crl == "" {
		crl = filepath.Join(filepath.Dir(s.CA), "crl.pem")
	}
	return live.Files{Cert: s.Cert, Key: s.Key, CA: s.CA, CRL: crl}
}

// Client is a connection to one daemon. It is safe for concurrent use.
type Client struct {
	Containers pb.ContainerServiceClient
	Auth       pb.AuthServiceClient
	Images     pb.ImageServiceClient
	server     Server
	version    *heard
	channel    *channel
	conn       grpc.ClientConnInterface
}

// Option changes how Dial connects.
type Option func(*options)

type options struct {
	now         func() time.Time
	retry       *Retry
	credentials func() (Credentials, error)
}

// WithClock has certificates judged, and files looked at, by that clock.
func WithClock(now func() time.Time) Option {
	return func(o *options) { o.now = now }
}

// WithCredentials has the connection made with credentials in memory, which are
// never written to disk; the server's files are not looked at. They are checked as
// files are, but for the modes. get is asked by Dial, and then when a call or a
// handshake comes, once a second at most; so a secret store can hand over new ones
// at any time. It must return at once, and may be called by several goroutines, one
// after the other. Where it fails, or what it returns is bad, those that were good
// last stay.
func WithCredentials(get func() (Credentials, error)) Option {
	return func(o *options) { o.credentials = get }
}

// Dial reads the server's files and prepares a connection; the first call makes
// it. It fails closed on files that do not fit together, that others can read
// or write, or that are for another use.
//
// The files may be renewed at any time. Each handshake reads them, and a call
// that finds them changed begins a new connection, over which calls go as soon as
// the server has taken it; a stream stays on the connection that it began on.
// Files that are bad, or half written, change nothing.
//
// Calls have no deadline but that of their context. A call fails at once where
// the server can not be reached, unless grpc.WaitForReady(true) is given.
func Dial(server Server, opts ...Option) (*Client, error) {
	o := options{now: time.Now}
	for _, opt := range opts {
		opt(&o)
	}
	address, err := ParseAddress(server.Address)
	if err != nil {
		return nil, err
	}
	server.Address = address
	if server.Name == "" {
		server.Name = address
	}
	read := fromMemory(o.credentials, o.now)
	if o.credentials == nil {
		for _, file := range []struct{ path, name string }{{server.Cert, "certificate"}, {server.Key, "key"}, {server.CA, "CA"}} {
			if file.path == "" {
				return nil, fmt.Errorf("%s has no %s file", server.Name, file.name)
			}
		}
		read = fromFiles(server.Files(), o.now)
	} else {
		server = Server{Name: server.Name, Address: server.Address}
	}
	source, err := newSource(read, o.now)
	if err != nil && o.credentials != nil { // files have names
		err = fmt.Errorf("%s: %w", server.Name, err)
	}
	if err != nil {
		return nil, err
	}
	version := &heard{}
	channel, err := newChannel(source, func() (*grpc.ClientConn, error) { return connect(server, source, version) })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", server.Name, err)
	}
	var conn grpc.ClientConnInterface = channel
	if o.retry != nil {
		conn = &retrying{Retry: *o.retry, below: channel}
	}
	return &Client{
		Containers: pb.NewContainerServiceClient(conn),
		Auth:       pb.NewAuthServiceClient(conn),
		Images:     pb.NewImageServiceClient(conn),
		server:     server,
		version:    version,
		channel:    channel,
		conn:       conn,
	}, nil
}

// reconnect is how often gRPC tries again to connect, of itself: calls fail until
// it succeeds, so that it must not lag behind Retry and Watch. Its own default
// would have a server that is back wait for two minutes.
var reconnect = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: firstWait / 2, Multiplier: 1.6, Jitter: 0.2, MaxDelay: longestWait},
	MinConnectTimeout: connectTimeout,
}

// connect prepares one connection; a call makes it.
func connect(server Server, source *source, version *heard) (*grpc.ClientConn, error) {
	seen := &transport{}
	return grpc.NewClient(
		// The dialer resolves the host. It goes through no proxy, since none was asked
		// for: HTTPS_PROXY is for the web.
		"passthrough:///"+server.Address,
		grpc.WithContextDialer(seen.dial),
		grpc.WithTransportCredentials(&watchedCredentials{source.credentials(), seen}),
		grpc.WithConnectParams(reconnect),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReceive)),
		grpc.WithChainUnaryInterceptor(wrapUnary(server, seen), version.unary),
		grpc.WithChainStreamInterceptor(wrapStream(server, seen), version.stream),
		grpc.WithDisableServiceConfig(),
	)
}

// Server returns the server as it was dialled, its address with the port.
func (c *Client) Server() Server { return c.server }

// ServerVersion is the version that the daemon told with its last answer, such as
// "v1.4.2", or empty: before the first, and from a daemon that tells none. It is
// the daemon's own word, of at most 100 bytes, which may be any.
func (c *Client) ServerVersion() string { return c.version.last() }

// Conn is the connection, for services other than those of the two fields. Its
// calls return *Error as well.
func (c *Client) Conn() grpc.ClientConnInterface { return c.conn }

// Close ends the connection and the calls on it.
func (c *Client) Close() error {
	if err := c.channel.Close(); err != nil && status.Code(err) != codes.Canceled { // closed before
		return fmt.Errorf("%s: %w", c.server.Name, err)
	}
	return nil
}
