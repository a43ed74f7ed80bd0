package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/client"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// place is a user's container on a server, which need not exist.
type place struct {
	user   string
	server client.Server
}

func (p place) String() string { return p.server.Name + ":" + p.user }

// targetsFor is targetsOf for a command about the containers that arguments name:
// where each names its server, no other is needed.
func targetsFor(c *cli.Context, timeout time.Duration, args []string) (*targets, error) {
	for _, arg := range args {
		if _, _, with := cutServer(arg); !with || serverGiven(c) || root(c).Bool("all") {
			return targetsOf(c, timeout)
		}
	}
	return noTargets(c, timeout)
}

// placesOf finds the containers that arguments name, each USER or SERVER:USER. A
// plain USER is on the one server that is asked; of several it is looked for. What
// changes something goes to each server that was named, and asks before it goes to
// several that were not. A container that is named twice comes once.
func placesOf(c *cli.Context, t *targets, args []string, change bool) ([]place, error) {
	places, plain, err := t.qualify(c, args)
	if err != nil {
		return nil, err
	}
	var found map[string][]place
	if len(plain) > 0 && len(t.servers) > 1 && (!change || !t.named) {
		if found, err = locate(c, t, plain, change); err != nil {
			return nil, err
		}
	}
	var all, chosen []place // chosen are those that nobody named a server for
	for i, arg := range args {
		switch {
		case places[i].user != "":
			all = append(all, places[i])
		case found != nil:
			all = append(all, found[arg]...)
			chosen = append(chosen, found[arg]...)
		default:
			all = append(all, t.each(arg)...)
		}
	}
	all, chosen = once(all), once(chosen)
	if change && serversOf(chosen) > 1 {
		err = confirm(c, fmt.Sprintf("%s the containers %s", commandPath(c), joined(chosen)))
	}
	return all, err
}

// qualify takes arguments apart that are SERVER:USER; the others are plain, and no
// place yet.
func (t *targets) qualify(c *cli.Context, args []string) (places []place, plain []string, err error) {
	places = make([]place, len(args))
	for i, arg := range args {
		server, user, with := cutServer(arg)
		if !with {
			plain = append(plain, arg)
			continue
		}
		if server == "" || user == "" || strings.HasPrefix(user, "-") {
			return nil, nil, usagef(c, "%q is not SERVER:USER", arg)
		}
		if _, isGroup := t.config.Groups[server]; isGroup {
			return nil, nil, usagef(c, "%q: %s is a group of servers, name one of them", arg, server)
		}
		on, err := t.config.Resolve(server)
		if err != nil {
			return nil, nil, usagef(c, "%q: %s", arg, err)
		}
		// Fails closed: it is open which of the two was meant.
		if serverGiven(c) && !slices.ContainsFunc(t.servers, func(s client.Server) bool { return s.Address == on.Address }) {
			return nil, nil, usagef(c, "%q is on another server than %s", arg, t.asked)
		}
		withFlags(c, &on)
		places[i] = place{user, on}
		t.qualified = true
	}
	return places, plain, nil
}

// each are the user's containers on all targets.
func (t *targets) each(user string) []place {
	places := make([]place, len(t.servers))
	for i, server := range t.servers {
		places[i] = place{user, server}
	}
	return places
}

// cutServer splits SERVER:USER, where SERVER may be HOST:PORT.
func cutServer(arg string) (server, user string, with bool) {
	n := strings.LastIndex(arg, ":")
	if n < 0 {
		return "", arg, false
	}
	return arg[:n], arg[n+1:], true
}

func once(places []place) []place {
	seen := map[[2]string]bool{}
	return slices.DeleteFunc(places, func(p place) bool {
		key := [2]string{p.server.Address, p.user}
		before := seen[key]
		seen[key] = true
		return before
	})
}

// serversOf counts the servers.
func serversOf(places []place) int {
	servers := map[string]bool{}
	for _, p := range places {
		servers[p.server.Address] = true
	}
	return len(servers)
}

func joined(places []place) string {
	names := make([]string, len(places))
	for i, p := range places {
		names[i] = p.String()
	}
	return strings.Join(names, ", ")
}

var (
	// errAmbiguous says that a user has containers on several servers.
	errAmbiguous = errors.New("on several servers")
	// errNowhere says that a user has no container on any of the servers.
	errNowhere = errors.New("on no server")
	// errUnsure says that a change was not made, since not every server answered.
	errUnsure = errors.New("nothing is changed: what is meant may be on a server that did not answer")
)

// locate finds the servers on which users have containers: one for each, or
// several where they are to change. Where a server did not answer, a change fails
// closed: the container that is meant may be there.
func locate(c *cli.Context, t *targets, users []string, change bool) (map[string][]place, error) {
	answers, failed := askAll(c, t, func(ctx context.Context, s *session) (map[string]bool, error) {
		has := map[string]bool{}
		for _, user := range users {
			_, err := s.Containers.GetContainer(ctx, &pb.GetContainerRequest{Username: user})
			if err != nil && status.Code(err) != codes.NotFound {
				return nil, err
			}
			has[user] = err == nil
		}
		return has, nil
	})
	found := map[string][]place{}
	for _, answer := range answers {
		for user, has := range answer.Value {
			if has {
				found[user] = append(found[user], place{user, answer.Server})
			}
		}
	}
	nobody := client.Server{}
	if failed != nil && (len(answers) == 0 || c.Err() != nil) {
		return nil, failed
	}
	if failed != nil && change {
		return nil, errors.Join(append(errorsOf(failed), t.failed(errUnsure, doing(c, users[0]), users[0], nobody))...)
	}
	var errs []error
	for _, user := range users {
		switch on := found[user]; {
		case len(on) == 0 && failed != nil:
			errs = append(errs, t.failed(&saying{user + " has no container on the servers that answered", errNowhere}, doing(c, user), user, nobody))
		case len(on) == 0:
			errs = append(errs, t.failed(&saying{user + " has no container on any of the servers", errNowhere}, doing(c, user), user, nobody))
		case len(on) > 1 && !change:
			errs = append(errs, t.failed(&saying{user + " has containers on several servers: " + joined(on), errAmbiguous}, doing(c, user), on[0].String(), nobody))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(append(errorsOf(failed), errs...)...)
	}
	for _, err := range errorsOf(failed) { // to look at what was found harms nobody
		terminalOf(c).warnf("%s", explain(c.Context, err))
	}
	return found, nil
}

// confirm asks whether to change what is on several servers. Without an answer it
// fails closed.
func confirm(c *cli.Context, what string) error {
	if root(c).Bool("yes") {
		return nil
	}
	ok, err := terminalOf(c).confirm(c.Context, what+"?")
	if errors.Is(err, errNobody) {
		return usagef(c, "is about several servers: name each with --server, or --yes says that all of them are meant")
	}
	if err == nil && !ok {
		err = errors.New("nothing was done")
	}
	return err
}
