package main

import (
	"context"

	"github.com/urfave/cli/v2"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

func restartCommand() *cli.Command {
	return &cli.Command{
		Name:      "restart",
		Usage:     "stop the containers of users and start them again",
		ArgsUsage: "[SERVER:]USER...",
		Description: describe("Asks containers to shut down, waits until they have, and starts them. One that\nis stopped is started.",
			"containarium restart alice",
			"containarium restart alice --force"),
		Flags: stopFlags(),
		Action: func(c *cli.Context) error {
			seconds, call, err := stopArguments(c)
			if err != nil {
				return err
			}
			return forEach(c, call+changeTimeout, func(ctx context.Context, s *session, user string) (*outcome, error) {
				response, err := s.Containers.RestartContainer(ctx, &pb.RestartContainerRequest{Username: user, Force: c.Bool("force"), TimeoutSeconds: seconds})
				if err != nil {
					return nil, err
				}
				return said(response, "the container of %s on %s runs again", user, s.Server().Name), nil
			})
		},
	}
}
