package intercept

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/daemon/audit"
	"github.com/footprintai/containarium/daemon/policy"
	"github.com/footprintai/containarium/pki/live"
	"github.com/footprintai/containarium/pki/pkitest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

const getContainer = "/containarium.v1.ContainerService/GetContainer"

// kit is an Interceptor that writes its audit lines into trail and its log into
// log.
type kit struct {
	*Interceptor
	generation *Generation
	trail, log bytes.Buffer
}

func newKit(t *testing.T) *kit {
	t.Helper()
	actions, err := Actions()
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Parse("policy.toml", []byte("[roles.tenant]\nallow = [\"container.read\"]\ncontainers = [\"{cn}\"]\n[identities]\nalice = \"tenant\"\n"), actions)
	if err != nil {
		t.Fatal(err)
	}
	k := &kit{}
	log := logrus.New()
	log.SetOutput(&k.log)
	k.generation = &Generation{Number: 1, Policy: p}
	k.Interceptor, err = New(t.Context(), Config{
		Current: func() *Generation { return k.generation }, Audit: audit.New(&k.trail), Log: log, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// trust has the kit accept clients of the CA.
func (k *kit) trust(t *testing.T, ca *pkitest.CA) {
	t.Helper()
	dir := t.TempDir()
	files := ca.Server(t, "127.0.0.1").WriteFiles(t, dir, ca)
	loaded, err := files.Load(live.Server, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	k.generation = &Generation{Number: k.generation.Number + 1, Policy: k.generation.Policy, Trust: loaded}
}

// alice is the context of a call by alice, whom the kit accepts from here on.
func (k *kit) alice(t *testing.T) context.Context {
	t.Helper()
	ca := pkitest.New(t)
	k.trust(t, ca)
	return as(t, ca, ca.Client(t, "alice"))
}

// allow gives tenants another action.
func (k *kit) allow(t *testing.T, action string) {
	t.Helper()
	actions, err := Actions()
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Parse("policy.toml", []byte("[roles.tenant]\nallow = ['container.read', '"+action+"']\ncontainers = ['{cn}']\n[identities]\nalice = 'tenant'\n"), actions)
	if err != nil {
		t.Fatal(err)
	}
	k.generation = &Generation{Number: k.generation.Number + 1, Policy: p, Trust: k.generation.Trust}
}

// get calls GetContainer through the interceptor.
func (k *kit) get(ctx context.Context, username string, handler grpc.UnaryHandler) error {
	_, err := k.Unary(ctx, &pb.GetContainerRequest{Username: username}, &grpc.UnaryServerInfo{FullMethod: getContainer}, handler)
	return err
}

// last returns the only audit record.
func (k *kit) last(t *testing.T) audit.Record {
	t.Helper()
	var r audit.Record
	if err := json.Unmarshal(k.trail.Bytes(), &r); err != nil {
		t.Fatalf("%v: %q", err, k.trail.String())
	}
	return r
}

// as is the context of a call over TLS by the pair.
func as(t *testing.T, ca *pkitest.CA, pair pkitest.Pair) context.Context {
	t.Helper()
	state := tls.ConnectionState{HandshakeComplete: true, VerifiedChains: [][]*x509.Certificate{{pair.Leaf, ca.Intermediate, ca.Root}}}
	p, err := live.NewPeer(state)
	if err != nil {
		t.Fatal(err)
	}
	return withInfo(t, AuthInfo{TLSInfo: credentials.TLSInfo{State: state}, Peer: p})
}

func withInfo(t *testing.T, info credentials.AuthInfo) context.Context {
	t.Helper()
	return peer.NewContext(t.Context(), &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711}, AuthInfo: info})
}

func nothing(context.Context, any) (any, error) { return &pb.GetContainerResponse{}, nil }

// The panic is the case: it must end as Internal, and what it says be nobody's to read.
func TestAPanicIsInternalAndAudited(t *testing.T) {
	k := newKit(t)
	err := k.get(k.alice(t), "alice", func(context.Context, any) (any, error) { panic("secret of the handler") })
	r := k.last(t)
	if status.Code(err) != codes.Internal || !strings.Contains(err.Error(), r.RequestID) || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v, want Internal with the request id %s and nothing of the panic", err, r.RequestID)
	}
	if r.Code != "Internal" || r.Decision != "allow" || r.CN != "alice" || r.Container != "alice" || r.Peer != "192.0.2.7:4711" {
		t.Errorf("audit %+v", r)
	}
	if log := k.log.String(); !strings.Contains(log, "secret of the handler") || !strings.Contains(log, "intercept_test.go") || !strings.Contains(log, r.RequestID) {
		t.Errorf("the log lacks the panic, its stack or the request id: %s", log)
	}
}

// An HTTP/2 connection outlives its handshake by days.
func TestACertificateThatExpiredSinceTheHandshakeIsNobody(t *testing.T) {
	k := newKit(t)
	ca := pkitest.New(t)
	pair := ca.Client(t, "alice")
	k.trust(t, ca)
	ctx := as(t, ca, pair)
	called := false
	handler := func(ctx context.Context, request any) (any, error) { called = true; return nothing(ctx, request) }
	k.Now = func() time.Time { return pair.Leaf.NotAfter.Add(-time.Second) }
	if err := k.get(ctx, "alice", handler); err != nil || !called {
		t.Fatalf("a second before: %v", err)
	}
	k.trail.Reset()
	called = false
	k.Now = func() time.Time { return pair.Leaf.NotAfter.Add(time.Second) }
	err := k.get(ctx, "alice", handler)
	if status.Code(err) != codes.Unauthenticated || called || !strings.Contains(err.Error(), "expired on "+pair.Leaf.NotAfter.UTC().Format("2006-01-02 15:04")) || reasonOf(err) != "EXPIRED" {
		t.Errorf("a second after: %v, handler called: %t", err, called)
	}
	if r := k.last(t); r.Decision != "deny" || r.CN != "alice" || r.Code != "Unauthenticated" {
		t.Errorf("audit %+v", r)
	}
}

// Whatever is wrong with a connection, nobody's identity comes of it.
func TestNoIdentityWithoutAVerifiedChain(t *testing.T) {
	ca := pkitest.New(t)
	pair := ca.Client(t, "alice")
	good, _ := peer.FromContext(as(t, ca, pair))
	p := good.AuthInfo.(AuthInfo).Peer
	for name, ctx := range map[string]context.Context{
		"no peer":       t.Context(),
		"no TLS":        withInfo(t, nil),
		"no chain":      withInfo(t, AuthInfo{}),
		"not ours":      withInfo(t, good.AuthInfo.(AuthInfo).TLSInfo),
		"only offered":  withInfo(t, AuthInfo{Peer: p, TLSInfo: credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: []*x509.Certificate{pair.Leaf}}}}),
		"an empty one":  withInfo(t, AuthInfo{Peer: p, TLSInfo: credentials.TLSInfo{State: tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{}}}}}),
		"not looked at": withInfo(t, AuthInfo{TLSInfo: good.AuthInfo.(AuthInfo).TLSInfo}),
	} {
		t.Run(name, func(t *testing.T) {
			k := newKit(t)
			k.trust(t, ca)
			err := k.get(ctx, "alice", func(context.Context, any) (any, error) { t.Error("the handler was called"); return nil, nil })
			if status.Code(err) != codes.Unauthenticated {
				t.Errorf("error %v, want Unauthenticated", err)
			}
			if r := k.last(t); r.Decision != "deny" || r.CN != "" {
				t.Errorf("audit %+v", r)
			}
		})
	}
}

