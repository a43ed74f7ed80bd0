package intercept_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/footprintai/containarium/daemon/intercept"
	"github.com/footprintai/containarium/daemon/policy"
)

// The policy that is shipped loads, names every action that there is, and gives
// what its comments promise.
func TestShippedPolicy(t *testing.T) {
	const file = "../../contrib/policy/policy.toml"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	actions, err := intercept.Actions()
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Parse(file, data, actions)
	if err != nil {
		t.Fatal(err)
	}

	var known []string
	for _, m := range actions {
		known = append(known, m.Action)
	}
	slices.Sort(known)
	comments := strings.Join(regexp.MustCompile(`(?m)^#.*$`).FindAllString(string(data), -1), "\n")
	named := regexp.MustCompile(`\b[a-z]+\.[a-z]+\b`).FindAllString(comments, -1)
	named = slices.DeleteFunc(named, func(s string) bool { return strings.HasSuffix(s, ".toml") })
	slices.Sort(named)
	if diff := cmp.Diff(slices.Compact(known), slices.Compact(named)); diff != "" {
		t.Errorf("the comments name other actions than there are (-there are +named):\n%s", diff)
	}

	for _, test := range []struct {
		cn, action, container string
		allow                 bool
	}{
		{"admin", "container.delete", "alice", true},
		{"ops-laptop", "ContainerService/DeleteContainer", "alice", true},
		{"admin-2", "reflection.use", "", true},
		{"ci-7", "container.create", "alice", true},
		{"ci-7", "container.delete", "alice", false},
		{"ci-7", "reflection.use", "", false},
		{"alice", "container.read", "alice", true},
		{"alice", "container.read", "bob", false},
		{"alice", "container.create", "alice", false},
		{"alice", "container.delete", "alice", false},
		{"alice", "system.read", "", false},
		{"alice", "auth.whoami", "", true},
		{"alice", "health.read", "", true},
		{"", "auth.whoami", "", false},
	} {
		if d := p.Decide(test.cn, test.action, test.container); d.Allow != test.allow {
			t.Errorf("%q %s %q: %+v, want allow %t", test.cn, test.action, test.container, d, test.allow)
		}
	}
}
