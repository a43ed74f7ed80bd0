package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/urfave/cli/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/daemon/intercept"
	"github.com/footprintai/containarium/pki"
	"github.com/footprintai/containarium/pki/live"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// checkServers checks what calls to the servers need, all of them at once.
func checkServers(c *cli.Context) ([]checkView, error) {
	t, err := targetsOf(c, readTimeout)
	if err != nil {
		return nil, err
	}
	checks := make([][]checkView, len(t.servers))
	turns := make(chan struct{}, serversAtOnce)
	var all sync.WaitGroup
	for i, server := range t.servers {
		all.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			d := &clientDoctor{doctorReport: doctorReport{server: server.Name}, targets: t, to: server, own: version(), now: time.Now}
			checks[i] = d.check(c.Context)
		})
	}
	all.Wait()
	return slices.Concat(checks...), nil
}

// clientDoctor checks what a call to one server needs.
type clientDoctor struct {
	doctorReport
	targets *targets
	to      client.Server
	own     string // the version of this program
	now     func() time.Time
}

// check looks at the files first: with bad ones a call would fail for the same
// reason, and say less.
func (d *clientDoctor) check(ctx context.Context) []checkView {
	d.ok("config", "%s is %s", d.to.Name, d.to.Address)
	if !d.files() {
		return d.checks
	}
	d.call(ctx)
	return d.checks
}

// files looks at the own certificate and at what it is checked against. It reports
// whether a call makes sense.
func (d *clientDoctor) files() bool {
	files, now := d.to.Files(), d.now()
	without := live.Files{Cert: files.Cert, Key: files.Key, CA: files.CA}
	name := "NAME"
	chain, err := live.ReadCertificates(files.Cert)
	if err == nil {
		name = mendName(chain[0])
		err = without.Check(live.Client, now)
	}
	switch {
	case errors.Is(err, live.ErrNotYetValid):
		d.fail("clock", mendOf(err, name), "%s", err)
		return false
	case errors.Is(err, live.ErrOtherCA):
		d.fail("ca", mendOf(err, name), "%s", err)
		return false
	case err != nil && d.badRoots(files.CA):
		return false
	case err != nil:
		mend := mendOf(err, name)
		if mend == "" {
			mend = "on the CA's machine: containarium pki issue " + name + " makes the three files"
		}
		d.fail("certificate", mend, "%s", err)
		return false
	}
	d.found("certificate", checkExpiry(files.Cert, chain[0], now))
	d.roots(files.CA)
	return d.lists(files, name)
}

// badRoots reports whether the fault is that of the file with the roots.
func (d *clientDoctor) badRoots(path string) bool {
	roots, err := live.ReadCertificates(path)
	if err == nil && slices.ContainsFunc(roots, func(root *x509.Certificate) bool { return !root.IsCA }) {
		err = fmt.Errorf("%s has a certificate that is not a CA's", path)
	}
	if err != nil {
		d.fail("ca", mendOf(live.ErrOtherCA, ""), "%s", err)
	}
	return err != nil
}

// rootWarning is how long before its end a root is worth a warning: its successor
// has to reach everybody first.
const rootWarning = 180 * 24 * time.Hour

func (d *clientDoctor) roots(path string) {
	roots, err := live.ReadCertificates(path)
	if err != nil {
		return // said
	}
	last := roots[0]
	for _, root := range roots {
		if root.NotAfter.After(last.NotAfter) {
			last = root
		}
	}
	if d.now().Add(rootWarning).After(last.NotAfter) {
		d.warn("ca", "on the CA's machine: containarium pki rotate --ca start begins with its successor", "%s: the last root expires %s", path, pkiTime(last.NotAfter))
		return
	}
	d.ok("ca", "%s trusts %q until %s", path, last.Subject.CommonName, pkiTime(last.NotAfter))
}

