package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// searchTimeout bounds the search for a container, for each server: one that is
// down is not waited for longer at each login.
const searchTimeout = 5 * time.Second

func sshCommand() *cli.Command {
	return &cli.Command{
		Name:      "ssh",
		Usage:     "log in to a user's container",
		ArgsUsage: "[SERVER:]USER [-- COMMAND...]",
		Description: describe(`Looks on every server for the container of that user, unless one is named, and
runs this machine's ssh, which goes through the jump host. The host keys of both
are those that the daemon tells: nothing is asked, and who shows another is
refused. Of an older daemon, which does not tell the jump host's, that is
left to your own known_hosts. ssh takes the key in ~/.ssh that opens the container,
and all else from your own configuration. The exit status is that of ssh.
For scp, rsync, editors and more options see containarium ssh-config.`,
			"containarium ssh alice",
			"containarium ssh jump-1:alice -- uname -a",
			"containarium ssh alice -i ~/.ssh/work -t -- sudo -i"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "identity", Aliases: []string{"i"}, Usage: "log in with this private key, a `FILE`", TakesFile: true},
			&cli.BoolFlag{Name: "tty", Aliases: []string{"t"}, Usage: "give the command a terminal", DisableDefaultText: true},
		},
		Action: sshTo,
	}
}

func sshTo(c *cli.Context) error {
	args := c.Args().Slice()
	if len(args) == 0 {
		return usagef(c, "needs %s", c.Command.ArgsUsage)
	}
	if args[0] == "" || strings.HasPrefix(args[0], "-") {
		return usagef(c, "%q is not a user name", args[0])
	}
	keys, err := newIdentities(c.String("identity"))
	if err != nil {
		return usagef(c, "--identity: %s", err)
	}
	t, err := everywhere(c, searchTimeout, args[0])
	if err != nil {
		return err
	}
	places, err := placesOf(c, t, args[:1], false)
	if err != nil {
		return err
	}
	host, err := sshHostAt(c, t, places[0], keys)
	if err != nil {
		return err
	}
	config, err := host.write()
	if err != nil {
		return err
	}
	line := []string{"ssh", "-F", config}
	if c.Bool("tty") {
		line = append(line, "-t")
	}
	return become(append(append(line, "--", host.alias()), args[1:]...))
}

// everywhere is targetsFor for commands that are about every server where none is
// named.
func everywhere(c *cli.Context, timeout time.Duration, arg string) (*targets, error) {
	if _, _, with := cutServer(arg); !with && globalServer(c) == "" {
		if err := root(c).Set("all", "true"); err != nil {
			return nil, err
		}
	}
	return targetsFor(c, timeout, []string{arg})
}

// sshHostAt asks the server what ssh needs to know.
func sshHostAt(c *cli.Context, t *targets, p place, keys *identities) (*sshHost, error) {
	s, err := t.dial(c, p.server)
	if err != nil {
		return nil, err
	}
	defer s.close()
	ctx, cancel := s.call(c.Context)
	defer cancel()
	host, err := s.sshHost(ctx, p.user, keys)
	return host, s.failed(err, doing(c, p.user), p.user)
}

func (s *session) sshHost(ctx context.Context, user string, keys *identities) (*sshHost, error) {
	response, err := s.Containers.GetContainer(ctx, &pb.GetContainerRequest{Username: user})
	if err != nil {
		return nil, err
	}
	container := response.GetContainer()
	if name := container.GetUsername(); name != user { // fails closed: another's files would be written
		return nil, fmt.Errorf("the server sends the container of %q instead", name)
	}
	switch state := container.GetState(); state {
	case pb.ContainerState_CONTAINER_STATE_RUNNING:
	case pb.ContainerState_CONTAINER_STATE_STOPPED:
		return nil, errStopped
	default:
		return nil, &saying{"the container is " + stateWord(state), errNotReady}
	}
	host, err := newSSHHost(s.Server(), container, response.GetJumpHostKeys())
	if err == nil {
		host.identity = keys.of(container)
	}
	return host, err
}

// write writes the configuration and the pins for a login, and returns the file of
// the configuration. They stay, since ssh takes the place of this program, and the
// next login finds them as they must be. What they do not say the user's own
// configuration does.
func (h *sshHost) write() (string, error) {
	dir, err := stateDir()
	if err != nil {
		return "", err
	}
	base := filepath.Join(dir, h.alias())
	known, err := sshPath(base + ".known_hosts")
	if err != nil {
		return "", err
	}
	text := "# Made by containarium ssh, at each login.\nHost " + h.alias() + "\n" + h.options(known) + "Host *\n"
	if home, err := os.UserHomeDir(); err == nil {
		if own, err := sshPath(filepath.Join(home, ".ssh", "config")); err == nil {
			text += "\tInclude " + own + "\n"
		}
	}
	text += "\tInclude /etc/ssh/ssh_config\n"
	if err := keepFile(base+".known_hosts", []byte(strings.Join(h.pins(), "\n")+"\n")); err != nil {
		return "", err
	}
	return base + ".config", keepFile(base+".config", []byte(text))
}

// stateDir is where the files of logins are: containarium/ssh in $XDG_STATE_HOME
// or ~/.local/state. It is made where it is missing.
func stateDir() (string, error) {
	state := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) { // the XDG specification has relative values ignored
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find a place for ssh's files: %w", err)
		}
		state = filepath.Join(home, ".local", "state")
	}
	dir := filepath.Join(state, "containarium", "ssh")
	return dir, os.MkdirAll(dir, 0o700)
}

// become has another program take the place of this one, with its terminal and
// its signals. It returns only where that fails.
func become(args []string) error {
	path, err := exec.LookPath(args[0])
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("there is no program %s here: install OpenSSH's client", args[0])
	}
	if err == nil {
		err = syscall.Exec(path, args, os.Environ()) //nolint:gosec // the arguments are ours, but for what the user has ssh run
	}
	return fmt.Errorf("run %s: %w", args[0], err)
}
