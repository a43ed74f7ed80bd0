package intercept

import (
	"context"
	"crypto/x509"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/footprintai/containarium/daemon/policy"
	"github.com/footprintai/containarium/pki/identity"
	"github.com/footprintai/containarium/pki/live"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// caller is who calls, and the policy under which the call was let in.
type caller struct {
	identity.Identity
	certificate *x509.Certificate
	policy      *policy.Policy
}

func callerOf(ctx context.Context) (caller, bool) {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return caller{}, false
	}
	return c.caller, true
}

// identify takes the caller from the verified certificate of the connection, and
// from nothing that the caller wrote. It fails closed: no TLS, or no certificate
// that the handshake verified, is nobody.
func identify(ctx context.Context) (AuthInfo, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return AuthInfo{}, refusal(codes.Unauthenticated, "NO_IDENTITY", "the connection has no peer")
	}
	info, ok := p.AuthInfo.(AuthInfo)
	if !ok {
		return AuthInfo{}, refusal(codes.Unauthenticated, "NO_IDENTITY", "the connection is not TLS")
	}
	if chains := info.State.VerifiedChains; info.Peer == nil || len(chains) == 0 || len(chains[0]) == 0 {
		return AuthInfo{}, refusal(codes.Unauthenticated, "NO_IDENTITY", "the connection has no verified certificate")
	}
	return info, nil
}

// refused are the reasons for which a certificate is no longer accepted.
var refused = []struct {
	err    error
	reason string
}{
	{live.ErrExpired, "EXPIRED"},
	{live.ErrRevoked, "REVOKED"},
	{live.ErrStale, "REVOCATION_UNKNOWN"},
	{live.ErrOtherCA, "OTHER_CA"},
}

// accept looks again at a certificate that was good at the handshake, since a
// connection outlives it by days. It fails closed: one that has expired, is
// revoked or can not be checked, or whose root is no longer trusted, is nobody's.
func (i *Interceptor) accept(g *Generation, p *live.Peer) error {
	err := g.Trust.Accepts(p, i.Now())
	if err == nil {
		return nil
	}
	reason := "NO_IDENTITY"
	for _, kind := range refused {
		if errors.Is(err, kind.err) {
			reason = kind.reason
		}
	}
	return refusal(codes.Unauthenticated, reason, "%v", err)
}

// May reports whether the caller of ctx may call an RPC ("Service/Method") about
// a container, by the policy under which its call was let in. It fails closed:
// no caller, no.
func May(ctx context.Context, rpc, username string) bool {
	c, ok := callerOf(ctx)
	return ok && c.policy.Decide(c.CommonName, rpc, username).Allow
}

// Standing returns what May does by the newest policy instead of that under which
// the call was let in, the number of that generation, and a channel that is closed
// when there is a newer one: a stream goes by it as long as it is open. It fails
// closed: no caller, no.
func Standing(ctx context.Context) (may func(rpc, username string) bool, generation uint64, newer <-chan struct{}) {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return func(string, string) bool { return false }, 0, nil
	}
	newer = c.streams.newer() // first: a generation that comes in between is then seen, or told
	g := c.Current()
	cn := c.caller.CommonName
	return func(rpc, username string) bool { return g.Policy.Decide(cn, rpc, username).Allow }, g.Number, newer
}

// Certificate returns the verified certificate of the caller of ctx, or nil where
// there is none.
func Certificate(ctx context.Context) *x509.Certificate {
	c, _ := callerOf(ctx)
	return c.certificate
}

// WhoAmI describes the caller of ctx.
func WhoAmI(ctx context.Context) (*pb.WhoAmIResponse, error) {
	c, ok := callerOf(ctx)
	if !ok {
		return nil, refusal(codes.Unauthenticated, "NO_IDENTITY", "the call has no caller")
	}
	role, _ := c.policy.Role(c.CommonName)
	actions, containers := c.policy.Allowed(c.CommonName)
	return &pb.WhoAmIResponse{
		CommonName: c.CommonName,
		Role:       role,
		Serial:     c.Serial,
		NotAfter:   timestamppb.New(c.NotAfter),
		Actions:    actions,
		Containers: containers,
	}, nil
}
