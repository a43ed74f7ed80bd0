package main

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"google.golang.org/grpc/codes"

	"github.com/footprintai/containarium/daemon/audit"
	"github.com/footprintai/containarium/daemon/config/strict"
	"github.com/footprintai/containarium/pki"
)

func auditLsCommand() *cli.Command {
	return &cli.Command{
		Name:      "ls",
		Aliases:   []string{"list"},
		Usage:     "list what was called, by whom, and what came of it",
		ArgsUsage: "[FILE...]",
		Description: describe(`Lists the lines of the log in the order in which they were written. Several
filters must all fit; in names, a * stands for anything. With -o json each line is
printed as it is in the log. Whether the log is whole says containarium audit
verify; contrib/doc/audit.md explains every field.`,
			"containarium audit ls -n 20",
			"containarium audit ls --cn 'ci-*' --container alice --since 30d",
			"containarium audit ls --event handshake --since 2026-01-31T08:00:00Z",
			"tail -F audit.log | containarium audit ls --decision deny -o json -"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "cn", Usage: "only calls by this `NAME`"},
			&cli.StringFlag{Name: "container", Usage: "only calls about the container of this `USER`"},
			&cli.StringFlag{Name: "decision", Usage: "only what the policy said this `WORD` to: allow or deny"},
			&cli.StringFlag{Name: "method", Usage: "only calls of this `RPC`, as CreateContainer or ContainerService/CreateContainer"},
			&cli.StringFlag{Name: "action", Usage: "only calls of this `ACTION`, as container.create"},
			&cli.StringFlag{Name: "code", Usage: "only calls that ended with this `CODE`, as PermissionDenied"},
			&cli.StringFlag{Name: "event", Usage: "only this `EVENT`: " + strings.Join(audit.Events(), ", ")},
			&cli.StringFlag{Name: "since", Usage: "only from this `TIME` on: 2026-01-31T08:00:00Z, or how long ago, as 2h or 30d"},
			&cli.StringFlag{Name: "until", Usage: "only before this `TIME`"},
			&cli.IntFlag{Name: "n", Usage: "only the last `NUMBER` of what fits", DefaultText: "all"},
		},
		Action: auditLs,
	}
}

// auditFilter is what audit ls was asked to show; empty does not matter.
type auditFilter struct {
	cn, container, decision, method, action, code, event string
	since, until                                         time.Time
}

func auditFilterOf(c *cli.Context) (auditFilter, error) {
	f := auditFilter{
		cn: c.String("cn"), container: c.String("container"), decision: c.String("decision"), method: c.String("method"),
		action: c.String("action"), code: c.String("code"), event: c.String("event"),
	}
	var known []string
	for code := codes.OK; code <= codes.Unauthenticated; code++ {
		known = append(known, code.String())
	}
	for _, choice := range []struct {
		flag  string
		value *string
		among []string
	}{{"decision", &f.decision, []string{"allow", "deny"}}, {"event", &f.event, audit.Events()}, {"code", &f.code, known}} {
		at := slices.IndexFunc(choice.among, func(s string) bool { return strings.EqualFold(s, *choice.value) })
		switch {
		case at >= 0:
			*choice.value = choice.among[at]
		case c.IsSet(choice.flag):
			return f, usagef(c, "--%s: no %s %q: %s%s", choice.flag, choice.flag, *choice.value, strings.Join(choice.among, ", "), strict.Suggest(*choice.value, choice.among))
		}
	}
	var err error
	now := time.Now()
	if f.since, err = instant(c, "since", now); err == nil {
		f.until, err = instant(c, "until", now)
	}
	return f, err
}

// instant is the value of a flag that takes a time, or how long ago it was; zero
// where it is not given.
func instant(c *cli.Context, flag string, now time.Time) (time.Time, error) {
	if !c.IsSet(flag) {
		return time.Time{}, nil
	}
	value := c.String(flag)
	if t, err := time.Parse(time.RFC3339, value); err == nil {
		return t, nil
	}
	ago, err := pki.ParseTTL(value)
	if err != nil || ago < 0 {
		return time.Time{}, usagef(c, "--%s: %q is neither a time, as 2026-01-31T08:00:00Z, nor how long ago it was, as 2h or 30d", flag, value)
	}
	return now.Add(-ago), nil
}

