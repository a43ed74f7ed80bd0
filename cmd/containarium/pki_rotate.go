package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/pki"
	"github.com/footprintai/containarium/pki/live"
)

// defaultOverlap is how long an old certificate is good beside its successor: a
// day is enough to bring the new files where they belong.
const defaultOverlap = "24h"

func pkiRotateCommand() *cli.Command {
	return &cli.Command{
		Name:      "rotate",
		Usage:     "replace keys: of a user or server, of what expires, of the CA",
		ArgsUsage: "[NAME]",
		Description: describe(`With NAME: a new key and certificate in its files, of the same kind and names; the
old certificate is revoked after --overlap. With --expiring: that for everything
that expires within the time; where the key is not here its owner has to renew it,
so that it is named, and the exit status is 1. With --intermediate: a new key to
sign with, which nobody has to be told about. With --ca: a new root, in steps that
lock nobody out: start (the new root joins the bundle), switch (it signs), finish
(the old one leaves); status says who still holds what, abort takes start back.
--dry-run says what would happen.`,
			"containarium pki rotate ops-laptop --overlap 1h",
			"containarium pki rotate --expiring 30d --dry-run",
			"containarium pki rotate --intermediate",
			"containarium pki rotate --ca start --dry-run",
			"containarium pki rotate --ca status"),
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "overlap", Usage: "how `LONG` the old certificate is good beside the new one", Value: defaultOverlap},
			algorithmFlag("of the new key", "that of the old one"),
			&cli.StringFlag{Name: "expiring", Usage: "rotate what expires within this `TIME`, as 30d"},
			&cli.BoolFlag{Name: "intermediate", Usage: "rotate the key that signs", DisableDefaultText: true},
			&cli.StringFlag{Name: "ca", Usage: "a `STEP` of the rotation of the root: start, status, switch, finish or abort"},
			&cli.BoolFlag{Name: "dry-run", Usage: "only say what would happen", DisableDefaultText: true},
			&cli.BoolFlag{Name: "force", Usage: "finish although some still hold old certificates, which ends their access", DisableDefaultText: true},
		}, passphraseFlags()...),
		Action: pkiRotate,
	}
}

func pkiRotate(c *cli.Context) error {
	args, err := operands(c, 0, 1)
	if err != nil {
		return err
	}
	// The environment has CONTAINARIUM_CA for the global --ca, which is a file.
	what := 0
	for _, given := range []bool{len(args) == 1, c.IsSet("expiring"), c.Bool("intermediate"), c.IsSet("ca")} {
		if given {
			what++
		}
	}
	leaf := len(args) == 1 || c.IsSet("expiring")
	switch {
	case what != 1:
		return usagef(c, "needs one of NAME, --expiring, --intermediate and --ca")
	case !leaf && (c.IsSet("overlap") || c.IsSet("algorithm")):
		return usagef(c, "--overlap and --algorithm are for NAME and --expiring")
	case c.Bool("force") && c.String("ca") != string(pki.Finish):
		return usagef(c, "--force is for --ca finish")
	case c.IsSet("ca"):
		return rotateRoot(c, c.String("ca"))
	case c.Bool("intermediate"):
		return rotateIntermediate(c)
	}
	overlap, err := pki.ParseTTL(c.String("overlap"))
	if err != nil || overlap < 0 {
		return usagef(c, "--overlap: %q is not a time such as 24h or 7d", c.String("overlap"))
	}
	algorithm, err := algorithmOf(c)
	if err != nil {
		return err
	}
	local := pki.Local{NewKey: true, Overlap: overlap, Algorithm: algorithm, By: asker()}
	if len(args) == 1 {
		if local.Name, err = leafName(c); err != nil {
			return err
		}
		return rotateName(c, local)
	}
	return rotateExpiring(c, local)
}

// rotateName rotates the files of one name.
func rotateName(c *cli.Context, local pki.Local) error {
	open := openSigner
	if c.Bool("dry-run") {
		open = openPKI // asks for no passphrase
	}
	ca, err := open(c)
	if err != nil {
		return err
	}
	if c.Bool("dry-run") {
		chain, err := live.ReadCertificates(ca.Files(local.Name).Cert)
		if err != nil {
			return pkiFailed(c, local.Name, noFiles(ca, local.Name, err))
		}
		v := viewCertificate(chain[0], ca.Files(local.Name).Cert)
		return printPlan(c, []string{
			fmt.Sprintf("%s gets a new key and %s certificate in %s", v.Name, v.Kind, filepath.Dir(v.File)),
			fmt.Sprintf("its certificate %s, which expires %s, is revoked %s after that", v.Serial, pkiTime(v.NotAfter), pki.FormatTTL(local.Overlap)),
			"a daemon that hosts this CA sees to that, or whoever runs containarium pki crl --due after that time",
			"whoever uses the old files needs the new ones by then",
		})
	}
	issued, err := ca.Reissue(c.Context, local)
	if err != nil {
		return refusedRequest(c, local.Name, err)
	}
	return showValue(c, viewOfIssued(issued), func(t *terminal) error {
		return printRotated(c, t, ca, issued, local.Overlap)
	})
}

