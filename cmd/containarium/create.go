package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/client"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

func createCommand() *cli.Command {
	return &cli.Command{
		Name:      "create",
		Usage:     "make a container for a user and wait until they can log in",
		ArgsUsage: "[SERVER:]USER",
		Description: describe(`Makes the system container of a user, with their account, keys and limits in it
and an account on the jump host that reaches it and nothing else. It returns
once sshd in the container answers, and prints the command that logs in. On an
error nothing is left of it. An image that lacks sshd or sudo or, with --docker, a
Docker engine is prepared first, which takes minutes, once.

Without --ssh-key it takes ~/.ssh/id_ed25519.pub, if that is there. Of several
servers it is made on each, at the same time; --all and groups ask before that.

--place least-loaded makes it on the one server, of those named or else of all, that
has the least of: memory in use / memory + running containers / CPUs / 10. One that
does not answer is left out.

Where Incus is a cluster, --target names the member to make it on; without it Incus
chooses. containarium system shows the members.

--from makes the containers of a file, all of which is checked before anything is
done. Other flags are for users of whom the file does not say it, and paths of keys
are relative to the file. It is safe to run again: what is there as the file wants it
is left alone, and so, with a warning, is what differs. A file of CSV has a line with
the columns first; several keys or labels of one user are parted by semicolons:

  username,keys,cpu,memory,disk,image,docker,autostart,labels,server
  alice,alice.pub,2,4GiB,50GiB,,no,yes,team=web;tier=1,jump-1
  bob,keys/bob.pub;keys/bob-laptop.pub,,,,,,,,

In TOML, as users.toml, all but username may be left out as well:

  [[users]]
  username = "alice"
  keys = ["alice.pub", "ssh-ed25519 AAAA... alice@home"]
  cpu = 2
  memory = "4GiB"
  labels = { team = "web" }
  server = "jump-1"`,
			"containarium create alice --ssh-key alice.pub",
			"containarium create jump-2:alice --ssh-key alice.pub",
			"containarium create bob --cpu 4 --memory 4GiB --disk 50GiB --docker --label team=web",
			"ssh-add -L | containarium create carol --ssh-key -",
			"containarium create dave --ssh-key dave.pub --place least-loaded",
			"containarium create erin --ssh-key erin.pub --target member-2",
			"containarium create --from users.csv --memory 4GiB --server jump-1",
			"containarium create --from users.toml --place least-loaded --all"),
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "ssh-key", Usage: "public key that opens it: a `FILE`, - for standard input, or the key itself"},
			&cli.StringFlag{Name: "cpu", Usage: "limit, a `COUNT` (2), a set of cores (0-3) or a fraction (1.5)"},
			&cli.StringFlag{Name: "memory", Usage: "limit, a `SIZE` such as 4GiB or 4GB"},
			&cli.StringFlag{Name: "disk", Usage: "limit, a `SIZE` such as 50GiB"},
			&cli.StringFlag{Name: "image", Usage: "`IMAGE` to make it from: a local alias, a fingerprint, or REMOTE:ALIAS", DefaultText: "the daemon's"},
			&cli.BoolFlag{Name: "docker", Usage: "have a Docker engine in it", DisableDefaultText: true},
			&cli.StringSliceFlag{Name: "label", Usage: "label, `KEY=VALUE`"},
			&cli.BoolFlag{Name: "no-autostart", Usage: "do not start it with its host", DisableDefaultText: true},
			&cli.BoolFlag{Name: "no-wait", Usage: "return as soon as it runs, before its sshd answers", DisableDefaultText: true},
			&cli.StringFlag{Name: "target", Usage: "`MEMBER` of the Incus cluster to make it on", DefaultText: "as Incus chooses"},
			&cli.StringFlag{Name: "place", Usage: "choose the server: `WAY` is least-loaded"},
			&cli.StringFlag{Name: "from", Usage: "make the containers of a `FILE`, CSV or TOML; - is standard input", TakesFile: true},
			&cli.IntFlag{Name: "parallel", Value: createsAtOnce, Usage: "with --from, make up to `COUNT` at a time on each server, 1 to 64"},
		},
		Action: create,
	}
}