func (f *auditFilter) fits(r *audit.Record) bool {
	switch {
	case f.cn != "" && !matches(f.cn, r.CN),
		f.container != "" && !matches(f.container, r.Container),
		f.decision != "" && f.decision != r.Decision,
		f.method != "" && !matches(f.method, r.Method) && !matches("*/"+f.method, r.Method) && !matches("*."+f.method, r.Method),
		f.action != "" && !matches(f.action, r.Action),
		f.code != "" && f.code != r.Code,
		f.event != "" && f.event != r.Event,
		!f.since.IsZero() && r.Time.Before(f.since),
		!f.until.IsZero() && !r.Time.Before(f.until):
		return false
	}
	return true
}

func auditLs(c *cli.Context) error {
	filter, err := auditFilterOf(c)
	if err != nil {
		return err
	}
	last := c.Int("n")
	if c.IsSet("n") && last < 1 {
		return usagef(c, "-n %d: must be at least 1", last)
	}
	sources, err := auditSources(c)
	if err != nil {
		return err
	}
	format, err := formatOf(c)
	if err != nil {
		return err
	}
	t := terminalOf(c)
	rows := [][]string{{"TIME", "EVENT", "CN", "ACTION", "CONTAINER", "DECISION", "CODE", "TOOK", "PEER", "WHY"}}
	show := func(r *audit.Record, line []byte) error {
		switch {
		case isTable(format):
			rows = append(rows, auditRow(r))
			return nil
		case format == formatYAML:
			return t.document(format, line)
		}
		_, err := t.out.Write(append(slices.Clip(escape(format, line)), '\n'))
		return err
	}
	skipped, err := auditLines(sources, &filter, last, show)
	if err != nil {
		return err
	}
	if skipped > 0 {
		t.warnf("%s of this can not be read; containarium audit verify says whether that is so by right", counted(skipped, "line"))
	}
	if len(rows) > 1 {
		return t.table(rows)
	}
	if isTable(format) {
		t.notef("nothing in the audit log fits")
	}
	return nil
}

// auditLines calls show with what fits, of that the last ones where last is not 0,
// and returns how many lines are no records.
func auditLines(sources []audit.Source, filter *auditFilter, last int, show func(*audit.Record, []byte) error) (int, error) {
	if last == 0 {
		var failed error
		skipped, err := audit.Records(sources, func(r audit.Record, line []byte) bool {
			if filter.fits(&r) {
				failed = show(&r, line)
			}
			return failed == nil
		})
		if err == nil {
			err = failed
		}
		return skipped, err
	}
	type kept struct {
		record audit.Record
		line   []byte
	}
	var all []kept
	skipped := 0
	// The newest first, to stop where there are enough.
	for i := len(sources) - 1; i >= 0 && len(all) < last; i-- {
		var these []kept
		n, err := audit.Records(sources[i:i+1], func(r audit.Record, line []byte) bool {
			if filter.fits(&r) {
				these = append(these, kept{r, bytes.Clone(line)})
			}
			if extra := len(these) - (last - len(all)); extra > 0 {
				these = these[extra:]
			}
			return true
		})
		if err != nil {
			return 0, err
		}
		skipped += n
		all = append(these, all...)
	}
	for _, k := range all {
		if err := show(&k.record, k.line); err != nil {
			return 0, err
		}
	}
	return skipped, nil
}

func auditRow(r *audit.Record) []string {
	action, took, why := r.Action, "", r.Rule
	if action == "" {
		action = strings.TrimPrefix(r.Method, "/")
	}
	if r.Event == audit.EventRPC {
		took = strconv.FormatFloat(r.DurationMS, 'f', -1, 64) + "ms"
	}
	if r.Reason != "" {
		why = r.Reason
	}
	return []string{r.Time.UTC().Format("2006-01-02T15:04:05.000Z"), r.Event, r.CN, action, r.Container, r.Decision, r.Code, took, r.Peer, why}
}
