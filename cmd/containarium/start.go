package main

import (
	"context"

	"github.com/urfave/cli/v2"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

func startCommand() *cli.Command {
	return &cli.Command{
		Name:      "start",
		Usage:     "start the containers of users",
		ArgsUsage: "[SERVER:]USER...",
		Description: describe("Starts containers. One that runs is left as it is.",
			"containarium start alice",
			"containarium start jump-1:alice jump-2:bob"),
		Action: func(c *cli.Context) error {
			return forEach(c, changeTimeout, func(ctx context.Context, s *session, user string) (*outcome, error) {
				response, err := s.Containers.StartContainer(ctx, &pb.StartContainerRequest{Username: user})
				switch {
				case err != nil:
					return nil, err
				case response.GetAlready():
					return said(response, "the container of %s on %s runs already", user, s.Server().Name), nil
				}
				return said(response, "the container of %s on %s runs", user, s.Server().Name), nil
			})
		},
	}
}
