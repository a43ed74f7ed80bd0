// Package service answers the gRPC methods: it joins the containers that Incus holds with the accounts on the jump host.
package service

import (
	"context"
	"crypto/x509"
	"errors"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"

	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/incusx/cache"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// Hop is the jump host's side of a user: an account that reaches nothing but
// the user's container. *jump.Accounts is one.
type Hop interface {
	// Check reports jump.ErrForeign where the name is somebody else's.
	Check(ctx context.Context, username string) error
	// Prepare makes the account and reports whether it did; Ensure makes it with
	// exactly these keys, good for sshd at address.
	Prepare(ctx context.Context, username string) (made bool, err error)
	Ensure(ctx context.Context, username, address string, keys []string) error
	// Remove ends the account's sessions and removes it; a missing one is fine.
	Remove(ctx context.Context, username string) error
	// Usernames lists the accounts that we made.
	Usernames(ctx context.Context) ([]string, error)
}

// Config is what a Service works with.
type Config struct {
	Incus *incusx.Client
	// Hop is nil where the daemon keeps no accounts on its host.
	Hop Hop
	// DefaultImage and Defaults fill what a create leaves out.
	DefaultImage string
	Defaults     incusx.Limits
	// PrepareImages says whether an image that lacks something is prepared, and
	// RefreshImages after how long anew; 0 means never.
	PrepareImages bool
	RefreshImages time.Duration
	// CreateTimeout bounds a create, and the wait for sshd within it.
	CreateTimeout time.Duration
	SSHPort       int
	// JumpAddress is the HOST or HOST:PORT that users are told; may be empty.
	JumpAddress string
	// JumpHostKeys are the host keys of the jump host that users are told, each as one
	// line; nil knows none.
	JumpHostKeys func() []string
	Version      string
	// May reports whether the caller of ctx may call an RPC ("Service/Method")
	// about a container: lists are filtered by it.
	May func(ctx context.Context, rpc, username string) bool
	// Standing returns what May does by the newest policy, the number of that policy,
	// and a channel that is closed when there is a newer one: watches go by it.
	Standing func(ctx context.Context) (may func(rpc, username string) bool, generation uint64, newer <-chan struct{})
	// Caller describes the caller of ctx.
	Caller func(ctx context.Context) (*pb.WhoAmIResponse, error)
	// Certificate returns the verified certificate of the caller of ctx.
	Certificate func(ctx context.Context) *x509.Certificate
	// Authority is nil where the daemon hosts no CA.
	Authority Authority
	// Generation, TrustSource and TrustBundle describe what the daemon goes by, and
	// where it has it from.
	Generation  func() *pb.Generation
	TrustSource func() *pb.TrustSource
	TrustBundle func() *pb.GetTrustBundleResponse
	// Now is the clock of certificates.
	Now func() time.Time
	// Serving is told whether Incus answers, whenever that was looked at.
	Serving func(bool)
	// Observer is nil where nobody counts.
	Observer Observer
	Log      logrus.FieldLogger
}

// Service implements ContainerService, AuthService and ImageService.
type Service struct {
	pb.UnimplementedContainerServiceServer
	pb.UnimplementedAuthServiceServer
	pb.UnimplementedImageServiceServer
	Config
	started time.Time
	users   locks
	// copied are the containers, for reads.
	copied  *cache.Cache[*pb.Container]
	watches watches
	// images are the preparations under way.
	images preparations
	// samples are what metrics were, learning holds whoever asks a container for its
	// host key.
	samples  samples
	learning chan struct{}
	// unsettled is not 0 while a restore may be unfinished, or a failed create not
	// cleared up, as before the first Reconcile: Supervise has another look then.
	unsettled atomic.Int64
	// work ends when the daemon gives up on what still runs.
	work context.Context
}

// New returns a Service whose work ends with ctx at the latest.
func New(ctx context.Context, config Config) *Service {
	if config.Hop == nil {
		config.Hop = noHop{}
	}
	s := &Service{
		Config: config, started: time.Now(), work: ctx, users: locks{held: map[string]*lock{}}, learning: make(chan struct{}, learners),
	}
	s.unsettled.Store(1)
	s.copied = cache.New(config.Incus, s.toProto, config.Log)
	s.watches.heartbeat = heartbeat
	return s
}

// Follow keeps the copy of the containers up to date, from which reads are
// answered, until ctx ends.
func (s *Service) Follow(ctx context.Context) { s.copied.Run(ctx) }

// InSync reports whether reads are answered from a copy that is known to be good.
func (s *Service) InSync() bool {
	isLive, _ := s.copied.Freshness()
	return isLive
}

// rereadTimeout bounds the read of a container after it was changed: Incus says within
// 10 seconds that the cluster member that has it does not answer.
const rereadTimeout = 15 * time.Second

// reread makes what was done to a user's container part of every answer that
// begins from here on.
func (s *Service) reread(ctx context.Context, username string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rereadTimeout)
	defer cancel()
	s.copied.Refresh(ctx, username)
}

// Register registers the services.
func (s *Service) Register(server grpc.ServiceRegistrar) {
	pb.RegisterContainerServiceServer(server, s)
	pb.RegisterAuthServiceServer(server, s)
	pb.RegisterImageServiceServer(server, s)
}

// detach returns a context for work that goes on to its end when the caller goes
// away; it ends after timeout, or when the daemon gives up.
func (s *Service) detach(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	stop := context.AfterFunc(s.work, cancel)
	return detached, func() { stop(); cancel() }
}

// noHop is the jump host of a daemon that keeps no accounts.
type noHop struct{}

func (noHop) Check(context.Context, string) error                    { return nil }
func (noHop) Prepare(context.Context, string) (bool, error)          { return false, nil }
func (noHop) Ensure(context.Context, string, string, []string) error { return nil }
func (noHop) Remove(context.Context, string) error                   { return nil }
func (noHop) Usernames(context.Context) ([]string, error)            { return nil, nil }

// errBusy says that another create of the same user is under way.
var errBusy = errors.New("a create is under way")