// lists looks at the revocation lists, which a client need not have.
func (d *clientDoctor) lists(files live.Files, name string) bool {
	if _, err := os.Stat(files.CRL); errors.Is(err, fs.ErrNotExist) {
		d.ok("lists", "there is no %s: a server whose certificate was revoked is found out by its expiry", files.CRL)
		return true
	}
	findings := checkLists(files, live.Client, name, d.now())
	d.found("lists", findings...)
	return !slices.ContainsFunc(findings, func(f findingView) bool { return f.Severity == pki.SeverityError })
}

// call asks the server who we are, and for the time.
func (d *clientDoctor) call(ctx context.Context) {
	ctx, cancel := d.targets.call(ctx)
	defer cancel()
	var header metadata.MD
	to, err := client.Dial(d.to, client.WithClock(d.now))
	var answer *pb.WhoAmIResponse
	begun := d.now()
	if err == nil {
		defer to.Close() //nolint:errcheck // the answer is here
		answer, err = to.Auth.WhoAmI(ctx, &pb.WhoAmIRequest{}, grpc.Header(&header))
	}
	d.clock(header, begun, err)
	if err == nil {
		d.ok("reachability", "%s answers in %s", d.to.Address, d.now().Sub(begun).Round(time.Millisecond))
		d.version(to.ServerVersion())
		d.ok("role", "%s is %s, until %s", answer.GetCommonName(), answer.GetRole(), when(answer.GetNotAfter()))
		return
	}
	f := &failure{server: d.to, asked: d.targets.asked, config: d.targets.config, err: err}
	text, mend := hinted(f)
	call, _ := errors.AsType[*client.Error](err)
	switch {
	case serverEarly(f):
		return // said
	case call != nil && call.Answered() && exitCode(context.Background(), err) == exitDenied:
		d.ok("reachability", "%s answers", d.to.Address)
		d.fail("role", mend, "%s", text)
	default:
		d.fail("reachability", mend, "%s", text)
	}
}

// version compares releases; a build of a commit is between two of them.
func (d *clientDoctor) version(theirs string) {
	switch {
	case apart(d.own, theirs):
		d.warn("version", "update the older; only releases that follow on each other are known to work together", "%s runs %s, this program is %s", d.to.Name, theirs, d.own)
	case series(theirs) != "" && series(d.own) != "":
		d.ok("version", "%s runs %s, this program is %s", d.to.Name, theirs, d.own)
	}
}

const (
	// maxSkew is as much as the CA back-dates what it signs: with more a new
	// certificate is not valid yet for who is behind.
	maxSkew = time.Minute
	// smallSkew is more than clocks differ that are kept right.
	smallSkew = 5 * time.Second
)

// clock compares this clock with what the CA signed and with the server's word. The
// latter is a word only: it says that one of two clocks is wrong, not which.
func (d *clientDoctor) clock(header metadata.MD, begun time.Time, err error) {
	const mend = "set the clock: timedatectl set-ntp true, there as well"
	if f := (&failure{err: err}); err != nil && serverEarly(f) {
		d.fail("clock", mend, "%s", serverDates(f))
		return
	}
	for _, f := range checkClock(d.to.Files(), begun) {
		if f.Severity != pki.SeverityOK {
			d.found("clock", f)
			return
		}
	}
	values := header.Get(intercept.TimeHeader)
	if len(values) == 0 {
		return // nobody told it
	}
	theirs, bad := time.Parse(time.RFC3339Nano, values[0])
	if bad != nil {
		return
	}
	// The server looked at its clock between our two looks.
	apart := time.Duration(0)
	if early := begun.Sub(theirs); early > 0 {
		apart = early
	} else if late := theirs.Sub(d.now()); late > 0 {
		apart = late
	}
	switch text := fmt.Sprintf("this clock and that of %s are %s apart", d.to.Name, apart.Round(time.Second)); {
	case apart > maxSkew:
		d.fail("clock", mend, "%s: a new certificate is not valid for who is behind", text)
	case apart > smallSkew:
		d.warn("clock", mend, "%s", text)
	default:
		d.ok("clock", "this clock and that of %s agree", d.to.Name)
	}
}
