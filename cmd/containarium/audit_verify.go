package main

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/daemon/audit"
)

func auditVerifyCommand() *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "say whether the audit log is whole, or which line is not",
		ArgsUsage: "[FILE...]",
		Description: describe(`Follows the hashes from line to line and from file to file, and names the first
line that was changed, removed or inserted; the exit status is 1 then.

Whoever can write the log can cut off its end, or write all of it anew, and the
hashes alone do not show it. So keep the hash of the last line, which this prints,
on another machine: --last says whether it is still there.`,
			"containarium audit verify",
			"containarium audit verify --last 1f8a7c…",
			"containarium audit verify audit.log.2.gz audit.log.1 audit.log",
			"journalctl -t containarium-audit -o cat | containarium audit verify --restarts -"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "last", Usage: "the `HASH` of what was the last line at some time"},
			&cli.BoolFlag{Name: "restarts", Usage: "each start of the daemon may begin anew, as it does in the journal and on standard output", DisableDefaultText: true},
		},
		Action: auditVerify,
	}
}

// auditView is what is known about a log that is whole.
type auditView struct {
	Files []string `json:"files"`
	Lines int      `json:"lines"`
	// From and To are the earliest and the latest time; absent without lines.
	From *time.Time `json:"from,omitempty"`
	To   *time.Time `json:"to,omitempty"`
	// Complete says that the first line begins a log.
	Complete bool          `json:"complete"`
	Prev     string        `json:"prev"`
	Last     string        `json:"last"`
	Chains   int           `json:"chains"`
	Torn     []audit.Place `json:"torn"`
	Tail     *audit.Place  `json:"tail,omitempty"`
	// Since is how many lines follow that of --last.
	Since *int `json:"since,omitempty"`
}

func auditVerify(c *cli.Context) error {
	last := strings.ToLower(c.String("last"))
	if b, err := hex.DecodeString(last); c.IsSet("last") && (err != nil || len(b) != 32) {
		return usagef(c, "--last: %q is not a hash, 64 hexadecimal digits", last)
	}
	sources, err := auditSources(c)
	if err != nil {
		return err
	}
	r, err := audit.Verify(sources, audit.Options{Last: last, Restarts: c.Bool("restarts")})
	if err != nil {
		return err
	}
	view := auditView{Lines: r.Lines, Complete: r.Whole(), Prev: r.Prev, Last: r.Hash, Chains: r.Chains, Torn: append([]audit.Place{}, r.Torn...), Tail: r.Tail}
	for _, s := range sources {
		view.Files = append(view.Files, s.Name)
	}
	if r.Lines > 0 {
		view.From, view.To = &r.From, &r.To
	}
	if last != "" {
		view.Since = &r.Since
	}
	return showValue(c, view, view.print)
}

func (v *auditView) print(t *terminal) error {
	for _, place := range v.Torn {
		t.notef("%s: an unfinished line, left by a crash or a full disk; the event behind it accounts for it", place)
	}
	if v.Tail != nil {
		t.notef("%s: an unfinished line, which the daemon writes now or accounts for when it starts", v.Tail)
	}
	if v.Lines == 0 {
		return t.printf("no lines")
	}
	lines := []string{fmt.Sprintf("whole: %s from %s to %s", counted(v.Lines, "line"), v.From.Format(time.RFC3339), v.To.Format(time.RFC3339))}
	if v.Chains > 1 {
		lines = append(lines, fmt.Sprintf("in %d chains: what was cut off before a start does not show", v.Chains))
	}
	if !v.Complete {
		lines = append(lines, "begins after a line that is not here: "+v.Prev)
	}
	if v.Since != nil {
		lines = append(lines, fmt.Sprintf("the hash that was noted is here, %s before the last", counted(*v.Since, "line")))
	}
	lines = append(lines, "last hash: "+v.Last)
	if v.Since == nil {
		lines = append(lines, "not seen without --last: lines cut off at the end, a log replaced whole; note the last hash on another machine")
	}
	for _, line := range lines {
		if err := t.printf("%s", line); err != nil {
			return err
		}
	}
	return nil
}
