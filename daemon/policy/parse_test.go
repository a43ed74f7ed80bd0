package policy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/footprintai/containarium/daemon/policy"
)

func TestParseErrors(t *testing.T) {
	const roles = "[roles.admin]\nallow = ['*']\n[roles.tenant]\n[identities]\n" // four lines
	for name, test := range map[string]struct{ data, want string }{
		"syntax":                   {"[roles.admin]\nallow = \n", "policy.toml:2:"},
		"type of a list":           {"[roles.admin]\nallow = 'x'\n", "policy.toml:2:"},
		"type of a role":           {"[identities]\nalice = 1\n", "policy.toml:2:"},
		"the same identity":        {roles + "alice = 'admin'\nalice = 'tenant'\n", "policy.toml:6:"},
		"the same role":            {roles + "[roles.admin]\n", "policy.toml:5:"},
		"unknown table":            {"[role.admin]\n", `policy.toml:1:1: unknown key "role"; did you mean "roles"?`},
		"unknown key":              {"[roles.admin]\n\nalow = []\n", `policy.toml:3:1: unknown key "roles.admin.alow"; did you mean "allow"?`},
		"key in capitals":          {"[roles.admin]\nDeny = ['*']\n", `policy.toml:2:1: unknown key "roles.admin.Deny"; did you mean "deny"?`},
		"unknown action":           {"[roles.admin]\nallow = [\n 'container.read',\n 'container.raed',\n]\n", `policy.toml:4:2: unknown action "container.raed"; did you mean "container.read"?`},
		"unknown action denied":    {"[roles.admin]\nallow = ['*']\ndeny = ['container.delte']\n", `policy.toml:3:9: unknown action "container.delte"; did you mean "container.delete"?`},
		"unknown group":            {"[roles.admin]\nallow = ['contaner.*']\n", `policy.toml:2:10: unknown action "contaner.*"; did you mean "container.*"?`},
		"unknown RPC":              {"[roles.admin]\nallow = ['ContainerService/DeletContainer']\n", `policy.toml:2:10: unknown action "ContainerService/DeletContainer"; did you mean "ContainerService/DeleteContainer"?`},
		"service with star":        {"[roles.admin]\nallow = ['ContainerService/*']\n", `policy.toml:2:10: unknown action "ContainerService/*"`},
		"part of an action":        {"[roles.admin]\nallow = ['container.re*']\n", `policy.toml:2:10: unknown action "container.re*"`},
		"group without dot":        {"[roles.admin]\nallow = ['container*']\n", `policy.toml:2:10: unknown action "container*"`},
		"two stars":                {"[roles.admin]\nallow = ['**']\n", `policy.toml:2:10: unknown action "**"`},
		"empty rule":               {"[roles.admin]\nallow = ['']\n", `policy.toml:2:1: unknown action ""`},
		"role name":                {"[roles.Admin]\n", `policy.toml:1:1: role "Admin": `},
		"empty role name":          {"[roles.\"\"]\n", `policy.toml:1:1: role "": `},
		"unknown role":             {roles + "# c\nalice = 'admn'\n", `policy.toml:6:1: unknown role "admn"; did you mean "admin"?`},
		"empty role":               {roles + "alice = ''\n", `policy.toml:5:1: unknown role ""`},
		"letters of an identity":   {roles + "'al ice' = 'admin'\n", `policy.toml:5:1: identity "al ice" can match no Common Name`},
		"placeholder for identity": {roles + "'{cn}' = 'admin'\n", `policy.toml:5:1: identity "{cn}" can match no Common Name`},
		"empty identity":           {roles + "'' = 'admin'\n", `policy.toml:5:1: identity "" can match no Common Name`},
		"long identity":            {roles + strings.Repeat("a", 65) + " = 'admin'\n", `policy.toml:5:1: identity "aaa`},
		"many stars":               {roles + "'a*b*c*d*e*' = 'admin'\n", `policy.toml:5:1: identity "a*b*c*d*e*"`},
		"tie":                      {roles + "'ci-*' = 'admin'\n'*-ci' = 'tenant'\n", `policy.toml:5:1: identities "*-ci" and "ci-*" have the same length`},
		"tie in one role":          {roles + "'a*' = 'admin'\n'*a' = 'admin'\n", `policy.toml:5:1: identities "*a" and "a*" have the same length`},
		"capital container":        {"[roles.admin]\ncontainers = ['ok', 'Alice']\n", `policy.toml:2:21: container pattern "Alice"`},
		"other placeholder":        {"[roles.admin]\ncontainers = ['{CN}']\n", `policy.toml:2:15: container pattern "{CN}"`},
		"empty container":          {"[roles.admin]\ncontainers = ['']\n", `policy.toml:2:1: container pattern ""`},
		"container of many stars":  {"[roles.admin]\ncontainers = ['*a*b*c*d*']\n", `policy.toml:2:15: container pattern "*a*b*c*d*"`},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := policy.Parse("policy.toml", []byte(test.data), actions)
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("error %v, want %s", err, test.want)
			}
			if p != nil {
				t.Error("a policy beside an error")
			}
		})
	}
}

