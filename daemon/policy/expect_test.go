package policy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/footprintai/containarium/daemon/intercept"
	"github.com/footprintai/containarium/daemon/policy"
)

// TestShippedPolicy holds the policy that is shipped to what is shipped beside it.
func TestShippedPolicy(t *testing.T) {
	actions, err := intercept.Actions()
	if err != nil {
		t.Fatal(err)
	}
	// A copy: a checkout may give the group more than a policy may.
	dir := t.TempDir()
	for _, name := range []string{"policy.toml", "policy.expect.toml"} {
		data, err := os.ReadFile(filepath.Join("../../contrib/policy", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	x, err := policy.LoadExpectations(filepath.Join(dir, "policy.expect.toml"), actions)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Load(x.Policy, actions)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range x.Verify(p) {
		t.Error(err)
	}
	if len(x.All) < 5 {
		t.Errorf("%d expectations say little about a policy", len(x.All))
	}
}

func TestExpectationsAreChecked(t *testing.T) {
	actions := policy.Actions{{Name: "S/Read", Action: "container.read"}}
	for name, test := range map[string]struct{ data, want string }{
		"nothing":   {"policy = 'p.toml'\n", "expects nothing"},
		"no policy": {"[[expect]]\ncn = 'a'\naction = 'S/Read'\ndecision = 'deny'\n", "policy must name"},
		"decision":  {"policy = 'p.toml'\n[[expect]]\ncn = 'a'\naction = 'S/Read'\n", `:2: decision must be`},
		"cn":        {"policy = 'p.toml'\n[[expect]]\ncn = '*'\naction = 'S/Read'\ndecision = 'deny'\n", `:2: cn "*" is no Common Name`},
		"action":    {"policy = 'p.toml'\n\n[[expect]]\ncn = 'a'\naction = 'S/Raed'\ndecision = 'deny'\n", `:3: unknown action "S/Raed"; did you mean "S/Read"?`},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "expect.toml")
			if err := os.WriteFile(path, []byte(test.data), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := policy.LoadExpectations(path, actions)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %s", err, test.want)
			}
		})
	}
}

func TestOverview(t *testing.T) {
	actions := policy.Actions{{Name: "S/Read", Action: "container.read"}, {Name: "S/Get", Action: "container.read"}, {Name: "S/Stop", Action: "container.stop"}}
	p, err := policy.Parse("p.toml", []byte("[roles.b]\nallow = ['container.read']\ncontainers = ['{cn}', 'x-*']\n[roles.a]\n"), actions)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(p.Roles(), " "); got != "a b" {
		t.Errorf("roles %s", got)
	}
	if got := strings.Join(actions.Names(), " "); got != "container.read container.stop" {
		t.Errorf("actions %s", got)
	}
	if !p.OfRole("b", "container.read").Allow || p.OfRole("b", "container.stop").Allow || p.OfRole("a", "container.read").Allow || p.OfRole("c", "container.read").Allow {
		t.Error("a role's decision is another")
	}
	if got := strings.Join(p.Containers("b"), " "); got != "{cn} x-*" || p.Containers("a") != nil {
		t.Errorf("containers %s and %v", got, p.Containers("a"))
	}
}
