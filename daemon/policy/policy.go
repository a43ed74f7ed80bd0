// Package policy decides who may do what: a Common Name has a role, and the
// rules of the role allow or deny an action on a container. It knows neither
// gRPC nor X.509.
package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Policy is a checked policy. It never changes and is safe for concurrent use.
type Policy struct {
	roles    map[string]*role
	exact    map[string]*role
	patterns identities
}

// role holds the verdict of every name that can be asked for: each action and
// each RPC.
type role struct {
	name       string
	verdicts   map[string]verdict
	everywhere bool // no containers key
	containers []pattern
	outside    string // the rule to cite for a container that is not among them
}

// verdict is the first rule that denies and the first that allows; empty where
// there is none.
type verdict struct {
	deny, allow string
}

// Decision is the answer to one question. The zero value denies.
type Decision struct {
	Allow bool
	// Role is the caller's role, empty where the policy gives it none.
	Role string
	// Rule is the rule that decided, as "roles.tenant.deny container.delete"; empty
	// where no rule allows it or the caller has no role.
	Rule string
}

// Verdict is "allow" or "deny".
func (d Decision) Verdict() string {
	if d.Allow {
		return "allow"
	}
	return "deny"
}

// String is the verdict and what it comes from, in words.
func (d Decision) String() string {
	switch {
	case d.Role == "":
		return "deny: no entry of [identities] matches, so there is no role"
	case d.Rule == "":
		return fmt.Sprintf("deny: no rule of the role %s allows it", d.Role)
	}
	return fmt.Sprintf("%s: role %s, by %s", d.Verdict(), d.Role, d.Rule)
}

// Decide says whether the caller with that Common Name may do the action, which
// is an action's name or an RPC's ("ContainerService/CreateContainer"; rules
// that name the RPC or its action both count). The container is the user name
// that the call is about; empty asks whether the action is allowed on any
// container at all, for calls that address a collection and filter it.
//
// It fails closed: an unknown CN, an unknown action and an action without a rule
// are denied, and a deny rule beats every allow rule, on every container.
func (p *Policy) Decide(cn, action, container string) Decision {
	if r := p.find(cn); r != nil {
		return r.decide(cn, action, container)
	}
	return Decision{}
}

func (r *role) decide(cn, action, container string) Decision {
	v := r.verdicts[action] // the zero verdict, which allows nothing, for an unknown action
	switch {
	case v.deny != "":
		return Decision{Role: r.name, Rule: v.deny}
	case v.allow == "":
		return Decision{Role: r.name}
	case container != "" && !r.reaches(cn, container):
		return Decision{Role: r.name, Rule: r.outside}
	}
	return Decision{Allow: true, Role: r.name, Rule: v.allow}
}

// Empty reports whether the policy gives nobody a role, and so denies everything.
func (p *Policy) Empty() bool { return len(p.exact) == 0 && len(p.patterns.byPrefix) == 0 }

// Role returns the role of a Common Name, or false where the policy gives it
// none.
func (p *Policy) Role(cn string) (string, bool) {
	if r := p.find(cn); r != nil {
		return r.name, true
	}
	return "", false
}

// Allowed returns the actions that the Common Name may do on some container,
// sorted, and the user names that they reach, as patterns with the CN filled in;
// nil patterns mean every container.
func (p *Policy) Allowed(cn string) (actions, containers []string) {
	r := p.find(cn)
	if r == nil {
		return nil, nil
	}
	for name := range r.verdicts {
		if !strings.Contains(name, "/") && p.Decide(cn, name, "").Allow {
			actions = append(actions, name)
		}
	}
	slices.Sort(actions)
	if !r.everywhere {
		containers = make([]string, 0, len(r.containers))
		for _, c := range r.containers {
			containers = append(containers, c.fill(cn))
		}
	}
	return actions, containers
}

// find returns the role of the exact entry, else of the longest pattern that
// matches, else nil.
func (p *Policy) find(cn string) *role {
	if cn == "" {
		return nil // no pattern makes a caller of nobody
	}
	if r, ok := p.exact[cn]; ok {
		return r
	}
	return p.patterns.find(cn)
}

func (r *role) reaches(cn, container string) bool {
	if r.everywhere {
		return true
	}
	for i := range r.containers {
		if r.containers[i].matches(cn, container) {
			return true
		}
	}
	return false
}
