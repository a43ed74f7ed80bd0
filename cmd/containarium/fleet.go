package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/footprintai/containarium/client"
)

// someError says that some of several servers failed: the errors are theirs.
type someError struct {
	errs []error
	// all says that every one did.
	all bool
}

func (e *someError) Error() string   { return fmt.Sprintf("%d servers failed", len(e.errs)) }
func (e *someError) Unwrap() []error { return e.errs }

// askOne shows what the one target answers, as a list or a document.
func askOne[T proto.Message](c *cli.Context, t *targets, call func(ctx context.Context, s *session) (T, error), list func(s *session, answer T) [][]string) error {
	s, err := t.dial(c, t.servers[0])
	if err != nil {
		return err
	}
	defer s.close()
	ctx, cancel := s.call(c.Context)
	defer cancel()
	answer, err := call(ctx, s)
	if err != nil {
		return s.failed(err, commandPath(c), "")
	}
	return show(c, answer, func(term *terminal) error { return term.list(list(s, answer)) })
}

// askAll makes a call to each of the targets at once and returns those that
// answered, in the targets' order. The error says what the others failed of, each
// in a line. The call prints nothing.
func askAll[T any](c *cli.Context, t *targets, call func(ctx context.Context, s *session) (T, error)) ([]client.Answer[T], error) {
	return askAbout(c, t, "", call)
}

// askAbout is askAll for calls about one user; "" is none.
func askAbout[T any](c *cli.Context, t *targets, user string, call func(ctx context.Context, s *session) (T, error)) ([]client.Answer[T], error) {
	term := terminalOf(c)
	warnOfExpiries(term, t.servers, time.Now())
	fan := client.Fan{Timeout: t.timeout, Answered: func(count int, _ client.Server, _ error) {
		term.progressf("%d of %d servers have answered", count, len(t.servers))
	}}
	term.progressf("asking %d servers", len(t.servers))
	answers := client.Ask(c.Context, fan, t.servers, func(ctx context.Context, to *client.Client) (T, error) {
		defer term.skew.note(to)
		return call(ctx, &session{Client: to, targets: t})
	})
	term.endProgress()
	var good []client.Answer[T]
	failed := &someError{}
	for _, answer := range answers {
		if answer.Err == nil {
			good = append(good, answer)
			continue
		}
		failed.errs = append(failed.errs, t.failed(answer.Err, doing(c, user), user, answer.Server))
	}
	if len(failed.errs) == 0 {
		return good, nil
	}
	failed.all = len(good) == 0
	return good, failed
}

// doing is what a command is to do with a user, as in "info alice".
func doing(c *cli.Context, user string) string {
	if user == "" {
		return commandPath(c)
	}
	return commandPath(c) + " " + user
}

// errorsOf are the errors of the servers that failed.
func errorsOf(failed error) []error {
	some, ok := errors.AsType[*someError](failed)
	if !ok {
		return nil
	}
	return some.errs
}

// fleetDocument is the JSON of a command that asked several servers.
type fleetDocument struct {
	// Program is this program, in that of version.
	Program *programView `json:"program,omitempty"`
	Servers []fleetEntry `json:"servers"`
	// Totals are in that of system.
	Totals *systemTotals `json:"totals,omitempty"`
}

// fleetEntry is one server in the JSON of a command that asked several.
type fleetEntry struct {
	Server  string `json:"server"`
	Address string `json:"address"`
	// User is there where a command is about several containers.
	User string `json:"user,omitempty"`
	// Answer is what the server's own answer would be; absent where it failed.
	Answer json.RawMessage `json:"answer,omitempty"`
	// Error is the line of that server on standard error; absent where it answered.
	Error *fleetFailure `json:"error,omitempty"`
}

type fleetFailure struct {
	// Code is the gRPC code, for example "Unavailable"; "Unknown" where it never
	// came to a call.
	Code    string `json:"code"`
	Message string `json:"message"`
}

func failureOf(ctx context.Context, err error) *fleetFailure {
	return &fleetFailure{Code: status.Code(err).String(), Message: explain(ctx, err)}
}

// showAll is show for the answers of several servers: as the command's table, or
// as a document with an entry for each server, whether it answered or not. What
// failed is the error; where every server did there is no table. An answer of which
// no document can be made is that server's failure, and hides none of the others.
func showAll[T proto.Message](c *cli.Context, t *targets, answers []client.Answer[T], failed error, table func(t *terminal) error) error {
	return showAllWith(c, t, answers, failed, func(*fleetDocument, []client.Answer[T]) {}, table)
}

// showAllWith is showAll where more is in the document than the answers.
func showAllWith[T proto.Message](c *cli.Context, t *targets, answers []client.Answer[T], failed error, more func(*fleetDocument, []client.Answer[T]), table func(t *terminal) error) error {
	entries := make([]fleetEntry, 0, len(t.servers))
	byAddress := map[string]*fleetEntry{} // a server is asked once
	for _, server := range t.servers {
		entries = append(entries, fleetEntry{Server: server.Name, Address: server.Address})
		byAddress[server.Address] = &entries[len(entries)-1]
	}
	if isDocument(terminalOf(c).format) {
		answers, failed = documents(c, t, answers, failed, func(server client.Server, data json.RawMessage) {
			byAddress[server.Address].Answer = data
		})
	}
	for _, err := range errorsOf(failed) {
		if f, ok := errors.AsType[*failure](err); ok {
			byAddress[f.server.Address].Error = failureOf(c.Context, f)
		}
	}
	all := &fleetDocument{Servers: entries}
	more(all, answers)
	return firstError(showValue(c, all, func(term *terminal) error {
		if len(answers) == 0 {
			return nil
		}
		return table(term)
	}), failed)
}

// documents makes a document of each answer, and returns those of which it could
// and what failed, which may be nil.
func documents[T proto.Message](c *cli.Context, t *targets, answers []client.Answer[T], failed error, put func(client.Server, json.RawMessage)) ([]client.Answer[T], error) {
	some := &someError{errs: slices.Clone(errorsOf(failed))}
	var good []client.Answer[T]
	for _, answer := range answers {
		data, err := document(answer.Value)
		if err != nil {
			some.errs = append(some.errs, t.failed(fmt.Errorf("the server's answer makes no sense: %w", err), commandPath(c), "", answer.Server))
			continue
		}
		put(answer.Server, data)
		good = append(good, answer)
	}
	if len(some.errs) == 0 {
		return good, nil
	}
	some.all = len(good) == 0
	return good, some
}