func TestParseReportsEveryMistake(t *testing.T) {
	_, err := policy.Parse("p", []byte("[roles.a]\nallow = ['x.y']\ndeny = ['z.z']\n[identities]\nalice = 'b'\n"), actions)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"p:2:", "p:3:", "p:5:"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no mention of %s: %v", want, err)
		}
	}
}

// One wrong name may make a thousand mistakes; they are found in no time.
func TestParseReportsAThousandMistakes(t *testing.T) {
	data := "[roles.admin]\n[identities]\n"
	for i := range 1000 {
		data += fmt.Sprintf("user-%d = 'admn'\n", i)
	}
	_, err := policy.Parse("p", []byte(data), actions)
	if err == nil || strings.Count(err.Error(), "did you mean") != 1000 || !strings.Contains(err.Error(), "p:1002:1: ") {
		t.Errorf("not every mistake is named: %v", err)
	}
}

// A pattern that ties with a hundred others is named once.
func TestParseReportsATieOnce(t *testing.T) {
	data := "[roles.admin]\n[identities]\n"
	for i := range 100 {
		data += fmt.Sprintf("'*-%d*' = 'admin'\n", 100+i)
	}
	_, err := policy.Parse("p", []byte(data), actions)
	if err == nil || strings.Count(err.Error(), "have the same length") != 99 {
		t.Errorf("%v, want one error for each pattern but the first", err)
	}
}

// Patterns of one length that share no name are fine, and so are an exact name
// and a pattern of its length.
func TestNoTie(t *testing.T) {
	p := parse(t, "[roles.a]\n[roles.b]\n[identities]\n'a*' = 'a'\n'b*' = 'b'\n'aa' = 'b'\n")
	for cn, want := range map[string]string{"ax": "a", "bx": "b", "aa": "b"} {
		if got, _ := p.Role(cn); got != want {
			t.Errorf("Role(%q) = %q, want %q", cn, got, want)
		}
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.toml")
	if err := os.WriteFile(path, []byte("[roles.r]\nallow = ['*']\n[identities]\nalice = 'r'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, ok := range map[os.FileMode]bool{0o600: true, 0o640: true, 0o644: true, 0o660: false, 0o664: false, 0o602: false, 0o666: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		p, err := policy.Load(path, actions)
		switch {
		case ok && (err != nil || !p.Decide("alice", "container.read", "x").Allow):
			t.Errorf("mode %04o: %v, want a policy", mode, err)
		case !ok && (p != nil || err == nil || !strings.Contains(err.Error(), "chmod go-w "+path)):
			t.Errorf("mode %04o: %v, want a refusal that says what to do", mode, err)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.toml")
	if err := os.WriteFile(broken, []byte("\n[rolls.r]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		broken:                       broken + ":2:1: ",
		dir:                          "not a regular file",
		filepath.Join(dir, "absent"): "no such file",
	} {
		if p, err := policy.Load(path, actions); p != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Load(%s) = %v, %v, want %s", path, p, err, want)
		}
	}
}

func TestLoadRefusesAnothersFile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: a file that is given to somebody else, which root alone can do: sudo make test")
	}
	path := filepath.Join(t.TempDir(), "policy.toml")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if _, err := policy.Load(path, actions); err == nil || !strings.Contains(err.Error(), "belongs to another user") {
		t.Errorf("Load = %v, want a refusal", err)
	}
	if err := os.Chown(path, 0, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := policy.Load(path, actions); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	shipped, err := os.ReadFile("../../contrib/policy/policy.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(shipped, "alice", "alice")
	f.Add([]byte("[roles.r]\nallow = ['*']\n[identities]\n'a*b*' = 'r'\n'*' = 'r'\n"), "a", "")
	f.Add([]byte("[roles.r]\nallow = ['container.*']\ndeny = ['ContainerService/GetContainer']\ncontainers = ['{cn}*', '*']\n[identities]\nx = 'r'\n"), "x", "xy")
	f.Add([]byte("roles.a.allow = ['x'\n]\nidentities.'*' = 'b'"), "*", "*")
	f.Add([]byte("[roles]\nr = {containers = []}\n[identities]\n'a@b.c' = 'r'"), "a@b.c", "a")
	f.Fuzz(func(t *testing.T, data []byte, cn, container string) {
		p, err := policy.Parse("p", data, actions)
		if (p == nil) != (err != nil) {
			t.Fatalf("policy %v with error %v", p, err)
		}
		if err != nil {
			return
		}
		role, known := p.Role(cn)
		for _, action := range append(actions, policy.Method{Name: "Other/Method", Action: "other.action"}) {
			for _, name := range []string{action.Name, action.Action} {
				d := p.Decide(cn, name, container)
				switch {
				case d.Role != role, known != (role != ""):
					t.Errorf("Decide(%q, %q) has role %q, Role %q", cn, name, d.Role, role)
				case d.Allow && (role == "" || d.Rule == "" || action.Action == "other.action"):
					t.Errorf("Decide(%q, %q, %q) = %+v", cn, name, container, d)
				case d.Allow && !p.Decide(cn, name, "").Allow:
					t.Errorf("%q may %s on %q and on no container", cn, name, container)
				case d.Allow && strings.Contains(d.Rule, ".deny "):
					t.Errorf("allowed by %s", d.Rule)
				}
			}
		}
	})
}
