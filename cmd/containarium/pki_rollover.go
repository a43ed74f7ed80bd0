package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/daemon/config/strict"
	"github.com/footprintai/containarium/pki"
)

// stepStatus is the step of pki rotate --ca that changes nothing.
const stepStatus = "status"

// rotateIntermediate makes a new intermediate.
func rotateIntermediate(c *cli.Context) error {
	if c.Bool("dry-run") {
		ca, err := openPKI(c)
		if err != nil {
			return err
		}
		entries, err := ca.List()
		if err != nil {
			return pkiFailed(c, "", err)
		}
		now, good := time.Now(), 0
		for _, e := range entries {
			if (e.Kind == pki.Client || e.Kind == pki.Server) && now.Before(e.NotAfter) && !e.RevokedAt(now) && e.Issuer == fmt.Sprintf("%X", ca.Intermediate.SubjectKeyId) {
				good++
			}
		}
		return printPlan(c, []string{
			"a new intermediate signs from then on, under the same root",
			fmt.Sprintf("the %d certificates that the present one signed stay good until they expire; its revocation list goes on until then", good),
			"no daemon and no client has to be told: each certificate comes with its intermediate",
		})
	}
	ca, err := openSigner(c)
	if err != nil {
		return err
	}
	entries, err := ca.RotateIntermediate(c.Context, asker())
	if err != nil {
		return pkiFailed(c, "", err)
	}
	views := []certificateView{}
	for _, e := range entries {
		views = append(views, viewEntry(e))
	}
	return showValue(c, views, func(t *terminal) error {
		for _, v := range views {
			if err := t.printf("%s signs from now on: %s, expires %s", v.Name, v.Serial, pkiTime(v.NotAfter)); err != nil {
				return err
			}
		}
		return t.printf("What the old one signed stays good until it expires. Nobody has to be told.")
	})
}

// statusView is how far the rotation of the root is, as a document.
type statusView struct {
	Stage            string            `json:"stage"`
	Root             certificateView   `json:"root"`
	Intermediate     certificateView   `json:"intermediate"`
	NextRoot         *certificateView  `json:"nextRoot,omitempty"`
	NextIntermediate *certificateView  `json:"nextIntermediate,omitempty"`
	OldRoots         []certificateView `json:"oldRoots"`
	OldIntermediates []certificateView `json:"oldIntermediates"`
	// Holders are the leaves under an old intermediate without a successor.
	Holders []certificateView `json:"holders"`
}

func viewStatus(s pki.Status) statusView {
	list := func(entries []pki.Entry) []certificateView {
		views := []certificateView{}
		for _, e := range entries {
			views = append(views, viewEntry(e))
		}
		return views
	}
	one := func(e *pki.Entry) *certificateView {
		if e == nil {
			return nil
		}
		view := viewEntry(*e)
		return &view
	}
	return statusView{
		Stage: s.Stage, Root: viewEntry(s.Root), Intermediate: viewEntry(s.Intermediate),
		NextRoot: one(s.NextRoot), NextIntermediate: one(s.NextIntermediate),
		OldRoots: list(s.OldRoots), OldIntermediates: list(s.OldIntermediates), Holders: list(s.Holders),
	}
}

// rotateRoot takes one step of the rotation of the root.
func rotateRoot(c *cli.Context, step string) error {
	steps := []string{string(pki.Start), stepStatus, string(pki.Switch), string(pki.Finish), string(pki.Abort)}
	if !slices.Contains(steps, step) {
		return usagef(c, "--ca: no step %q: %s%s", step, strings.Join(steps, ", "), strict.Suggest(step, steps))
	}
	if step == stepStatus || c.Bool("dry-run") {
		ca, err := openPKI(c)
		if err != nil {
			return err
		}
		if step != stepStatus {
			plan, err := ca.Plan(pki.Step(step))
			if err != nil {
				return pkiFailed(c, "", err)
			}
			return printPlan(c, plan)
		}
		status, err := ca.Status()
		if err != nil {
			return pkiFailed(c, "", err)
		}
		return printStatus(c, ca, status)
	}
	ca, err := openSigner(c)
	if err != nil {
		return err
	}
	status, err := ca.Rollover(c.Context, pki.Step(step), asker(), c.Bool("force"))
	if err != nil {
		return pkiFailed(c, "", err)
	}
	return printStatus(c, ca, status)
}

func printStatus(c *cli.Context, ca *pki.CA, status pki.Status) error {
	view := viewStatus(status)
	return showValue(c, view, func(t *terminal) error {
		rows := [][]string{{"", "NAME", "SERIAL", "EXPIRES"}}
		add := func(what string, views ...certificateView) {
			for _, v := range views {
				rows = append(rows, []string{what, v.Name, v.Serial, pkiTime(v.NotAfter)})
			}
		}
		add("root", view.Root)
		add("intermediate", view.Intermediate)
		if view.NextRoot != nil {
			add("next root", *view.NextRoot)
		}
		if view.NextIntermediate != nil {
			add("next intermediate", *view.NextIntermediate)
		}
		add("old root", view.OldRoots...)
		add("old intermediate", view.OldIntermediates...)
		rows[0][0] = "PART"
		if err := firstError(t.printf("stage: %s", view.Stage), t.table(rows)); err != nil {
			return err
		}
		return printLines(t, append(holdersText(view), nextStep(view, pkiFlag(c, ca.Dir))...))
	})
}

// holdersShown bounds the list of holders for people; the document has all.
const holdersShown = 20

func holdersText(view statusView) []string {
	if len(view.Holders) == 0 || view.Stage != pki.Switched {
		return nil // nobody, or nobody who has to do anything
	}
	lines := []string{fmt.Sprintf("Certificates of an old intermediate that have no successor, %d:", len(view.Holders))}
	for i, v := range view.Holders {
		if i == holdersShown {
			return append(lines, fmt.Sprintf("  and %d more: -o json has them all", len(view.Holders)-holdersShown))
		}
		lines = append(lines, fmt.Sprintf("  %s (%s), %s, expires %s", v.Name, v.Kind, v.Serial, pkiTime(v.NotAfter)))
	}
	return lines
}

// nextStep says what to do at a stage.
func nextStep(view statusView, flag string) []string {
	switch view.Stage {
	case pki.Started:
		return []string{
			"Next: bring the bundle to every daemon and client, as its ca.crt. Those that follow a",
			"daemon that hosts this CA, and whoever renews, get it by themselves.",
			"  containarium pki bundle --out ca.crt" + flag,
			"When all have it, or to take this back:",
			"  containarium pki rotate --ca switch" + flag,
			"  containarium pki rotate --ca abort" + flag,
		}
	case pki.Switched:
		next := []string{"Next: their owners renew or rotate them, or wait until they expire, then:"}
		if len(view.Holders) == 0 {
			next = []string{"Next: nobody holds an old certificate any more:"}
		}
		return append(next, "  containarium pki rotate --ca finish"+flag)
	}
	return []string{"No rotation of the root is under way. To begin one:", "  containarium pki rotate --ca start --dry-run" + flag}
}
