package daemon

import (
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// Generation describes what the daemon goes by.
func (d *Daemon) Generation() *pb.Generation {
	g := d.generations.current.Load()
	generation := &pb.Generation{
		Number:                    g.Number,
		LoadedAt:                  timestamppb.New(g.LoadedAt),
		ServerCertificateNotAfter: timestamppb.New(g.Trust.Pair.Leaf.NotAfter),
	}
	if failed := d.generations.failed.Load(); failed != nil {
		generation.LastError, generation.LastErrorAt = failed.err.Error(), timestamppb.New(failed.at)
	}
	for _, list := range g.Trust.CRLs.Lists(d.now()) {
		l := &pb.RevocationList{
			Issuer:     list.Issuer,
			ThisUpdate: timestamppb.New(list.ThisUpdate),
			NextUpdate: timestamppb.New(list.NextUpdate),
			Revoked:    uint32(list.Revoked), //nolint:gosec // a file holds far fewer
		}
		if list.Number != nil {
			l.Number = list.Number.String()
		}
		if list.Problem != nil {
			l.Problem = list.Problem.Error()
		}
		generation.RevocationLists = append(generation.RevocationLists, l)
	}
	if len(generation.GetRevocationLists()) == 0 {
		for _, problem := range g.Trust.CRLs.Problems(d.now()) { // with the file as a whole
			generation.RevocationLists = append(generation.RevocationLists, &pb.RevocationList{Problem: problem.Error()})
		}
	}
	return generation
}

// trustSource describes where roots and lists come from; nil where nowhere.
func (d *Daemon) trustSource() *pb.TrustSource {
	if d.follower == nil {
		return nil
	}
	state := d.follower.State()
	source := &pb.TrustSource{Address: state.From}
	if !state.FetchedAt.IsZero() {
		source.FetchedAt = timestamppb.New(state.FetchedAt)
	}
	if state.Err != nil {
		source.LastError = state.Err.Error()
	}
	return source
}

// trustBundle is what this daemon goes by, for others to go by.
func (d *Daemon) trustBundle() *pb.GetTrustBundleResponse {
	g := d.generations.current.Load()
	return &pb.GetTrustBundleResponse{Roots: string(g.Trust.RootsPEM), Crls: string(g.Trust.CRLsPEM)}
}
