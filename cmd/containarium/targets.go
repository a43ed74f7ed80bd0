package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/client"
)

// targets are the servers that a command is about.
type targets struct {
	servers []client.Server
	// fleet says that there may be several, also where there is one only: answers
	// tell their servers.
	fleet bool
	// named says that each was named by itself, and not by --all or a group.
	named bool
	// qualified says that a user's container is named with its server.
	qualified bool
	asked     string // what --server said
	config    *client.Config
	timeout   time.Duration
}

// targetsOf returns the servers that the flags, the environment or the
// configuration name, in this order. timeout is for each, unless --timeout says
// otherwise.
func targetsOf(c *cli.Context, timeout time.Duration) (*targets, error) {
	t, err := noTargets(c, timeout)
	if err != nil {
		return nil, err
	}
	t.asked = globalServer(c)
	names := strings.Split(t.asked, ",")
	all := root(c).Bool("all") || isListAll(c) && !serverGiven(c)
	// A server that was meant and is none must not leave the default in its place.
	if serverGiven(c) && slices.ContainsFunc(names, func(name string) bool { return strings.TrimSpace(name) == "" }) {
		return nil, usagef(c, "--server: a name is empty")
	}
	switch {
	case isRemote(c) && given(c, "server"):
		return nil, usagef(c, "has its server as an argument, and takes no --server")
	case all && serverGiven(c):
		return nil, usagef(c, "--all and a server exclude each other")
	case all:
		// The environment names a server for calls that say nothing of it.
		t.servers, err = t.config.All()
		t.fleet, t.named = true, false
	default:
		t.servers, err = t.config.Select(t.asked)
		for _, name := range names {
			if _, isGroup := t.config.Groups[strings.TrimSpace(name)]; isGroup {
				t.fleet, t.named = true, false
			}
		}
		t.fleet = t.fleet || len(names) > 1 || isListAll(c)
	}
	switch {
	case errors.Is(err, client.ErrNoServer):
		return nil, t.failed(err, commandPath(c), "", client.Server{})
	case err != nil:
		return nil, usagef(c, "--server: %s", err)
	}
	t.qualified = t.fleet
	for i := range t.servers {
		withFlags(c, &t.servers[i])
	}
	return t, nil
}

// serverGiven reports whether the command line says which servers are meant.
func serverGiven(c *cli.Context) bool {
	return given(c, "server") || isRemote(c) && (!isListAll(c) || c.IsSet("servers"))
}

// noTargets are those of a command that names its servers itself.
func noTargets(c *cli.Context, timeout time.Duration) (*targets, error) {
	t := &targets{named: true, timeout: timeout}
	if d := globalTimeout(c); d < 0 {
		return nil, usagef(c, "--timeout must not be negative")
	} else if d > 0 {
		t.timeout = d
	}
	var err error
	t.config, err = loadConfig(c)
	return t, err
}

// withFlags puts the files that --cert, --key and --ca or the environment name in
// place of those of the configuration, for this run alone.
func withFlags(c *cli.Context, server *client.Server) {
	for flag, path := range map[string]*string{"cert": &server.Cert, "key": &server.Key, "ca": &server.CA} {
		if given := globalString(c, flag); given != "" {
			*path = given
		}
	}
}

// oneTarget is targetsOf for commands that can ask one server only.
func oneTarget(c *cli.Context, timeout time.Duration) (*targets, error) {
	t, err := targetsOf(c, timeout)
	if err == nil && len(t.servers) != 1 {
		err = usagef(c, "is for one server at a time: --server NAME")
	}
	return t, err
}

// call returns a context for one call.
func (t *targets) call(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, t.timeout)
}

// place is how a command line names a user's container on the server.
func (t *targets) place(server client.Server, user string) string {
	if t.qualified && server.Name != "" {
		return place{user, server}.String()
	}
	return user
}

// failed says what failed on which server; nil stays nil.
func (t *targets) failed(err error, what, user string, server client.Server) error {
	if err == nil {
		return nil
	}
	return &failure{what: what, user: user, place: t.place(server, user), server: server, asked: t.asked, config: t.config, err: err}
}
