package daemon_test

import (
	"context"
	"crypto/tls"
	"maps"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/pki/pkitest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// Every kind of caller that is nobody is refused in the handshake: no
// interceptor and no handler sees the call, which the empty audit log shows.
func TestBadCallersAreRefused(t *testing.T) {
	d := daemontest.Start(t)
	good := d.CA.Client(t, "admin")
	bad := map[string]credentials.TransportCredentials{
		"plaintext":      insecure.NewCredentials(), //nolint:forbidigo // what is tested is that the daemon refuses it
		"no certificate": credentials.NewTLS(d.CA.ClientConfig(pkitest.Pair{})),
	}
	old := d.CA.ClientConfig(good)
	old.MaxVersion = tls.VersionTLS12
	bad["TLS 1.2"] = credentials.NewTLS(old)
	for what, pair := range d.CA.Bad(t) {
		bad[what] = credentials.NewTLS(d.CA.ClientConfig(pair))
	}
	for _, what := range slices.Sorted(maps.Keys(bad)) {
		t.Run(what, func(t *testing.T) {
			conn, err := grpc.NewClient(d.Address, grpc.WithTransportCredentials(bad[what]))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close() //nolint:errcheck // nothing was sent
			_, err = pb.NewAuthServiceClient(conn).WhoAmI(t.Context(), &pb.WhoAmIRequest{})
			if status.Code(err) != codes.Unavailable {
				t.Errorf("whoami: %v, want a refused handshake", err)
			}
		})
	}
	if records := d.Audit(t); len(records) > 0 {
		t.Errorf("a refused caller reached the interceptors: %+v", records)
	}
	conn, err := grpc.NewClient(d.Address, grpc.WithTransportCredentials(credentials.NewTLS(d.CA.ClientConfig(good))))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the call is over
	if _, err := pb.NewAuthServiceClient(conn).WhoAmI(t.Context(), &pb.WhoAmIRequest{}); err != nil {
		t.Errorf("the good caller was refused as well: %v", err)
	}
}

func withMetadata(ctx context.Context, pairs ...string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, pairs...)
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	daemontest.Wait(t, what, condition)
}
