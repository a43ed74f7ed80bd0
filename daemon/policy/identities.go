package policy

import (
	"cmp"
	"slices"
	"strings"
)

// identity is an entry of [identities] with a star.
type identity struct {
	pattern pattern
	role    *role
}

// identities finds the longest of many patterns that matches a name without
// looking at all of them: only at those that start as the name does.
type identities struct {
	// byPrefix holds the patterns, the longest first, by what stands before their
	// first star.
	byPrefix map[string][]identity
	lengths  []int // of the prefixes there are, each once, sorted
}

func newIdentities(all []identity) identities {
	found := identities{byPrefix: make(map[string][]identity)}
	for _, one := range all {
		prefix, _, _ := strings.Cut(one.pattern.text, "*")
		found.byPrefix[prefix] = append(found.byPrefix[prefix], one)
		found.lengths = append(found.lengths, len(prefix))
	}
	for _, group := range found.byPrefix {
		slices.SortStableFunc(group, func(a, b identity) int { return cmp.Compare(len(b.pattern.text), len(a.pattern.text)) })
	}
	slices.Sort(found.lengths)
	found.lengths = slices.Compact(found.lengths)
	return found
}

// find returns the role of the longest pattern that matches the name, or nil.
// There is but one: Parse refuses patterns of one length that match the same
// name.
func (ids identities) find(name string) *role {
	var best identity
	for _, length := range ids.lengths {
		if length > len(name) {
			break
		}
		for _, one := range ids.byPrefix[name[:length]] {
			if len(one.pattern.text) <= len(best.pattern.text) {
				break
			}
			if one.pattern.matches("", name) {
				best = one
				break
			}
		}
	}
	return best.role
}