// What the handshake accepted is looked at again by what is loaded now.
func TestACertificateIsRefusedOnceItsRootIsNotTrusted(t *testing.T) {
	k := newKit(t)
	ctx := k.alice(t)
	if err := k.get(ctx, "alice", nothing); err != nil {
		t.Fatal(err)
	}
	k.trust(t, pkitest.New(t))
	err := k.get(ctx, "alice", func(context.Context, any) (any, error) { t.Error("the handler was called"); return nil, nil })
	if status.Code(err) != codes.Unauthenticated || reasonOf(err) != "OTHER_CA" {
		t.Errorf("error %v, reason %s", err, reasonOf(err))
	}
}

// reasonOf is the reason of an error's ErrorInfo.
func reasonOf(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}

func TestOutsideACallNobodyMayAnything(t *testing.T) {
	if May(t.Context(), "container.read", "alice") {
		t.Error("no caller may read")
	}
	if _, err := WhoAmI(t.Context()); status.Code(err) != codes.Unauthenticated {
		t.Errorf("WhoAmI: %v", err)
	}
}

// A caller's text can not break the line, nor fill the disk.
func TestTheAuditLineHoldsWhatTheCallerSent(t *testing.T) {
	k := newKit(t)
	err := k.get(k.alice(t), "\n\x1b[2J"+strings.Repeat("x", 10_000), nothing)
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("error %v", err)
	}
	if line := k.trail.String(); len(line) > 1024 || strings.Count(line, "\n") != 1 || strings.Contains(line, "\x1b") {
		t.Errorf("audit line of %d bytes: %.300q", len(line), line)
	}
}
