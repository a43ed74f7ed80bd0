package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/footprintai/containarium/daemon/daemontest"
)

// A release of another series is named once, on a terminal alone; what is no
// release is compared with none.
func TestSkewIsAWarning(t *testing.T) {
	const update = ": update the older; only releases that follow on each other are known to work together\n"
	for name, test := range map[string]struct {
		own, server string
		tty         bool
		want        string // behind the name of the server
	}{
		"newer server":       {"v1.2.0", "v1.3.1", true, " runs v1.3.1, this program is v1.2.0" + update},
		"older server":       {"v2.0.0", "v1.3.1", true, " runs v1.3.1, this program is v2.0.0" + update},
		"no terminal":        {"v1.2.0", "v1.3.1", false, ""},
		"same series":        {"v1.2.9", "v1.2.0", true, ""},
		"server of a commit": {"v1.2.0", "v1.3.1-0.20261201051500-0123456789ab", true, ""},
		"own is of a commit": {"(devel)", "v1.3.1", true, ""},
		"not a version":      {"v1.2.0", "v1.3", true, ""},
		"too long":           {"v1.2.0", "v1.3." + strings.Repeat("1", 100), true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := daemontest.StartWith(t, daemontest.Options{Version: test.server})
			useAs(t, d, "admin")
			for _, command := range []string{"ls", "whoami", "ls --server " + d.Address + "," + strings.Replace(d.Address, "127.0.0.1", "localhost", 1)} {
				terminal, _, errs := capture(test.tty)
				terminal.skew = newSkew(test.own)
				if code := run(t.Context(), terminal, append([]string{"containarium"}, strings.Fields(command)...)); code != exitFine {
					t.Fatalf("%s: exit code %d: %s", command, code, errs)
				}
				want := ""
				if test.want != "" {
					want = "containarium: warning: " + d.Address + test.want
				}
				if strings.Contains(command, ",") {
					want = strings.Replace(strings.Replace(want, d.Address, d.Address+", "+strings.Replace(d.Address, "127.0.0.1", "localhost", 1), 1), " runs ", " run ", 1)
				}
				got := strings.Join(regexp.MustCompile(`containarium: warning: .*\n`).FindAllString(errs.String(), -1), "")
				if got != want {
					t.Errorf("%s: %q, want %q", command, got, want)
				}
			}
		})
	}
}
