package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

func rmCommand() *cli.Command {
	return &cli.Command{
		Name:      "rm",
		Aliases:   []string{"delete"},
		Usage:     "delete the containers of users, with all that is in them",
		ArgsUsage: "[SERVER:]USER...",
		Description: describe(`Deletes containers and the accounts on the jump host. There is no way back. A
container that runs is left alone unless --force is given. Of several users,
each is tried. Its snapshots go with it. On several servers it is deleted where they
were named; --all and groups find it, and ask where there are several.`,
			"containarium rm alice",
			"containarium rm jump-2:alice",
			"containarium rm alice bob --force"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "delete it although it runs", DisableDefaultText: true},
		},
		Action: func(c *cli.Context) error {
			return forEach(c, changeTimeout, func(ctx context.Context, s *session, user string) (*outcome, error) {
				snapshots := s.snapshots(ctx, user)
				response, err := s.Containers.DeleteContainer(ctx, &pb.DeleteContainerRequest{Username: user, Force: c.Bool("force")})
				if err != nil {
					return nil, err
				}
				return said(response, "the container of %s on %s is deleted%s", user, s.Server().Name, snapshots), nil
			})
		},
	}
}

// snapshots says how many snapshots go with a container, where there are any and
// the caller may know.
func (s *session) snapshots(ctx context.Context, user string) string {
	response, err := s.Containers.ListSnapshots(ctx, &pb.ListSnapshotsRequest{Username: user})
	switch n := len(response.GetSnapshots()); {
	case err != nil || n == 0:
		return ""
	case n == 1:
		return ", and its snapshot with it"
	default:
		return fmt.Sprintf(", and its %d snapshots with it", n)
	}
}

// forEach does something to the container of each user that the arguments name.
func forEach(c *cli.Context, timeout time.Duration, do func(ctx context.Context, s *session, user string) (*outcome, error)) error {
	users, err := usernames(c, 1, len(c.Args().Slice()))
	if err != nil {
		return err
	}
	return eachPlace(c, timeout, users, true, do)
}
