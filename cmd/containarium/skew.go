package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/footprintai/containarium/client"
)

// skew gathers which servers run another release than this program, for one
// warning at the end of a command.
type skew struct {
	own string

	mu      sync.Mutex
	servers map[string][]string // by their version
}

func newSkew(own string) *skew { return &skew{own: own, servers: map[string][]string{}} }

// release is what Go takes for a version of a release; the groups are major and
// minor. Builds of a commit are between two releases, and compared with none.
var release = regexp.MustCompile(`^v(\d{1,9})\.(\d{1,9})\.\d{1,9}$`)

// series is a release's v1.2, or "".
func series(version string) string {
	m := release.FindStringSubmatch(version)
	if m == nil {
		return ""
	}
	return "v" + m[1] + "." + m[2]
}

// apart reports whether two versions are releases of different series.
func apart(own, theirs string) bool {
	a, b := series(own), series(theirs)
	return a != "" && b != "" && a != b
}

// note takes down what a server that was asked said of itself; nil takes nothing
// down.
func (k *skew) note(to *client.Client) {
	if k == nil || to == nil || !apart(k.own, to.ServerVersion()) {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	version, name := to.ServerVersion(), to.Server().Name
	if !slices.Contains(k.servers[version], name) {
		k.servers[version] = append(k.servers[version], name)
	}
}

// warn says on a terminal which servers run another release, each version in a
// line: programs read no warnings, and do without this one since releases that
// follow on each other work together.
func (k *skew) warn(t *terminal) {
	if k == nil || !t.errTTY {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, version := range slices.Sorted(maps.Keys(k.servers)) {
		names := k.servers[version]
		slices.Sort(names)
		who := strings.Join(names, ", ")
		if len(names) > 3 {
			who = fmt.Sprintf("%s and %d more", strings.Join(names[:2], ", "), len(names)-2)
		}
		run := "runs"
		if len(names) > 1 {
			run = "run"
		}
		t.warnf("%s %s %s, this program is %s: update the older; only releases that follow on each other are known to work together", who, run, version, k.own)
	}
}
