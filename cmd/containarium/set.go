package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"google.golang.org/protobuf/proto"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

func setCommand() *cli.Command {
	return &cli.Command{
		Name:      "set",
		Usage:     "change the limits and labels of a user's container",
		ArgsUsage: "[SERVER:]USER",
		Description: describe(`Changes what is given and leaves the rest as it is; on an error nothing is changed.
Limits hold at once, also while it runs; where the storage can resize its disk only
at a start, that is said. A disk is made smaller only if what is on it fits. The
word none takes a limit away.`,
			"containarium set alice --memory 8GiB --cpu 2 --disk 20GiB",
			"containarium set alice --label team=web --unlabel old --autostart=false",
			"containarium set alice --memory none"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "cpu", Usage: "limit, a `COUNT` (2), a set of cores (0-3), a fraction (1.5) or none"},
			&cli.StringFlag{Name: "memory", Usage: "limit, a `SIZE` such as 4GiB or 4GB, or none"},
			&cli.StringFlag{Name: "disk", Usage: "limit, a `SIZE` such as 50GiB, or none"},
			&cli.StringSliceFlag{Name: "label", Usage: "label to set, `KEY=VALUE`"},
			&cli.StringSliceFlag{Name: "unlabel", Usage: "label to take away, a `KEY`"},
			&cli.BoolFlag{Name: "autostart", Usage: "start it with its host; --autostart=false: do not", DisableDefaultText: true},
		},
		Action: set,
	}
}

func set(c *cli.Context) error {
	request, err := setRequest(c)
	if err != nil {
		return err
	}
	return eachPlace(c, changeTimeout, []string{request.GetUsername()}, true, func(ctx context.Context, s *session, user string) (*outcome, error) {
		request := proto.CloneOf(request)
		request.Username = user
		response, err := s.Containers.UpdateContainer(ctx, request)
		if err != nil {
			return nil, err
		}
		done := said(response, "the container of %s on %s is changed", user, s.Server().Name)
		done.warnings = response.GetWarnings()
		if put := response.GetNeedsRestart(); len(put) > 0 {
			done.warnings = append(done.warnings, fmt.Sprintf("%s: not before the next start; containarium restart %s", strings.Join(put, ", "), s.place(s.Server(), user)))
		}
		return done, nil
	})
}

func setRequest(c *cli.Context) (*pb.UpdateContainerRequest, error) {
	users, err := usernames(c, 1, 1)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(c.Command.Flags, func(f cli.Flag) bool { return c.IsSet(f.Names()[0]) }) {
		return nil, usagef(c, "needs what to change, such as --memory SIZE")
	}
	labels, err := labelArguments(c)
	if err != nil {
		return nil, err
	}
	request := &pb.UpdateContainerRequest{
		Username:     users[0],
		Resources:    &pb.Resources{Cpu: c.String("cpu"), Memory: c.String("memory"), Disk: c.String("disk")},
		Labels:       labels,
		RemoveLabels: c.StringSlice("unlabel"),
	}
	if c.IsSet("autostart") {
		autoStart := c.Bool("autostart")
		request.AutoStart = &autoStart
	}
	for _, name := range []string{"cpu", "memory", "disk"} {
		if c.IsSet(name) && c.String(name) == "" {
			return nil, usagef(c, "--%s is empty; none takes the limit away", name)
		}
	}
	return request, nil
}
