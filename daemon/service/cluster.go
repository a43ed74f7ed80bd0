package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/footprintai/containarium/daemon/jump"
	"github.com/footprintai/containarium/incusx"
	"github.com/footprintai/containarium/incusx/cache"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// Where Incus is a cluster there may be a daemon on one member or on each of them. Each
// lists the containers of all, and keeps on its own host an account for each that it
// lists: a user jumps through any host that has a daemon, as far as that host reaches
// the container (incusx/cluster.go says what that takes). So a daemon follows what the
// others do, and leaves to them what they have begun.

// checkTarget reports why no container can be made on the target. What comes to pass
// after this look, the create itself meets.
func (s *Service) checkTarget(ctx context.Context, prefix, target string) error {
	if target == "" {
		return nil
	}
	members, err := s.Incus.Members(ctx)
	if err != nil {
		return statusOf(err)
	}
	var v violations
	at := slices.IndexFunc(members, func(m incusx.Member) bool { return m.Name == target })
	switch {
	case len(members) == 0:
		v.add(prefix+"target", "names a member of a cluster, and Incus on this host is no cluster")
	case at < 0:
		v.add(prefix+"target", "must be a member of the cluster: %s", strings.Join(names(members, false), ", "))
	case !members[at].Online():
		return errPrecondition("MEMBER_OFFLINE", "the cluster member %s is %s (%s): take %s, or leave the choice to Incus",
			target, strings.ToLower(members[at].Status), members[at].Message, orNone(names(members, true)))
	}
	return v.err()
}

// names are those of members, or of those that are online.
func names(members []incusx.Member, online bool) []string {
	var names []string
	for i := range members {
		if !online || members[i].Online() {
			names = append(names, members[i].Name)
		}
	}
	return names
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none, for no other is online"
	}
	return strings.Join(names, " or ")
}

// membersProto are the members of the cluster, with how many containers each has.
func (s *Service) membersProto(ctx context.Context, entries []*cache.Entry[*pb.Container]) ([]*pb.ClusterMember, error) {
	members, err := s.Incus.Members(ctx)
	if err != nil {
		return nil, err
	}
	count := map[string]uint32{}
	for _, entry := range entries {
		count[entry.Container.Location]++
	}
	var found []*pb.ClusterMember
	for i := range members {
		m := &members[i]
		found = append(found, &pb.ClusterMember{
			Name: m.Name, Status: m.Status, Message: m.Message, Roles: m.Roles, Containers: count[m.Name], Local: m.Local,
		})
	}
	return found, nil
}

// othersWork reports whether an unfinished container is being made by another member's
// daemon. One that has been for longer than that takes is nobody's any more.
func (s *Service) othersWork(ctx context.Context, container incusx.Container) (bool, error) {
	if container.Through == "" || time.Since(container.CreatedAt) > incusx.OthersFor {
		return false, nil
	}
	member, err := s.Incus.Member(ctx)
	return member != container.Through, err
}

// followOthers makes the accounts on this host match what another member's daemon did
// to containers: new ones, other keys, another address.
func (s *Service) followOthers(ctx context.Context, changes []cache.Change[*pb.Container]) {
	for _, change := range changes {
		if change.After == nil || !concernsHop(change) {
			continue
		}
		switch err := s.mend(ctx, change.Username, s.followOther); {
		case err == nil || ctx.Err() != nil:
		case errors.Is(err, jump.ErrForeign):
			s.Log.WithError(err).WithField("username", change.Username).Warn("a container of the cluster has no account on this host: its user can not jump through it")
		default:
			s.Log.WithError(err).WithField("username", change.Username).Warn("the account of a container that changed could not be brought up to date; the next look does")
			s.unsettled.Add(1)
		}
	}
}

// followOther gives the account of a container the keys and the address that it has. The
// guest is left to the daemon that changed them: two that write there at once undo each
// other. So is a container that is being restored, which may have keys of before.
func (s *Service) followOther(ctx context.Context, username string) error {
	container, err := s.Incus.Get(ctx, username) // anew: it may have changed since
	if errors.Is(err, incusx.ErrNotFound) || err == nil && container.State == incusx.StateCreating {
		return nil
	}
	if err != nil {
		return err
	}
	if restoring, err := s.Incus.Restoring(ctx, username); err != nil || restoring {
		return err
	}
	return s.Hop.Ensure(ctx, username, container.Address, container.SSHKeys)
}

// concernsHop reports whether a change of a cluster's container is one of what its
// account is made of.
func concernsHop(change cache.Change[*pb.Container]) bool {
	after := &change.After.Container
	if after.Location == "" || after.State == incusx.StateCreating || after.State == incusx.StateUnreachable {
		return false
	}
	if change.Before == nil {
		return true
	}
	before := &change.Before.Container
	return before.State == incusx.StateCreating || before.Address != after.Address || !slices.Equal(before.SSHKeys, after.SSHKeys)
}

// elsewhere says of a container whose sshd this host did not reach what that may be
// for; empty where it is on this member or there is no cluster.
func (s *Service) elsewhere(ctx context.Context, username string) string {
	container, err := s.Incus.Get(ctx, username)
	if err != nil || container.Location == "" {
		return ""
	}
	if member, err := s.Incus.Member(ctx); err != nil || member == container.Location {
		return ""
	}
	return fmt.Sprintf(" (it is on the cluster member %s, and this host reaches it only on a network that the members share)", container.Location)
}
