package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"
	"google.golang.org/protobuf/proto"

	"github.com/footprintai/containarium/client"
)

// serversAtOnce is how many servers change something at a time.
const serversAtOnce = 32

// outcome is what came of a call about one container.
type outcome struct {
	// answer is the daemon's.
	answer proto.Message
	// warnings are about it.
	warnings []string
	// table prints it.
	table func(t *terminal) error
}

// said is an outcome that a line tells.
func said(answer proto.Message, format string, args ...any) *outcome {
	return &outcome{answer: answer, table: func(t *terminal) error {
		t.notef(format, args...)
		return nil
	}}
}

// eachPlace does something to each container that the arguments name, goes on
// after one that fails, and shows what came of each in the order in which they
// were named. Servers work at the same time, each at one container after the
// other. do runs beside others and prints nothing.
func eachPlace(c *cli.Context, timeout time.Duration, args []string, change bool, do func(ctx context.Context, s *session, user string) (*outcome, error)) error {
	t, err := targetsFor(c, timeout, args)
	if err != nil {
		return err
	}
	places, err := placesOf(c, t, args, change)
	if err != nil {
		return err
	}
	return doEach(c, t, places, change && (t.fleet || serversOf(places) > 1), do)
}

// doEach is eachPlace for places that are known. Where the document is one, it has
// an entry for each place; else each has a document of its own.
func doEach(c *cli.Context, t *targets, places []place, one bool, do func(ctx context.Context, s *session, user string) (*outcome, error)) error {
	format, err := formatOf(c)
	if err != nil {
		return err
	}
	one = one && isDocument(format)
	term := terminalOf(c)
	servers := make([]client.Server, len(places))
	for i, p := range places {
		servers[i] = p.server
	}
	warnOfExpiries(term, servers, time.Now())
	var errs []error
	var unprinted error
	entries := make([]fleetEntry, len(places))
	several := serversOf(places) > 1
	for i, wait := range begin(c, t, places, do) {
		if several {
			term.progressf("%d of %d containers are done", i, len(places))
		}
		p, entry := places[i], &entries[i]
		*entry = fleetEntry{Server: p.server.Name, Address: p.server.Address, User: p.user}
		done, err := wait()
		if err != nil {
			entry.Error = failureOf(c.Context, err)
			// Of what was interrupted one line is enough.
			if c.Err() == nil || len(errs) == 0 || !errors.Is(err, context.Canceled) {
				errs = append(errs, err)
			}
			continue
		}
		for _, warning := range done.warnings {
			if several {
				warning = p.String() + ": " + warning
			}
			term.warnf("%s", warning)
		}
		if one {
			if entry.Answer, err = document(done.answer); err != nil {
				err = t.failed(fmt.Errorf("the server's answer makes no sense: %w", err), doing(c, p.user), p.user, p.server)
				entry.Error = failureOf(c.Context, err)
				errs = append(errs, err)
				continue
			}
		} else {
			err = show(c, done.answer, done.table)
		}
		unprinted = firstError(unprinted, err) // what was begun has to end
	}
	term.endProgress()
	if one {
		unprinted = firstError(unprinted, showValue(c, &fleetDocument{Servers: entries}, nil))
	}
	switch {
	case unprinted != nil:
		return unprinted
	case several && len(errs) > 0:
		return &someError{errs: errs, all: len(errs) == len(places)}
	}
	return errors.Join(errs...)
}

// begin begins the work on all places and returns, for each, what waits for its
// end.
func begin(c *cli.Context, t *targets, places []place, do func(ctx context.Context, s *session, user string) (*outcome, error)) []func() (*outcome, error) {
	type result struct {
		done *outcome
		err  error
	}
	results := make([]chan result, len(places))
	waits := make([]func() (*outcome, error), len(places))
	byServer := map[string][]int{}
	var order []string
	for i, p := range places {
		results[i] = make(chan result, 1)
		waits[i] = func() (*outcome, error) {
			r := <-results[i]
			return r.done, r.err
		}
		if byServer[p.server.Address] == nil {
			order = append(order, p.server.Address)
		}
		byServer[p.server.Address] = append(byServer[p.server.Address], i)
	}
	turns := make(chan struct{}, serversAtOnce)
	for _, address := range order {
		go func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			var s *session
			for _, i := range byServer[address] {
				var r result
				if s == nil {
					s, r.err = t.open(places[i].server, doing(c, places[i].user))
				}
				if r.err == nil {
					r.done, r.err = doOne(c, s, places[i].user, do)
				}
				results[i] <- r
			}
			if s != nil {
				s.close()
			}
		}()
	}
	return waits
}

func doOne(c *cli.Context, s *session, user string, do func(ctx context.Context, s *session, user string) (*outcome, error)) (*outcome, error) {
	ctx, cancel := s.call(c.Context)
	defer cancel()
	done, err := do(ctx, s, user)
	return done, s.failed(err, doing(c, user), user)
}
