package trust

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/pki/guard"
	"github.com/footprintai/containarium/pki/live"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// Remote asks the daemon at address, HOST:PORT. It makes a connection each time,
// with the files as they are then, so that a renewed certificate counts at once.
func Remote(address string, files live.Files, now func() time.Time) Source {
	return func(ctx context.Context) (_ Bundle, err error) {
		loaded, err := files.Load(live.Client, now())
		if err != nil {
			return Bundle{}, err
		}
		conn, err := grpc.NewClient(address,
			grpc.WithTransportCredentials(credentials.NewTLS(loaded.ClientConfig(now))),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxRoots+maxCRLs+1<<10)))
		if err != nil {
			return Bundle{}, fmt.Errorf("ask %s: %w", address, err)
		}
		defer conn.Close() //nolint:errcheck // the answer is there
		var from peer.Peer
		response, err := pb.NewAuthServiceClient(conn).GetTrustBundle(ctx, &pb.GetTrustBundleRequest{}, grpc.Peer(&from))
		if err != nil {
			return Bundle{}, fmt.Errorf("ask %s: %s", address, status.Convert(err).Message())
		}
		info, ok := from.AuthInfo.(credentials.TLSInfo)
		if !ok || len(info.State.PeerCertificates) == 0 {
			return Bundle{}, fmt.Errorf("ask %s: the server has no certificate", address)
		}
		return Bundle{Roots: []byte(response.GetRoots()), CRLs: []byte(response.GetCrls()), Chain: info.State.PeerCertificates}, nil
	}
}

// Local reads the files of a CA on this host; a missing file of lists means that
// there are none.
func Local(roots, crls string) Source {
	return func(context.Context) (Bundle, error) {
		var b Bundle
		var err error
		if b.Roots, err = guard.ReadFile(roots, guard.Public, maxRoots); err != nil {
			return Bundle{}, err
		}
		b.CRLs, err = guard.ReadFile(crls, guard.Public, maxCRLs)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Bundle{}, err
		}
		return b, nil
	}
}
