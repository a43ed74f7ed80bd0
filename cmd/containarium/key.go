package main

import (
	"context"
	"regexp"

	"github.com/urfave/cli/v2"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

func keyCommand() *cli.Command {
	return &cli.Command{
		Name:  "key",
		Usage: "add, remove and list the SSH keys that open a container",
		Description: describe("A key opens the container and the way to it through the jump host, both.",
			"containarium key add alice laptop.pub",
			"containarium key ls alice",
			"containarium key rm alice SHA256:Tq1Q2rv5C7nRQSbpdhsPVyyr8kLqyYBqmeIEKZpMuX4"),
		Subcommands: []*cli.Command{keyAddCommand(), keyRmCommand(), keyLsCommand()},
	}
}

func keyAddCommand() *cli.Command {
	return &cli.Command{
		Name:      "add",
		Usage:     "add a key",
		ArgsUsage: "[SERVER:]USER KEY",
		Description: describe("KEY is a file such as laptop.pub, - for standard input, or the key itself. A key\nthat is there already changes nothing, whatever its comment.",
			"containarium key add alice laptop.pub",
			"containarium key add alice 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI... alice@laptop'"),
		Action: keyAdd,
	}
}

func keyAdd(c *cli.Context) error {
	args, err := operands(c, 2, 2)
	if err != nil {
		return err
	}
	key, err := readKey(terminalOf(c), args[1])
	if err != nil {
		return usagef(c, "%s", err)
	}
	return eachPlace(c, changeTimeout, args[:1], true, func(ctx context.Context, s *session, user string) (*outcome, error) {
		response, err := s.Containers.AddSSHKey(ctx, &pb.AddSSHKeyRequest{Username: user, SshKey: key})
		switch {
		case err != nil:
			return nil, err
		case response.GetAlready():
			return said(response, "the key opens the container of %s on %s already", user, s.Server().Name), nil
		}
		return said(response, "the key opens the container of %s on %s", user, s.Server().Name), nil
	})
}

func keyRmCommand() *cli.Command {
	return &cli.Command{
		Name:      "rm",
		Usage:     "remove a key",
		ArgsUsage: "[SERVER:]USER KEY",
		Description: describe("KEY is the key's SHA256 fingerprint as key ls prints it, its file, - for standard\ninput, or the key itself. The last key goes only with --force.",
			"containarium key rm alice SHA256:Tq1Q2rv5C7nRQSbpdhsPVyyr8kLqyYBqmeIEKZpMuX4",
			"containarium key rm alice laptop.pub --force"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "remove it although it is the last one", DisableDefaultText: true},
		},
		Action: keyRm,
	}
}

// fingerprint is what ssh-keygen -l prints of a key.
var fingerprint = regexp.MustCompile(`^SHA256:[A-Za-z0-9+/]{43}$`)

func keyRm(c *cli.Context) error {
	args, err := operands(c, 2, 2)
	if err != nil {
		return err
	}
	key := args[1]
	if !fingerprint.MatchString(key) {
		if key, err = readKey(terminalOf(c), key); err != nil {
			return usagef(c, "%s", err)
		}
	}
	return eachPlace(c, changeTimeout, args[:1], true, func(ctx context.Context, s *session, user string) (*outcome, error) {
		response, err := s.Containers.RemoveSSHKey(ctx, &pb.RemoveSSHKeyRequest{Username: user, SshKey: key, Force: c.Bool("force")})
		if err != nil {
			return nil, err
		}
		return said(response, "the key opens the container of %s on %s no more", user, s.Server().Name), nil
	})
}

func keyLsCommand() *cli.Command {
	return &cli.Command{
		Name:      "ls",
		Aliases:   []string{"list"},
		Usage:     "list the keys",
		ArgsUsage: "[SERVER:]USER",
		Description: describe("Lists the keys that open a container. With -o json it prints the same document as\ncontainarium info.",
			"containarium key ls alice"),
		Action: keyLs,
	}
}

func keyLs(c *cli.Context) error {
	users, err := usernames(c, 1, 1)
	if err != nil {
		return err
	}
	return eachPlace(c, readTimeout, users, false, func(ctx context.Context, s *session, user string) (*outcome, error) {
		response, err := s.Containers.GetContainer(ctx, &pb.GetContainerRequest{Username: user})
		if err != nil {
			return nil, err
		}
		return &outcome{answer: response, warnings: stale(s.Server().Name, response.GetFreshness()), table: func(t *terminal) error {
			rows := [][]string{{"TYPE", "FINGERPRINT", "COMMENT"}}
			for _, key := range response.GetContainer().GetSshKeys() {
				rows = append(rows, []string{key.GetType(), key.GetFingerprint(), key.GetComment()})
			}
			return t.table(rows)
		}}, nil
	})
}