func create(c *cli.Context) error {
	if c.IsSet("from") {
		return createFrom(c)
	}
	request, err := createRequest(c)
	if err != nil {
		return err
	}
	t, places, err := createPlaces(c, request.GetUsername())
	if err != nil {
		return err
	}
	request.Username = places[0].user
	if t.fleet && len(places) == len(t.servers) {
		return createAll(c, t, request)
	}
	s, err := t.dial(c, places[0].server)
	if err != nil {
		return err
	}
	defer s.close()
	term := terminalOf(c)
	term.progressf("asking %s", s.Server().Name)
	ctx, cancel := s.call(c.Context)
	defer cancel()
	response, err := s.create(ctx, request, func(percent uint32, text string) {
		term.progressf("creating %s: %d%% %s", request.GetUsername(), percent, text)
	})
	term.endProgress()
	if err != nil {
		return s.failed(err, doing(c, request.GetUsername()), request.GetUsername())
	}
	for _, warning := range response.GetWarnings() {
		term.warnf("%s", warning)
	}
	return show(c, response, func(t *terminal) error { return s.showLogin(t, response.GetContainer()) })
}

// createPlaces are where to make a container: on each server that was named, and
// on each of a group or of all if that is confirmed.
func createPlaces(c *cli.Context, arg string) (*targets, []place, error) {
	if c.IsSet("place") {
		return placed(c, arg)
	}
	t, err := targetsFor(c, createTimeout, []string{arg})
	if err != nil {
		return nil, nil, err
	}
	places, plain, err := t.qualify(c, []string{arg})
	if err != nil || len(plain) == 0 {
		return t, places, err
	}
	if places = t.each(arg); !t.named && len(places) > 1 {
		err = confirm(c, fmt.Sprintf("%s the containers %s", commandPath(c), joined(places)))
	}
	return t, places, err
}

// createAll makes a container on each of several servers at once.
func createAll(c *cli.Context, t *targets, request *pb.CreateContainerRequest) error {
	user := request.GetUsername()
	answers, failed := askAbout(c, t, user, func(ctx context.Context, s *session) (*pb.CreateContainerResponse, error) {
		return s.create(ctx, request, func(uint32, string) {})
	})
	term := terminalOf(c)
	for _, answer := range answers {
		for _, warning := range answer.Value.GetWarnings() {
			term.warnf("%s: %s", answer.Server.Name, warning)
		}
	}
	return showAll(c, t, answers, failed, func(term *terminal) error {
		for _, answer := range answers {
			if err := t.showLogin(term, answer.Server, answer.Value.GetContainer()); err != nil {
				return err
			}
		}
		return nil
	})
}

func createRequest(c *cli.Context) (*pb.CreateContainerRequest, error) {
	users, err := usernames(c, 1, 1)
	if err != nil {
		return nil, err
	}
	labels, err := labelArguments(c)
	if err != nil {
		return nil, err
	}
	keys, err := keyArguments(c, "ssh-key")
	if err != nil {
		return nil, err
	}
	t := terminalOf(c)
	if len(keys) == 0 {
		if path, ok := userKeyFile(); ok {
			if keys, err = readKeys(t, path); err != nil {
				return nil, err
			}
			t.notef("%s gets your key %s, since no --ssh-key is given", users[0], path)
		}
	}
	autoStart, docker := !c.Bool("no-autostart"), c.Bool("docker")
	return &pb.CreateContainerRequest{
		Username:     users[0],
		Resources:    &pb.Resources{Cpu: c.String("cpu"), Memory: c.String("memory"), Disk: c.String("disk")},
		SshKeys:      keys,
		Labels:       labels,
		Image:        c.String("image"),
		EnableDocker: &docker,
		AutoStart:    &autoStart,
		NoWait:       c.Bool("no-wait"),
		Target:       c.String("target"),
	}, nil
}

