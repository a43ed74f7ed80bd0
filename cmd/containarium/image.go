package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

func imageCommand() *cli.Command {
	return &cli.Command{
		Name:  "image",
		Usage: "list, prepare and remove the images of a host",
		Description: describe(`Containers are made from images. One that lacks sshd or sudo or, for a create with
Docker, a Docker engine is prepared: an instance of it gets them and becomes an
image of its own, once. A create does so by itself where it has to; done ahead of
time it keeps nobody waiting.`,
			"containarium image ls",
			"containarium image prepare images:debian/12 --docker",
			"containarium image refresh images:debian/12 --docker"),
		Subcommands: []*cli.Command{imageLsCommand(), imagePrepareCommand("prepare"), imagePrepareCommand("refresh"), imageRmCommand()},
	}
}

func imageLsCommand() *cli.Command {
	return &cli.Command{
		Name:    "ls",
		Aliases: []string{"list"},
		Usage:   "list the images that lie on the host",
		Description: describe(`Lists the images from which a create starts at once. Those that were prepared here
show what they were prepared from; the others are not the daemon's to remove.`,
			"containarium image ls",
			"containarium image ls -o json | jq -r '.images[].fingerprint'"),
		Action: imageLs,
	}
}

func imageLs(c *cli.Context) error {
	if _, err := operands(c, 0, 0); err != nil {
		return err
	}
	s, err := connect(c, readTimeout)
	if err != nil {
		return err
	}
	defer s.close()
	ctx, cancel := s.call(c.Context)
	defer cancel()
	response, err := s.Images.ListImages(ctx, &pb.ListImagesRequest{})
	if err != nil {
		return s.failed(err, "image ls", "")
	}
	return show(c, response, func(t *terminal) error {
		if len(response.GetImages()) == 0 {
			t.notef("no images on %s", s.Server().Name)
		}
		return t.table(imageRows(response.GetImages(), time.Now()))
	})
}

func imageRows(images []*pb.Image, now time.Time) [][]string {
	rows := [][]string{{"IMAGE", "FINGERPRINT", "PREPARED-FROM", "DOCKER", "SIZE", "AGE"}}
	for _, image := range images {
		p := image.GetPreparation()
		docker := ""
		if p != nil {
			docker = yesNo(p.GetDocker())
		}
		bytes := image.GetSizeBytes()
		rows = append(rows, []string{
			imageName(image), shortPrint(image.GetFingerprint()), p.GetSource(), docker, size(&bytes), age(image.GetCreatedAt(), now),
		})
	}
	return rows
}

// imageName is the first alias; of one that was prepared there may be several.
func imageName(image *pb.Image) string {
	if len(image.GetAliases()) == 0 {
		return ""
	}
	return slices.Min(image.GetAliases())
}

func shortPrint(fingerprint string) string { return fingerprint[:min(12, len(fingerprint))] }

func imagePrepareCommand(name string) *cli.Command {
	command := &cli.Command{
		Name:      name,
		Usage:     "prepare an image for containers, unless it is",
		ArgsUsage: "[IMAGE]",
		Description: describe(`IMAGE is a local alias, a fingerprint or REMOTE:ALIAS; without it the daemon's
default is taken. The daemon goes on with it if this command is interrupted; a
second one then follows the same preparation.`,
			"containarium image prepare",
			"containarium image prepare images:debian/12 --docker"),
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "docker", Usage: "with a Docker engine", DisableDefaultText: true}},
		Action: func(c *cli.Context) error { return imagePrepare(c, false) },
	}
	if name == "refresh" {
		command.Usage = "prepare an image anew, from what there is by now"
		command.Description = describe(`Looks IMAGE up at its server and installs what packages there are by now, although
it was prepared before. Creates take the old one until the new one is there;
containers that were made from it stay as they are. The daemon does the same by
itself at an age that its configuration gives.`,
			"containarium image refresh images:debian/12 --docker")
		command.Action = func(c *cli.Context) error { return imagePrepare(c, true) }
	}
	return command
}

func imagePrepare(c *cli.Context, refresh bool) error {
	args, err := operands(c, 0, 1)
	if err != nil {
		return err
	}
	request := &pb.PrepareImageRequest{Docker: c.Bool("docker"), Refresh: refresh}
	what := commandPath(c)
	if len(args) > 0 {
		request.Image = args[0]
		what += " " + args[0]
	}
	s, err := connect(c, prepareTimeout)
	if err != nil {
		return err
	}
	defer s.close()
	response, err := s.prepare(c, request)
	if err != nil {
		return s.failed(err, what, "")
	}
	return show(c, response, func(t *terminal) error {
		image := response.GetResult()
		name := imageName(image)
		if response.GetAlready() {
			t.notef("nothing to do on %s: %s has what it needs", s.Server().Name, name)
		} else {
			t.notef("prepared on %s: %s", s.Server().Name, name)
		}
		return t.printf("%s", image.GetFingerprint())
	})
}

// prepare runs a preparation to its end and returns its last message.
func (s *session) prepare(c *cli.Context, request *pb.PrepareImageRequest) (*pb.PrepareImageResponse, error) {
	t := terminalOf(c)
	defer t.endProgress()
	t.progressf("asking %s", s.Server().Name)
	ctx, cancel := s.call(c.Context)
	defer cancel()
	stream, err := s.Images.PrepareImage(ctx, request)
	if err != nil {
		return nil, err
	}
	begun := false
	for {
		message, err := stream.Recv()
		switch {
		case err == io.EOF: //nolint:errorlint // gRPC returns it bare
			return nil, errors.New("the daemon ended the call without a result")
		case err != nil && begun && over(ctx, err) != nil:
			return nil, fmt.Errorf("%w; the daemon goes on with it, and the same command follows it", over(ctx, err))
		case err != nil:
			return nil, err
		case message.GetResult() != nil:
			return message, nil
		}
		begun = true
		text := message.GetDetail()
		if text == "" {
			text = strings.ToLower(strings.TrimPrefix(message.GetStage().String(), "PREPARE_STAGE_"))
		}
		t.progressf("preparing: %d%% %s", message.GetPercent(), text)
	}
}

func imageRmCommand() *cli.Command {
	return &cli.Command{
		Name:      "rm",
		Aliases:   []string{"delete"},
		Usage:     "remove images that were prepared",
		ArgsUsage: "IMAGE [IMAGE...]",
		Description: describe(`IMAGE is an alias or a fingerprint, as "image ls" shows them. Containers that were
made from it stay. Images that were not prepared here are refused.`,
			"containarium image rm 93bd813e8782"),
		Action: imageRm,
	}
}

func imageRm(c *cli.Context) error {
	images, err := operands(c, 1, len(c.Args().Slice()))
	if err != nil {
		return err
	}
	s, err := connect(c, changeTimeout)
	if err != nil {
		return err
	}
	defer s.close()
	var errs []error
	for _, image := range images {
		ctx, cancel := s.call(c.Context)
		response, err := s.Images.DeleteImage(ctx, &pb.DeleteImageRequest{Image: image})
		if err == nil {
			err = show(c, response, func(t *terminal) error {
				t.notef("%s is removed from %s", image, s.Server().Name)
				return nil
			})
		}
		errs = append(errs, s.failed(err, "image rm "+image, ""))
		cancel()
	}
	return errors.Join(errs...)
}
