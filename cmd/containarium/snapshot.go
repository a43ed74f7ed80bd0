package main

import (
	"context"
	"time"

	"github.com/urfave/cli/v2"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// snapshotTimeout is above the daemon's own bound: some storage copies the whole
// disk.
const snapshotTimeout = 11 * time.Minute

func snapshotCommand() *cli.Command {
	return &cli.Command{
		Name:  "snapshot",
		Usage: "keep the disk of a container as it is, and bring it back",
		Description: describe(`A snapshot is what was on the disk at a moment. It is kept on the same storage: it
helps against a mistake in the container, not against the loss of the host.`,
			"containarium snapshot create alice before-upgrade",
			"containarium snapshot ls alice",
			"containarium snapshot restore alice before-upgrade --force"),
		Subcommands: []*cli.Command{snapshotCreateCommand(), snapshotLsCommand(), snapshotRestoreCommand(), snapshotRmCommand()},
	}
}

func snapshotCreateCommand() *cli.Command {
	return &cli.Command{
		Name:      "create",
		Usage:     "take a snapshot",
		ArgsUsage: "[SERVER:]USER [NAME]",
		Description: describe(`Works while the container runs; what a program in it has not written yet is not in
it. Without NAME it is named by the time, in UTC. Prints the name.`,
			"containarium snapshot create alice",
			"containarium snapshot create alice before-upgrade"),
		Action: snapshotCreate,
	}
}

func snapshotCreate(c *cli.Context) error {
	args, err := operands(c, 1, 2)
	if err != nil {
		return err
	}
	name := ""
	if len(args) > 1 {
		name = args[1]
	}
	return eachPlace(c, snapshotTimeout, args[:1], true, func(ctx context.Context, s *session, user string) (*outcome, error) {
		response, err := s.Containers.CreateSnapshot(ctx, &pb.CreateSnapshotRequest{Username: user, Name: name})
		if err != nil {
			return nil, err
		}
		return &outcome{answer: response, table: func(t *terminal) error {
			t.notef("the container of %s on %s has a snapshot:", user, s.Server().Name)
			return t.printf("%s", response.GetSnapshot().GetName())
		}}, nil
	})
}

func snapshotLsCommand() *cli.Command {
	return &cli.Command{
		Name:      "ls",
		Aliases:   []string{"list"},
		Usage:     "list the snapshots of a container, the oldest first",
		ArgsUsage: "[SERVER:]USER",
		Description: describe("SIZE is what a snapshot alone takes on the disk, where the storage can tell.",
			"containarium snapshot ls alice"),
		Action: snapshotLs,
	}
}

func snapshotLs(c *cli.Context) error {
	users, err := usernames(c, 1, 1)
	if err != nil {
		return err
	}
	return eachPlace(c, readTimeout, users, false, func(ctx context.Context, s *session, user string) (*outcome, error) {
		response, err := s.Containers.ListSnapshots(ctx, &pb.ListSnapshotsRequest{Username: user})
		if err != nil {
			return nil, err
		}
		return &outcome{answer: response, table: func(t *terminal) error {
			if len(response.GetSnapshots()) == 0 {
				t.notef("the container of %s on %s has no snapshots", user, s.Server().Name)
			}
			rows := [][]string{{"NAME", "CREATED", "AGE", "SIZE"}}
			for _, snapshot := range response.GetSnapshots() {
				rows = append(rows, []string{snapshot.GetName(), when(snapshot.GetCreatedAt()), age(snapshot.GetCreatedAt(), time.Now()), size(snapshot.SizeBytes)})
			}
			return t.table(rows)
		}}, nil
	})
}

func snapshotRestoreCommand() *cli.Command {
	return &cli.Command{
		Name:      "restore",
		Usage:     "bring the disk of a container back to a snapshot",
		ArgsUsage: "[SERVER:]USER NAME",
		Description: describe(`Throws away everything written since the snapshot, and refuses that without
--force. Only the disk goes back: keys, labels, limits and the address stay what
they are. A container that runs is stopped at once for it, and runs again after it.
Later snapshots stay where the storage can keep them, as btrfs and dir can.`,
			"containarium snapshot restore alice before-upgrade --force"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "throw away what was written since", DisableDefaultText: true},
		},
		Action: snapshotRestore,
	}
}

func snapshotRestore(c *cli.Context) error {
	args, err := operands(c, 2, 2)
	if err != nil {
		return err
	}
	return eachPlace(c, snapshotTimeout, args[:1], true, func(ctx context.Context, s *session, user string) (*outcome, error) {
		response, err := s.Containers.RestoreSnapshot(ctx, &pb.RestoreSnapshotRequest{Username: user, Name: args[1], Force: c.Bool("force")})
		if err != nil {
			return nil, err
		}
		done := said(response, "the disk of %s on %s is what it was at %s; the container is %s", user, s.Server().Name, args[1], stateWord(response.GetContainer().GetState()))
		done.warnings = response.GetWarnings()
		return done, nil
	})
}

func snapshotRmCommand() *cli.Command {
	return &cli.Command{
		Name:        "rm",
		Aliases:     []string{"delete"},
		Usage:       "remove a snapshot",
		ArgsUsage:   "[SERVER:]USER NAME",
		Description: describe("The container and its other snapshots stay as they are.", "containarium snapshot rm alice before-upgrade"),
		Action:      snapshotRm,
	}
}

func snapshotRm(c *cli.Context) error {
	args, err := operands(c, 2, 2)
	if err != nil {
		return err
	}
	return eachPlace(c, snapshotTimeout, args[:1], true, func(ctx context.Context, s *session, user string) (*outcome, error) {
		response, err := s.Containers.DeleteSnapshot(ctx, &pb.DeleteSnapshotRequest{Username: user, Name: args[1]})
		if err != nil {
			return nil, err
		}
		return said(response, "the snapshot %s of %s on %s is removed", args[1], user, s.Server().Name), nil
	})
}