// create runs a create until it ends, or until ctx does: then the error is an
// *unfinishedError. progress is called in each stage, with what goes on.
func (s *session) create(ctx context.Context, request *pb.CreateContainerRequest, progress func(percent uint32, text string)) (*pb.CreateContainerResponse, error) {
	begun := false // the daemon has started on it, and goes on whatever becomes of us
	failed := func(err error) (*pb.CreateContainerResponse, error) {
		interrupted := errors.Is(ctx.Err(), context.Canceled)
		if interrupted || begun && over(ctx, err) != nil {
			err = &unfinishedError{begun: begun, interrupted: interrupted}
		}
		return nil, err
	}
	stream, err := s.Containers.CreateContainerStream(ctx, &pb.CreateContainerStreamRequest{Create: request})
	if err != nil {
		return failed(err)
	}
	var result *pb.CreateContainerResponse
	for {
		message, err := stream.Recv()
		switch {
		case err == io.EOF && result != nil: //nolint:errorlint // gRPC returns it bare
			return result, nil
		case err == io.EOF: //nolint:errorlint // likewise
			return nil, errors.New("the daemon ended the call without a result")
		case err != nil:
			return failed(err)
		}
		begun = true
		if message.GetResult() != nil {
			result = message.GetResult()
			continue
		}
		text := message.GetDetail()
		if text == "" {
			text = stageText(message.GetStage())
		}
		progress(message.GetPercent(), text)
	}
}

// stageText says what goes on in a stage.
func stageText(stage pb.CreateStage) string {
	switch stage {
	case pb.CreateStage_CREATE_STAGE_IMAGE:
		return "looking up the image"
	case pb.CreateStage_CREATE_STAGE_PREPARE:
		return "preparing the image"
	case pb.CreateStage_CREATE_STAGE_INSTANCE:
		return "unpacking the image"
	case pb.CreateStage_CREATE_STAGE_START:
		return "starting"
	case pb.CreateStage_CREATE_STAGE_ACCOUNT:
		return "making the account"
	case pb.CreateStage_CREATE_STAGE_ADDRESS:
		return "waiting for an address"
	case pb.CreateStage_CREATE_STAGE_JUMP:
		return "making the account on the jump host"
	case pb.CreateStage_CREATE_STAGE_SSH:
		return "waiting for sshd"
	}
	return "working" // a stage that a newer daemon has
}

// unfinishedError is a create whose end we did not wait for.
type unfinishedError struct {
	begun       bool
	interrupted bool
}

func (e *unfinishedError) Error() string {
	why := "out of time"
	if e.interrupted {
		why = "interrupted"
	}
	if e.begun {
		return why + "; the daemon goes on with it"
	}
	return why + " before the daemon answered; it may go on with it"
}

// showLogin prints the command that opens the container; nothing but that goes to
// standard output.
func (t *targets) showLogin(term *terminal, server client.Server, container *pb.Container) error {
	user := container.GetUsername()
	login := loginOf(server, container)
	if login == "" {
		term.notef("%s has a container on %s; containarium info %s shows its address once it has one", user, server.Name, t.place(server, user))
		return nil
	}
	if len(container.GetSshKeys()) == 0 {
		term.notef("%s has a container on %s, and no key for it yet: containarium key add %s FILE", user, server.Name, t.place(server, user))
	} else {
		term.notef("%s has a container on %s; log in with:", user, server.Name)
	}
	return term.printf("%s", login)
}

func (s *session) showLogin(term *terminal, container *pb.Container) error {
	return s.targets.showLogin(term, s.Server(), container)
}

// login is the ssh command that logs the owner in through the jump host, or
// "" while the container has no address. Users paste it into a shell, so that it
// fails closed: it is "" as well where the server sends what is no name or address.
func (s *session) login(container *pb.Container) string { return loginOf(s.Server(), container) }

func loginOf(server client.Server, container *pb.Container) string {
	network := container.GetNetwork()
	address, err := netip.ParseAddr(network.GetIpAddress())
	if _, _, noJump := jumpOf(server, network.GetJumpAddress()); err != nil || noJump != nil || !userName.MatchString(container.GetUsername()) {
		return ""
	}
	port := ""
	if p := network.GetSshPort(); p != 0 && p != 22 {
		port = fmt.Sprintf("-p %d ", p)
	}
	user := container.GetUsername()
	return fmt.Sprintf("ssh -J %s@%s %s%s@%s", user, jumpHostOf(server, network.GetJumpAddress()), port, user, address)
}

// labelArguments reads the --label flags.
func labelArguments(c *cli.Context) (map[string]string, error) {
	labels := map[string]string{}
	for _, label := range c.StringSlice("label") {
		key, value, found := strings.Cut(label, "=")
		if _, twice := labels[key]; !found || key == "" || twice {
			return nil, usagef(c, "--label %q: must be KEY=VALUE, each key once", label)
		}
		labels[key] = value
	}
	return labels, nil
}
