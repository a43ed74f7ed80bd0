package main

import (
	"context"
	"time"

	"github.com/urfave/cli/v2"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// guestTimeout is how long a guest has to shut down where nothing else is said;
// the daemon's default is the same.
const guestTimeout = 30 * time.Second

func stopFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "stop it at once instead of asking it to shut down", DisableDefaultText: true},
		&cli.DurationFlag{Name: "timeout", Usage: "how long it may take to shut down, 1s to 10m", DefaultText: guestTimeout.String()},
	}
}

// stopArguments reads stopFlags. It returns the seconds to ask for, 0 for the
// daemon's default, and how long the call may take.
func stopArguments(c *cli.Context) (seconds uint32, call time.Duration, err error) {
	timeout := c.Duration("timeout")
	if timeout == 0 && !c.IsSet("timeout") {
		return 0, guestTimeout + stopMargin, nil
	}
	if timeout < time.Second || timeout > 10*time.Minute || timeout%time.Second != 0 {
		return 0, 0, usagef(c, "--timeout %s: must be whole seconds between 1s and 10m", timeout)
	}
	return uint32(timeout / time.Second), timeout + stopMargin, nil
}

func stopCommand() *cli.Command {
	return &cli.Command{
		Name:      "stop",
		Usage:     "stop the containers of users",
		ArgsUsage: "[SERVER:]USER...",
		Description: describe(`Asks containers to shut down and waits until they have. One that is stopped is
left as it is. The deadline of the call follows --timeout; to set it as well,
put the global --timeout before the command.`,
			"containarium stop alice",
			"containarium stop alice --timeout 2m",
			"containarium stop alice --force"),
		Flags: stopFlags(),
		Action: func(c *cli.Context) error {
			seconds, call, err := stopArguments(c)
			if err != nil {
				return err
			}
			return forEach(c, call, func(ctx context.Context, s *session, user string) (*outcome, error) {
				response, err := s.Containers.StopContainer(ctx, &pb.StopContainerRequest{Username: user, Force: c.Bool("force"), TimeoutSeconds: seconds})
				switch {
				case err != nil:
					return nil, err
				case response.GetAlready():
					return said(response, "the container of %s on %s is stopped already", user, s.Server().Name), nil
				}
				return said(response, "the container of %s on %s is stopped", user, s.Server().Name), nil
			})
		},
	}
}
