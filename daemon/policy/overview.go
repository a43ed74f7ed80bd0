package policy

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// Roles returns the names of the roles that somebody can have or not, sorted.
func (p *Policy) Roles() []string { return slices.Sorted(maps.Keys(p.roles)) }

// OfRole is Decide for whoever has the role, about some container at all: whether
// the role allows the action anywhere, and by which rule.
func (p *Policy) OfRole(name, action string) Decision {
	r, ok := p.roles[name]
	if !ok {
		return Decision{}
	}
	return r.decide("", action, "")
}

// Containers returns the patterns of user names that a role reaches, as written;
// nil means every container.
func (p *Policy) Containers(role string) []string {
	r, ok := p.roles[role]
	if !ok || r.everywhere {
		return nil
	}
	patterns := make([]string, 0, len(r.containers))
	for _, c := range r.containers {
		patterns = append(patterns, c.text)
	}
	return patterns
}

// Names returns the names of the actions, sorted, each once.
func (a Actions) Names() []string {
	var names []string
	for _, m := range a {
		names = append(names, m.Action)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Check reports whether a policy could name the action or RPC, and if it could
// not, the nearest that it could.
func (a Actions) Check(name string) (nearest []string, ok bool) {
	for _, m := range a {
		if name == m.Name || name == m.Action {
			return nil, true
		}
		nearest = append(nearest, m.Action)
		if strings.Contains(name, "/") {
			nearest = append(nearest, m.Name)
		}
	}
	slices.SortFunc(nearest, cmp.Compare[string])
	return slices.Compact(nearest), false
}
