package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/client"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

func whoamiCommand() *cli.Command {
	return &cli.Command{
		Name:  "whoami",
		Usage: "show who you are to a server and what you may do there",
		Description: describe("Shows the name in your certificate, the role that the server's policy gives it, and\nwhat that role may do to which containers.",
			"containarium whoami",
			"containarium whoami --server jump-2",
			"containarium whoami --all"),
		Action: whoami,
	}
}

func whoami(c *cli.Context) error {
	if _, err := operands(c, 0, 0); err != nil {
		return err
	}
	t, err := targetsOf(c, readTimeout)
	if err != nil {
		return err
	}
	call := func(ctx context.Context, s *session) (*pb.WhoAmIResponse, error) {
		return s.Auth.WhoAmI(ctx, &pb.WhoAmIRequest{})
	}
	if t.fleet {
		answers, failed := askAll(c, t, call)
		return showAll(c, t, answers, failed, func(term *terminal) error { return term.table(whoamiTable(answers)) })
	}
	return askOne(c, t, call, func(_ *session, r *pb.WhoAmIResponse) [][]string { return whoamiRows(r, time.Now()) })
}

// whoamiTable has a line for each server.
func whoamiTable(answers []client.Answer[*pb.WhoAmIResponse]) [][]string {
	rows := [][]string{{"SERVER", "NAME", "ROLE", "EXPIRES", "CONTAINERS", "MAY"}}
	for _, answer := range answers {
		r := answer.Value
		rows = append(rows, []string{
			answer.Server.Name, r.GetCommonName(), r.GetRole(), until(r.GetNotAfter()), ownContainers(r, ","), strings.Join(r.GetActions(), ","),
		})
	}
	return rows
}

func whoamiRows(r *pb.WhoAmIResponse, now time.Time) [][]string {
	expires := when(r.GetNotAfter())
	if r.GetNotAfter() != nil {
		expires += fmt.Sprintf(" (in %s)", span(r.GetNotAfter().AsTime().Sub(now)))
	}
	return [][]string{
		{"name:", r.GetCommonName()},
		{"role:", r.GetRole()},
		{"certificate:", r.GetSerial()},
		{"expires:", expires},
		{"may:", strings.Join(r.GetActions(), ", ")},
		{"containers:", ownContainers(r, ", ")},
	}
}

func ownContainers(r *pb.WhoAmIResponse, separator string) string {
	if len(r.GetContainers()) == 0 {
		return "all"
	}
	return strings.Join(r.GetContainers(), separator)
}
