package main

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/daemon/config/strict"
	"github.com/footprintai/containarium/pki"
)

func pkiLsCommand() *cli.Command {
	return &cli.Command{
		Name:      "ls",
		Aliases:   []string{"list"},
		Usage:     "list what the CA has signed",
		ArgsUsage: " ",
		Description: describe(`Lists the CA's own certificates and all that it issued, the next to expire first.
What has expired is left out unless --all or --expired asks for it. Several
filters must all fit.`,
			"containarium pki ls",
			"containarium pki ls --expiring 30d --kind server",
			"containarium pki ls --name 'ci-*' --all",
			"containarium pki ls -o json | jq -r '.[] | select(.kind == \"server\") | .name'"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "name", Usage: "only those with this `NAME`; a * stands for anything"},
			&cli.StringFlag{Name: "kind", Usage: "only this `KIND`: client, server, intermediate, root or cross-signed"},
			&cli.StringFlag{Name: "expiring", Usage: "only what expires within this `TIME`, as 30d, and is neither revoked nor replaced"},
			&cli.BoolFlag{Name: "revoked", Usage: "only what is revoked, or will be", DisableDefaultText: true},
			&cli.BoolFlag{Name: "expired", Usage: "only what has expired", DisableDefaultText: true},
			&cli.BoolFlag{Name: "all", Usage: "what has expired too", DisableDefaultText: true},
		},
		Action: pkiLs,
	}
}

// listFilter is what pki ls was asked to show.
type listFilter struct {
	name     string
	kind     pki.Kind
	expiring time.Duration // 0: does not matter
	revoked  bool
	expired  bool
	all      bool
	now      time.Time
}

func (f listFilter) fits(v *certificateView) bool {
	expired := f.now.After(v.NotAfter)
	switch {
	case f.name != "" && !matches(f.name, v.Name),
		f.kind != "" && f.kind != v.Kind,
		f.expiring > 0 && (v.State != stateGood || v.NotAfter.Sub(f.now) > f.expiring),
		f.revoked && v.Revoked == nil,
		f.expired && !expired:
		return false
	}
	return f.all || f.expired || !expired
}

// matches compares a name with a pattern of which only * has a meaning.
func matches(pattern, name string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == name
	}
	name, fits := strings.CutPrefix(name, first)
	if !fits {
		return false
	}
	for i := range len(name) + 1 {
		if matches(rest, name[i:]) {
			return true
		}
	}
	return false
}

func pkiLs(c *cli.Context) error {
	if _, err := operands(c, 0, 0); err != nil {
		return err
	}
	filter := listFilter{name: c.String("name"), kind: pki.Kind(c.String("kind")), revoked: c.Bool("revoked"), expired: c.Bool("expired"), all: c.Bool("all"), now: time.Now()}
	var err error
	if filter.expiring, err = lifetime(c, "expiring"); err != nil {
		return err
	}
	kinds := []string{string(pki.Client), string(pki.Server), string(pki.Intermediate), string(pki.Root), string(pki.CrossSigned)}
	if filter.kind != "" && !slices.Contains(kinds, string(filter.kind)) {
		return usagef(c, "--kind: no kind %q: %s%s", filter.kind, strings.Join(kinds, ", "), strict.Suggest(string(filter.kind), kinds))
	}
	ca, err := openPKI(c)
	if err != nil {
		return err
	}
	entries, err := ca.List()
	if err != nil {
		return pkiFailed(c, "", err)
	}
	views := listViews(entries, filter)
	return showValue(c, views, func(t *terminal) error {
		if len(views) == 0 {
			t.notef("nothing of what the CA has signed fits")
			return nil
		}
		rows := [][]string{{"NAME", "KIND", "SERIAL", "EXPIRES", "STATE"}}
		for _, v := range views {
			rows = append(rows, []string{v.Name, string(v.Kind), v.Serial, pkiTime(v.NotAfter) + ", " + remaining(v.NotBefore, v.NotAfter, filter.now), v.stateText(filter.now)})
		}
		return t.table(rows)
	})
}

// listViews are the entries that fit, the next to expire first.
func listViews(entries []pki.Entry, filter listFilter) []certificateView {
	replaced := replacements(entries)
	views := make([]certificateView, 0, len(entries))
	for _, e := range entries {
		v := viewEntry(e)
		v.ReplacedBy = replaced[e.Serial]
		v.State = stateOf(e, v.ReplacedBy, filter.now)
		if filter.fits(&v) {
			views = append(views, v)
		}
	}
	slices.SortStableFunc(views, func(a, b certificateView) int {
		return cmp.Or(a.NotAfter.Compare(b.NotAfter), cmp.Compare(a.Name, b.Name))
	})
	return views
}
