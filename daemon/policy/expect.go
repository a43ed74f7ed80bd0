package policy

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/footprintai/containarium/daemon/config/strict"
)

// Expectations are what somebody wants of a policy, written beside it, so that a
// change which breaks one of them is seen before it is in force.
type Expectations struct {
	// Policy is the path of the policy, absolute or as seen from here.
	Policy string
	All    []Expectation
}

// Expectation is one question and the answer that is wanted.
type Expectation struct {
	CN     string `toml:"cn"`
	Action string `toml:"action"`
	// Container is a user name; empty asks about any at all.
	Container string `toml:"container"`
	// Decision is "allow" or "deny".
	Decision string `toml:"decision"`
	// Role and Rule are looked at where they are given.
	Role *string `toml:"role"`
	Rule *string `toml:"rule"`
	// at is where it stands, FILE:LINE.
	at string
}

type expectFile struct {
	Policy string        `toml:"policy"`
	Expect []Expectation `toml:"expect"`
}

// LoadExpectations reads a file of expectations and fails closed: an unknown key
// or action, a name that no certificate can have and a file that expects nothing
// are errors.
func LoadExpectations(path string, actions Actions) (*Expectations, error) {
	data, err := strict.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read expectations: %w", err)
	}
	var file expectFile
	doc, err := strict.Decode(path, data, &file)
	if err != nil {
		return nil, err
	}
	var errs []error
	if file.Policy == "" {
		errs = append(errs, doc.Errorf([]string{"policy"}, "", `policy must name the policy's file, as policy = "policy.toml"`))
	}
	if len(file.Expect) == 0 {
		errs = append(errs, fmt.Errorf("%s: expects nothing: write [[expect]] tables", path))
	}
	for i := range file.Expect {
		e := &file.Expect[i]
		e.at = doc.Element("expect", i)
		if err := e.check(actions); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", e.at, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if !filepath.IsAbs(file.Policy) {
		file.Policy = filepath.Join(filepath.Dir(path), file.Policy)
	}
	return &Expectations{Policy: file.Policy, All: file.Expect}, nil
}

func (e *Expectation) check(actions Actions) error {
	if !identityPattern.MatchString(e.CN) || strings.Contains(e.CN, "*") {
		return fmt.Errorf("cn %q is no Common Name: write 1 to 64 of A-Z, a-z, 0-9 and . _ @ -", e.CN)
	}
	if nearest, ok := actions.Check(e.Action); !ok {
		return fmt.Errorf("unknown action %q%s", e.Action, strict.Suggest(e.Action, nearest))
	}
	if e.Decision != "allow" && e.Decision != "deny" {
		return fmt.Errorf(`decision must be "allow" or "deny"`)
	}
	return nil
}

// Verify asks the policy and returns an error, with the place in the file, for
// each answer that is not the wanted one.
func (x *Expectations) Verify(p *Policy) []error {
	var errs []error
	for _, e := range x.All {
		got := p.Decide(e.CN, e.Action, e.Container)
		switch {
		case got.Verdict() != e.Decision, e.Role != nil && got.Role != *e.Role, e.Rule != nil && got.Rule != *e.Rule:
			question := e.CN + " " + e.Action
			if e.Container != "" {
				question += " " + e.Container
			}
			errs = append(errs, fmt.Errorf("%s: %s: expected %s, got %s", e.at, question, e.wanted(), got))
		}
	}
	return errs
}

func (e *Expectation) wanted() string {
	text := e.Decision
	if e.Role != nil {
		text += fmt.Sprintf(" with role %q", *e.Role)
	}
	if e.Rule != nil {
		text += fmt.Sprintf(" by rule %q", *e.Rule)
	}
	return text
}
