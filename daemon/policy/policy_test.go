package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/footprintai/containarium/daemon/policy"
)

// actions stands for what a daemon serves: two RPCs that share an action, two
// groups, and one RPC for which a role suffices.
var actions = policy.Actions{
	{Name: "ContainerService/CreateContainer", Action: "container.create"},
	{Name: "ContainerService/CreateContainerStream", Action: "container.create"},
	{Name: "ContainerService/GetContainer", Action: "container.read"},
	{Name: "ContainerService/ListContainers", Action: "container.read"},
	{Name: "ContainerService/DeleteContainer", Action: "container.delete"},
	{Name: "ContainerService/AddSSHKey", Action: "sshkey.add"},
	{Name: "ContainerService/RemoveSSHKey", Action: "sshkey.remove"},
	{Name: "AuthService/WhoAmI", Action: "auth.whoami", AnyRole: true},
}

func parse(t testing.TB, data string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse("policy.toml", []byte(data), actions)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

type question struct{ cn, action, container string }

// decide checks answers, written "allow" or "deny" and the rule.
func decide(t *testing.T, p *policy.Policy, answers map[question]string) {
	t.Helper()
	for q, want := range answers {
		d := p.Decide(q.cn, q.action, q.container)
		got := "deny " + d.Rule
		if d.Allow {
			got = "allow " + d.Rule
		}
		if got := strings.TrimSpace(got); got != want {
			t.Errorf("Decide(%q, %q, %q): %s, want %s", q.cn, q.action, q.container, got, want)
		}
	}
}

func TestUnknownIsDenied(t *testing.T) {
	for name, data := range map[string]string{
		"empty":             "",
		"roles alone":       "[roles.r]\nallow = ['*']\n",
		"identities of one": "[roles.r]\nallow = ['*']\n[identities]\nalice = 'r'\n",
	} {
		p := parse(t, data)
		for _, cn := range []string{"", "bob", "alice2", "Alice", "*", "{cn}"} {
			for _, action := range []string{"container.read", "ContainerService/GetContainer", "AuthService/WhoAmI", "auth.whoami", "", "*"} {
				if d := p.Decide(cn, action, ""); d != (policy.Decision{}) {
					t.Errorf("%s: Decide(%q, %q) = %+v, want the zero value", name, cn, action, d)
				}
			}
			if role, ok := p.Role(cn); ok || role != "" {
				t.Errorf("%s: Role(%q) = %q", name, cn, role)
			}
			if actions, containers := p.Allowed(cn); actions != nil || containers != nil {
				t.Errorf("%s: Allowed(%q) = %q, %q", name, cn, actions, containers)
			}
		}
		if got, want := p.Empty(), name != "identities of one"; got != want {
			t.Errorf("%s: Empty() = %v, want %v", name, got, want)
		}
	}
}

// No pattern makes a caller of somebody without a name.
func TestEmptyNameHasNoRole(t *testing.T) {
	p := parse(t, "[roles.r]\nallow = ['*']\n[identities]\n'*' = 'r'\n")
	if p.Empty() {
		t.Error("a policy with a pattern is empty")
	}
	decide(t, p, map[question]string{
		{"", "container.read", ""}:  "deny",
		{"x", "container.read", ""}: "allow roles.r.allow *",
	})
}

func TestUnknownActionIsDenied(t *testing.T) {
	p := parse(t, "[roles.r]\nallow = ['*']\n[identities]\nalice = 'r'\n")
	for _, action := range []string{"", "*", "container.*", "container.readall", "container", "ContainerService/Get", "/containarium.v1.ContainerService/GetContainer", "Container.read"} {
		if d := p.Decide("alice", action, ""); d != (policy.Decision{Role: "r"}) {
			t.Errorf("Decide(%q) = %+v, want a denial without rule", action, d)
		}
	}
}

func TestRules(t *testing.T) {
	p := parse(t, `
		[roles.all]
		allow = ["*"]
		[roles.group]
		allow = ["container.*"]
		[roles.action]
		allow = ["container.create"]
		[roles.rpc]
		allow = ["ContainerService/CreateContainer"]
		[roles.nothing]
		[roles.silent]
		deny = ["auth.whoami"]
		[roles.deaf]
		allow = ["*"]
		deny = ["*"]
		[identities]
		all = "all"
		group = "group"
		action = "action"
		rpc = "rpc"
		nothing = "nothing"
		silent = "silent"
		deaf = "deaf"
	`)
	decide(t, p, map[question]string{
		{"all", "container.delete", "x"}:                          "allow roles.all.allow *",
		{"all", "ContainerService/AddSSHKey", "x"}:                "allow roles.all.allow *",
		{"group", "container.delete", "x"}:                        "allow roles.group.allow container.*",
		{"group", "ContainerService/DeleteContainer", "x"}:        "allow roles.group.allow container.*",
		{"group", "sshkey.add", "x"}:                              "deny",
		{"action", "container.create", "x"}:                       "allow roles.action.allow container.create",
		{"action", "ContainerService/CreateContainer", "x"}:       "allow roles.action.allow container.create",
		{"action", "ContainerService/CreateContainerStream", "x"}: "allow roles.action.allow container.create",
		{"action", "container.read", "x"}:                         "deny",
		{"rpc", "ContainerService/CreateContainer", "x"}:          "allow roles.rpc.allow ContainerService/CreateContainer",
		{"rpc", "ContainerService/CreateContainerStream", "x"}:    "deny", // it shares the action, which the rule does not name
		{"rpc", "container.create", "x"}:                          "deny",
		{"nothing", "auth.whoami", ""}:                            "allow any role",
		{"nothing", "AuthService/WhoAmI", ""}:                     "allow any role",
		{"nothing", "container.read", ""}:                         "deny",
		{"silent", "auth.whoami", ""}:                             "deny roles.silent.deny auth.whoami",
		{"silent", "AuthService/WhoAmI", ""}:                      "deny roles.silent.deny auth.whoami",
		{"deaf", "AuthService/WhoAmI", ""}:                        "deny roles.deaf.deny *",
		{"deaf", "container.read", "x"}:                           "deny roles.deaf.deny *",
	})
}

func TestDenyBeatsAllow(t *testing.T) {
	for _, allow := range []string{"*", "container.*", "container.create", "ContainerService/CreateContainer"} {
		for _, deny := range []string{"*", "container.*", "container.create", "ContainerService/CreateContainer"} {
			p := parse(t, fmt.Sprintf("[roles.r]\nallow = [%q]\ndeny = ['sshkey.add', %q]\ncontainers = ['{cn}']\n[identities]\nalice = 'r'\n", allow, deny))
			for _, container := range []string{"", "alice", "bob"} { // on every container, whatever the role reaches
				decide(t, p, map[question]string{{"alice", "ContainerService/CreateContainer", container}: "deny roles.r.deny " + deny})
			}
			// A denied RPC leaves its action to the others that have it.
			want := "deny roles.r.deny " + deny
			if deny == "ContainerService/CreateContainer" {
				if want = "allow roles.r.allow " + allow; allow == deny {
					want = "deny"
				}
			}
			decide(t, p, map[question]string{{"alice", "ContainerService/CreateContainerStream", "alice"}: want})
		}
	}
}

func TestContainers(t *testing.T) {
	p := parse(t, `
		[roles.own]
		allow = ["container.read"]
		containers = ["{cn}"]
		[roles.several]
		allow = ["container.read"]
		containers = ["{cn}-*", "shared", "a*z"]
		[roles.none]
		allow = ["*"]
		containers = []
		[identities]
		alice = "own"
		bob = "several"
		carol = "none"
		"@" = "several"
		"*" = "own"
	`)
	const own, several = "deny roles.own.containers [{cn}]", "deny roles.several.containers [{cn}-*, shared, a*z]"
	const mayOwn, maySeveral = "allow roles.own.allow container.read", "allow roles.several.allow container.read"
	decide(t, p, map[question]string{
		{"alice", "container.read", "alice"}:     mayOwn,
		{"alice", "container.read", ""}:          mayOwn, // a collection, to be filtered
		{"alice", "container.read", "bob"}:       own,
		{"alice", "container.read", "alice2"}:    own,
		{"alice", "container.read", "alic"}:      own,
		{"alice", "container.read", "xalice"}:    own,
		{"alice", "container.read", "ALICE"}:     own,
		{"alice", "container.read", "{cn}"}:      own,
		{"alice", "container.delete", "alice"}:   "deny",
		{"dave", "container.read", "dave"}:       mayOwn,
		{"dave", "container.read", "alice"}:      own,
		{"*", "container.read", "alice"}:         own, // a star in a name is a letter
		{"{cn}", "container.read", "alice"}:      own,
		{"bob", "container.read", "bob-1"}:       maySeveral,
		{"bob", "container.read", "bob-"}:        maySeveral,
		{"bob", "container.read", "bob"}:         several,
		{"bob", "container.read", "shared"}:      maySeveral,
		{"bob", "container.read", "az"}:          maySeveral,
		{"bob", "container.read", "abcz"}:        maySeveral,
		{"bob", "container.read", "abc"}:         several,
		{"bob", "container.read", "alice-1"}:     several,
		{"carol", "container.read", ""}:          "allow roles.none.allow *",
		{"carol", "container.read", "carol"}:     "deny roles.none.containers []",
		{"carol", "AuthService/WhoAmI", ""}:      "allow any role",
		{"carol", "container.delete", "another"}: "deny roles.none.containers []",
	})
}

func TestIdentities(t *testing.T) {
	p := parse(t, `
		[roles.exact]
		[roles.long]
		[roles.middle]
		[roles.short]
		[roles.suffix]
		[roles.rest]
		[identities]
		"ci-prod-1"  = "exact"
		"ci-prod-*"  = "long"
		"ci-*"       = "middle"
		"c*"         = "short"
		"*.bots.org" = "suffix"
		"*"          = "rest"
	`)
	for cn, want := range map[string]string{
		"ci-prod-1":      "exact",
		"ci-prod-12":     "long",
		"ci-prod-":       "long",
		"ci-prod":        "middle",
		"ci-":            "middle",
		"ci":             "short",
		"c":              "short",
		"C":              "rest",
		"x-ci-prod-1":    "rest",
		"a.bots.org":     "suffix",
		"c.bots.org":     "suffix", // longer than c*
		"ci-.bots.org":   "suffix", // longer than ci-*
		"ci-prod-1.bots": "long",
		"bots.org":       "rest",
	} {
		if got, _ := p.Role(cn); got != want {
			t.Errorf("Role(%q) = %q, want %q", cn, got, want)
		}
		if d := p.Decide(cn, "auth.whoami", ""); d.Role != want {
			t.Errorf("Decide(%q).Role = %q, want %q", cn, d.Role, want)
		}
	}
}

func TestAllowed(t *testing.T) {
	p := parse(t, `
		[roles.r]
		allow = ["container.*", "ContainerService/AddSSHKey"]
		deny = ["container.delete"]
		[roles.own]
		allow = ["container.read"]
		containers = ["{cn}", "{cn}-*", "x*"]
		[roles.nowhere]
		containers = []
		[identities]
		r = "r"
		own = "own"
		nowhere = "nowhere"
	`)
	for cn, want := range map[string][2][]string{
		"r":       {{"auth.whoami", "container.create", "container.read"}, nil},
		"own":     {{"auth.whoami", "container.read"}, {"own", "own-*", "x*"}},
		"nowhere": {{"auth.whoami"}, {}},
	} {
		actions, containers := p.Allowed(cn)
		if diff := cmp.Diff(want, [2][]string{actions, containers}); diff != "" {
			t.Errorf("Allowed(%q) (-want +got):\n%s", cn, diff)
		}
	}
}

// BenchmarkDecide decides among 1,000 identities and 100 roles.
func BenchmarkDecide(b *testing.B) {
	var data strings.Builder
	for i := range 100 {
		fmt.Fprintf(&data, "[roles.role-%d]\nallow = ['container.*']\ndeny = ['container.delete']\ncontainers = ['team-%d-*', '{cn}']\n", i, i)
	}
	data.WriteString("[identities]\n'*' = 'role-0'\n")
	for i := range 500 {
		fmt.Fprintf(&data, "'user-%d' = 'role-%d'\n'team-%03d-*' = 'role-%d'\n", i, i%100, i, i%100)
	}
	p := parse(b, data.String())
	for name, q := range map[string]question{
		"exact":   {"user-499", "ContainerService/GetContainer", "user-499"},
		"pattern": {"team-499-laptop", "ContainerService/GetContainer", "team-99-web"},
		"rest":    {"a-name-that-no-other-pattern-matches-and-that-is-64-letters-long", "ContainerService/GetContainer", "team-0-web"},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !p.Decide(q.cn, q.action, q.container).Allow {
					b.Fatal("denied")
				}
			}
		})
	}
}
