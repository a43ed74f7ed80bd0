package main

import (
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/daemon/policy"
	"github.com/footprintai/containarium/pki/identity"
)

func policyShowCommand() *cli.Command {
	return &cli.Command{
		Name:      "show",
		Usage:     "show what each role, or one caller, may do",
		ArgsUsage: " ",
		Description: describe(`Prints a table of actions by roles, or of the one role that a caller has. "some"
means: only on the containers in the last line.`,
			"containarium policy show",
			"containarium policy show --cn ops-laptop --policy ./policy.toml"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "cn", Usage: "only the role of this Common `NAME`"},
			policyFlag(),
		},
		Action: policyShow,
	}
}

// roleView is what one role may do.
type roleView struct {
	Role string `json:"role"`
	// Containers are patterns of user names; absent means every container.
	Containers *[]string `json:"containers,omitempty"`
	// Actions has each action's decision, "allow" or "deny".
	Actions map[string]string `json:"actions"`
}

func policyShow(c *cli.Context) error {
	if _, err := operands(c, 0, 0); err != nil {
		return err
	}
	cn := c.String("cn")
	if c.IsSet("cn") {
		if err := identity.CheckCommonName(cn); err != nil {
			return usagef(c, "--cn: %s", err)
		}
	}
	p, actions, err := loadPolicy(c.String("policy"))
	if err != nil {
		return err
	}
	roles := p.Roles()
	if cn != "" {
		role, ok := p.Role(cn)
		roles = []string{role}
		if !ok {
			roles = nil
			terminalOf(c).warnf("%s gives %q no role: every call will be denied", c.String("policy"), cn)
		}
	}
	views := make([]roleView, 0, len(roles))
	for _, role := range roles {
		views = append(views, viewRole(p, role, actions.Names()))
	}
	return showValue(c, views, func(t *terminal) error {
		if len(views) == 0 {
			return nil
		}
		return t.table(roleRows(views, actions.Names()))
	})
}

func viewRole(p *policy.Policy, role string, actions []string) roleView {
	view := roleView{Role: role, Actions: map[string]string{}}
	if containers := p.Containers(role); containers != nil {
		view.Containers = &containers
	}
	for _, action := range actions {
		view.Actions[action] = p.OfRole(role, action).Verdict()
	}
	return view
}

func roleRows(views []roleView, actions []string) [][]string {
	rows := [][]string{{"ACTION"}}
	for _, v := range views {
		rows[0] = append(rows[0], strings.ToUpper(v.Role))
	}
	for _, action := range actions {
		row := []string{action}
		for _, v := range views {
			verdict := v.Actions[action]
			if verdict == "deny" {
				verdict = "-"
			} else if v.Containers != nil && aboutContainers(action) {
				verdict = "some"
			}
			row = append(row, verdict)
		}
		rows = append(rows, row)
	}
	reach := []string{"containers"}
	for _, v := range views {
		switch {
		case v.Containers == nil:
			reach = append(reach, "all")
		case len(*v.Containers) == 0:
			reach = append(reach, "none")
		default:
			reach = append(reach, strings.Join(*v.Containers, ", "))
		}
	}
	return append(rows, reach)
}

// aboutContainers tells the actions that the containers of a role limit.
func aboutContainers(action string) bool {
	group, _, _ := strings.Cut(action, ".")
	return group == "container" || group == "sshkey" || group == "metrics"
}
