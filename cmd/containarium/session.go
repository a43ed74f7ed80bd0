package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/client"
)

// The deadlines of calls where --timeout gives none. A create is bounded by the
// daemon; the others wait in turn for what is done to the same container.
const (
	readTimeout   = 30 * time.Second
	changeTimeout = 2 * time.Minute
	createTimeout = 45 * time.Minute
	// prepareTimeout is above the daemon's own bound.
	prepareTimeout = 25 * time.Minute
	// stopMargin is what a stop may take beyond the time that its guest has.
	stopMargin = time.Minute
)

// session is a command's connection to one server.
type session struct {
	*client.Client
	*targets
	// skew is told which version the server runs; nil where nobody is to know.
	skew *skew
}

// connect prepares the connection to the one server that the flags, the
// environment or the configuration name, in this order. Calls are made within
// timeout, unless --timeout says otherwise.
func connect(c *cli.Context, timeout time.Duration) (*session, error) {
	t, err := oneTarget(c, timeout)
	if err != nil {
		return nil, err
	}
	return t.dial(c, t.servers[0])
}

// dial prepares the connection to one of the servers.
func (t *targets) dial(c *cli.Context, server client.Server) (*session, error) {
	s, err := t.open(server, commandPath(c))
	if err == nil {
		s.skew = terminalOf(c).skew
		warnOfExpiries(terminalOf(c), []client.Server{server}, time.Now())
	}
	return s, err
}

// open is dial without a word. What is to be done is for the error.
func (t *targets) open(server client.Server, what string) (*session, error) {
	to, err := client.Dial(server)
	if err != nil {
		return nil, t.failed(err, what, "", server)
	}
	return &session{Client: to, targets: t}, nil
}

// over is the error of the context that ended a call; nil where it went on. The
// daemon hears of the deadline, and may answer by it before the clock here does.
func over(ctx context.Context, err error) error {
	if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return ctx.Err()
}

// failed says what failed on the server; nil stays nil.
func (s *session) failed(err error, what, user string) error {
	return s.targets.failed(err, what, user, s.Server())
}

// close ends the connection; what a call returned counts, not how it ends.
func (s *session) close() {
	s.skew.note(s.Client)
	_ = s.Close()
}

// jumpHost is where users log in: the address that the daemon tells, else the
// host that was asked. It returns what ssh -J takes behind the @.
func (s *session) jumpHost(told string) string { return jumpHostOf(s.Server(), told) }

func jumpHostOf(server client.Server, told string) string {
	if told != "" {
		return told
	}
	host, _, err := net.SplitHostPort(server.Address)
	if err != nil {
		return server.Address
	}
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// globalString is the value of a global flag, also where the command has a flag
// of the same name.
func globalString(c *cli.Context, name string) string { return root(c).String(name) }

// globalServer is what --server said, as one, or the argument of a remote command.
func globalServer(c *cli.Context) string {
	if isRemote(c) {
		return remoteServer(c)
	}
	return strings.Join(root(c).StringSlice("server"), ",")
}

// given reports whether a global flag stands on the command line: the environment
// is for calls that say nothing, and is never written into a file.
func given(c *cli.Context, name string) bool {
	args, _ := c.App.Metadata[argsKey].([]string)
	for _, arg := range args[min(1, len(args)):] {
		flag, _, _ := strings.Cut(arg, "=")
		if !strings.HasPrefix(flag, "-") {
			break // the command's name: permute put the global ones before it
		}
		for _, f := range c.App.Flags {
			if f.Names()[0] == name && slices.Contains(spellings(f), flag) {
				return true
			}
		}
	}
	return false
}

// argsKey is where run puts the ordered command line.
const argsKey = "args"

func globalTimeout(c *cli.Context) time.Duration { return root(c).Duration("timeout") }

// root is the context of the global flags.
func root(c *cli.Context) *cli.Context {
	found := c
	for _, parent := range c.Lineage() {
		if parent.Command != nil {
			found = parent
		}
	}
	return found
}

// configPath is the file that --config or the environment names, else the user's.
func configPath(c *cli.Context) (string, error) {
	if path := globalString(c, "config"); path != "" {
		return path, nil
	}
	return client.ConfigPath()
}

// loadConfig reads the configuration. A missing one knows no servers, so that
// server add can begin it.
func loadConfig(c *cli.Context) (*client.Config, error) {
	path, err := configPath(c)
	if err != nil {
		return nil, err
	}
	config, err := client.LoadConfig(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return config, nil
}
