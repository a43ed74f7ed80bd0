package policy

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/footprintai/containarium/daemon/config/strict"
)

var (
	roleName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)
	// What pki/identity accepts as a Common Name, with "*".
	identityPattern = regexp.MustCompile(`^[A-Za-z0-9._@*-]{1,64}$`)
	// Letters of a user name, with "*" and "{cn}".
	containerPattern = regexp.MustCompile(`^([a-z0-9*-]|\{cn\}){1,64}$`)
)

// maxStars bounds the work of one match.
const maxStars = 4

// Load reads and checks a policy file. It fails closed: a file that others can
// write or that has any mistake is refused whole.
func Load(path string, actions Actions) (*Policy, error) {
	data, err := strict.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	return Parse(path, data, actions)
}

// Parse checks a policy. The name stands for the file in errors. Unknown keys,
// roles and actions, patterns that can not match and patterns of the same length
// that match the same Common Name are errors, each with its line; all of them
// are reported. An empty policy is fine and denies everything.
func Parse(name string, data []byte, actions Actions) (*Policy, error) {
	var file File
	doc, err := strict.Decode(name, data, &file)
	if err != nil {
		return nil, err
	}
	c := &compiler{doc: doc, actions: actions}
	roles := make(map[string]*role, len(file.Roles))
	for _, name := range slices.Sorted(maps.Keys(file.Roles)) {
		roles[name] = c.role(name, file.Roles[name])
	}
	p := c.identities(file.Identities, roles)
	if err := errors.Join(c.errs...); err != nil {
		return nil, err
	}
	return p, nil
}

// compiler collects the mistakes of one file.
type compiler struct {
	doc     *strict.Document
	actions Actions
	errs    []error
}

func (c *compiler) fail(key []string, value, format string, args ...any) {
	c.errs = append(c.errs, c.doc.Errorf(key, value, format, args...))
}

func (c *compiler) role(name string, f RoleFile) *role {
	key := []string{"roles", name}
	if !roleName.MatchString(name) {
		c.fail(key, "", "role %q: a name is a lower-case letter and up to 62 of a-z, 0-9, _ and -", name)
	}
	r := &role{name: name, verdicts: make(map[string]verdict), everywhere: f.Containers == nil}
	for _, m := range c.actions {
		if m.AnyRole {
			r.allow(m.Name, "any role")
			r.allow(m.Action, "any role")
		}
	}
	for _, rule := range f.Allow {
		for _, target := range c.targets(append(key, "allow"), rule) {
			r.allow(target, "roles."+name+".allow "+rule)
		}
	}
	for _, rule := range f.Deny {
		for _, target := range c.targets(append(key, "deny"), rule) {
			v := r.verdicts[target]
			v.deny = cmp.Or(v.deny, "roles."+name+".deny "+rule)
			r.verdicts[target] = v
		}
	}
	if f.Containers != nil {
		r.outside = fmt.Sprintf("roles.%s.containers [%s]", name, strings.Join(*f.Containers, ", "))
		for _, text := range *f.Containers {
			if !containerPattern.MatchString(text) || strings.Count(text, "*") > maxStars {
				c.fail(append(key, "containers"), text, "container pattern %q: write a user name in which * stands for any letters (at most %d of them) and {cn} for the caller's name", text, maxStars)
			}
			r.containers = append(r.containers, newPattern(text))
		}
	}
	return r
}

func (r *role) allow(target, rule string) {
	v := r.verdicts[target]
	v.allow = cmp.Or(v.allow, rule)
	r.verdicts[target] = v
}

// targets returns the actions and RPCs that a rule names. An RPC does not stand
// for its action, since other RPCs may share it.
func (c *compiler) targets(key []string, rule string) []string {
	var targets, known []string
	group, isGroup := strings.CutSuffix(rule, "*")
	isGroup = isGroup && (group == "" || strings.HasSuffix(group, ".") && strings.Count(group, ".") == 1)
	for _, m := range c.actions {
		prefix, _, _ := strings.Cut(m.Action, ".")
		known = append(known, m.Name, m.Action, prefix+".*")
		switch {
		case rule == m.Name:
			targets = append(targets, m.Name)
		case rule == m.Action, isGroup && strings.HasPrefix(m.Action, group):
			targets = append(targets, m.Name, m.Action)
		}
	}
	if len(targets) == 0 && rule != "*" {
		c.fail(key, rule, "unknown action %q%s", rule, strict.Suggest(rule, known))
	}
	return targets
}

func (c *compiler) identities(file map[string]string, roles map[string]*role) *Policy {
	p := &Policy{roles: roles, exact: make(map[string]*role)}
	var patterns []identity
	for _, name := range slices.Sorted(maps.Keys(file)) {
		key := []string{"identities", name}
		r, ok := roles[file[name]]
		if !ok {
			c.fail(key, "", "unknown role %q%s", file[name], strict.Suggest(file[name], slices.Sorted(maps.Keys(roles))))
		}
		switch {
		case !identityPattern.MatchString(name) || strings.Count(name, "*") > maxStars:
			c.fail(key, "", "identity %q can match no Common Name: write 1 to 64 of A-Z, a-z, 0-9, . _ @ - and at most %d *", name, maxStars)
		case !strings.Contains(name, "*"):
			p.exact[name] = r
		default:
			for _, other := range patterns {
				if len(other.pattern.text) == len(name) && overlaps(other.pattern.text, name) {
					c.fail(key, "", "identities %q and %q have the same length and match the same names: which one counts is open; make one longer", other.pattern.text, name)
					break // one tie says enough of a pattern
				}
			}
			patterns = append(patterns, identity{newPattern(name), r})
		}
	}
	p.patterns = newIdentities(patterns)
	return p
}
