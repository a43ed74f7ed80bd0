package main

import (
	"testing"
	"time"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/pki/pkitest"
)

// People are told in the last third of a certificate's time, programs never.
func TestWarnOfExpiry(t *testing.T) {
	ca := pkitest.New(t)
	pair := ca.Client(t, "alice")
	files := pair.WriteFiles(t, t.TempDir(), ca)
	server := client.Server{Name: "jump-1", Cert: files.Cert}
	begin, end := pair.Leaf.NotBefore, pair.Leaf.NotAfter
	at := begin.Add(end.Sub(begin) / 3 * 2)
	for _, test := range []struct {
		now  time.Time
		tty  bool
		want string
	}{
		{at.Add(-time.Second), true, ""},
		{at, true, "containarium: warning: your certificate expires in " + span(end.Sub(at).Round(time.Minute)) + ": containarium pki renew, or on the CA machine containarium pki renew alice\n"},
		{at, false, ""},
		{end.Add(time.Second), true, ""}, // the refusal says so
	} {
		terminal, out, errs := capture(test.tty)
		warnOfExpiry(terminal, server, test.now)
		if errs.String() != test.want || out.Len() > 0 {
			t.Errorf("%s before the end, terminal %t: %q, %q; want %q", end.Sub(test.now), test.tty, errs, out, test.want)
		}
	}
	terminal, _, errs := capture(true)
	if warnOfExpiry(terminal, client.Server{Cert: "/none"}, at); errs.Len() > 0 {
		t.Errorf("without a certificate: %q", errs)
	}
}