func printRotated(c *cli.Context, t *terminal, ca *pki.CA, issued pki.Issued, overlap time.Duration) error {
	lines := []string{
		fmt.Sprintf("%s: new key and %s certificate %s", issued.Name, issued.Kind, issued.Serial),
		fmt.Sprintf("  expires      %s (%s)", pkiTime(issued.NotAfter), remaining(issued.NotBefore, issued.NotAfter, time.Now())),
		fmt.Sprintf("The old certificate %s is revoked %s.", issued.Replaces, pkiTime(time.Now().Add(overlap))),
	}
	if overlap > 0 {
		lines = append(lines,
			"A daemon that hosts this CA sees to that. Without one it stays good until somebody runs",
			"  containarium pki crl --due"+pkiFlag(c, ca.Dir),
			"after that time, as a timer does, and brings crl.pem to the daemons.")
	} else {
		lines = append(lines, crlText(ca.Dir)...)
	}
	return printLines(t, append(lines, installText(issued.Kind, filepath.Dir(issued.Files.Cert))...))
}

// expiringView is what pki rotate --expiring prints as a document.
type expiringView struct {
	Rotated []issuedView `json:"rotated"`
	// Left are certificates whose keys are elsewhere.
	Left   []certificateView `json:"left"`
	DryRun bool              `json:"dryRun"`
}

// rotateExpiring rotates all leaves that expire soon and whose files are here.
// One that fails is named and does not keep the others from their turn.
func rotateExpiring(c *cli.Context, local pki.Local) error {
	within, err := lifetime(c, "expiring")
	if err != nil {
		return err
	}
	ca, err := openSigner(c)
	if err != nil {
		return err
	}
	entries, err := ca.List()
	if err != nil {
		return pkiFailed(c, "", err)
	}
	view := expiringView{Rotated: []issuedView{}, Left: []certificateView{}, DryRun: c.Bool("dry-run")}
	var errs []error
	for _, v := range listViews(entries, listFilter{expiring: within, now: time.Now()}) {
		if v.Kind != pki.Client && v.Kind != pki.Server {
			continue
		}
		files := ca.Files(v.Name)
		chain, err := live.ReadCertificates(files.Cert)
		switch {
		case err != nil || pki.Fingerprint(chain[0]) != v.SHA256:
			view.Left = append(view.Left, v)
			continue
		case view.DryRun:
			view.Rotated = append(view.Rotated, issuedView{certificateView: v, PrivateKey: files.Key, CA: files.CA})
			continue
		}
		local.Name = v.Name
		issued, err := ca.Reissue(c.Context, local)
		if err != nil {
			errs = append(errs, pkiFailed(c, v.Name, err))
			if c.Err() != nil {
				break
			}
			continue
		}
		view.Rotated = append(view.Rotated, viewOfIssued(issued))
	}
	err = showValue(c, view, func(t *terminal) error { return printExpiring(t, ca.Dir, view, within, local.Overlap) })
	if len(view.Left) > 0 {
		errs = append(errs, pkiFailed(c, "", fmt.Errorf("these expire soon and have their keys elsewhere, where their owners run containarium pki renew: %s", leftNames(view.Left))))
	}
	return errors.Join(append([]error{err}, errs...)...)
}

// leftNames names at most ten, each once.
func leftNames(left []certificateView) string {
	var names []string
	for _, v := range left {
		if !slices.Contains(names, v.Name) {
			names = append(names, v.Name)
		}
	}
	const most = 10
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), more)
	}
	return strings.Join(names, ", ")
}

func printExpiring(t *terminal, dir string, view expiringView, within, overlap time.Duration) error {
	if len(view.Rotated) == 0 {
		return t.printf("nothing whose key is here expires within %s", pki.FormatTTL(within))
	}
	for _, v := range view.Rotated {
		var err error
		if view.DryRun {
			err = t.printf("%s: would get a new key; %s expires %s", v.Name, v.Serial, pkiTime(v.NotAfter))
		} else {
			err = t.printf("%s: new key and certificate in %s; expires %s", v.Name, filepath.Dir(v.File), pkiTime(v.NotAfter))
		}
		if err != nil {
			return err
		}
	}
	if view.DryRun {
		return nil
	}
	if overlap == 0 {
		return printLines(t, append([]string{"The old certificates are revoked."}, crlText(dir)...))
	}
	return printLines(t, []string{
		fmt.Sprintf("The old certificates are revoked in %s: bring the new files where they belong until then.", pki.FormatTTL(overlap)),
		"A daemon that hosts this CA sees to that; without one, a timer has to run containarium pki crl --due.",
	})
}

// planView is a dry run as a document.
type planView struct {
	Plan []string `json:"plan"`
}

func printPlan(c *cli.Context, plan []string) error {
	return showValue(c, planView{plan}, func(t *terminal) error {
		if err := t.printf("Nothing was changed. It would go like this:"); err != nil {
			return err
		}
		for _, sentence := range plan {
			if err := t.printf("  %s", sentence); err != nil {
				return err
			}
		}
		return nil
	})
}
