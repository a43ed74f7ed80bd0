package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

func infoCommand() *cli.Command {
	return &cli.Command{
		Name:      "info",
		Usage:     "show everything about a user's container",
		ArgsUsage: "[SERVER:]USER",
		Description: describe("Shows state, limits in force, addresses, keys and how to log in. Of several servers\nit says on which one it is.",
			"containarium info alice --all",
			"containarium info jump-2:alice",
			"containarium info alice -o json | jq -r .container.network.ipAddress"),
		Action: info,
	}
}

func info(c *cli.Context) error {
	users, err := usernames(c, 1, 1)
	if err != nil {
		return err
	}
	return eachPlace(c, readTimeout, users, false, func(ctx context.Context, s *session, user string) (*outcome, error) {
		response, err := s.Containers.GetContainer(ctx, &pb.GetContainerRequest{Username: user})
		if err != nil {
			return nil, err
		}
		return &outcome{
			answer:   response,
			warnings: stale(s.Server().Name, response.GetFreshness()),
			table:    func(t *terminal) error { return t.list(s.infoRows(response.GetContainer())) },
		}, nil
	})
}

func (s *session) infoRows(c *pb.Container) [][]string {
	resources, network := c.GetResources(), c.GetNetwork()
	rows := [][]string{
		{"user:", c.GetUsername()},
		{"server:", s.Server().Name},
		{"container:", c.GetName()},
		{"state:", stateWord(c.GetState())},
	}
	if c.GetLocation() != "" {
		rows = append(rows, []string{"location:", c.GetLocation()})
	}
	rows = append(rows, [][]string{
		{"created:", when(c.GetCreatedAt())},
		{"image:", c.GetImage()},
		{"image fingerprint:", c.GetImageFingerprint()},
		{"cpu limit:", limit(resources.GetCpu())},
		{"memory limit:", limit(resources.GetMemory())},
		{"disk limit:", diskLimit(resources)},
		{"docker:", docker(c)},
		{"starts with host:", yesNo(c.GetAutoStart())},
		{"address:", network.GetIpAddress()},
		{"mac:", network.GetMacAddress()},
		{"network:", fmt.Sprintf("%s on %s", orUnknown(network.GetInterface()), orUnknown(network.GetNetwork()))},
		{"ssh host key:", network.GetSshHostKey()},
		{"ssh host key fingerprint:", network.GetSshHostKeyFingerprint()},
		{"labels:", pairs(c.GetLabels(), ", ")},
	}...)
	for _, key := range c.GetSshKeys() {
		rows = append(rows, []string{"key:", key.GetType() + " " + key.GetFingerprint() + " " + key.GetComment()})
	}
	return append(rows, []string{"log in:", s.login(c)})
}

func diskLimit(r *pb.Resources) string {
	if r.DiskEnforced != nil && !r.GetDiskEnforced() {
		return r.GetDisk() + " (not enforced: the storage can not)"
	}
	return limit(r.GetDisk())
}

func docker(c *pb.Container) string {
	switch {
	case !c.GetDockerEnabled():
		return "off"
	case c.DockerInstalled == nil:
		return "on"
	case c.GetDockerInstalled():
		return "on, installed"
	}
	return "on, not in the image: install it in the container"
}

func orUnknown(s string) string {
	if s == "" {
		return unknown
	}
	return s
}
