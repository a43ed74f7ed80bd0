package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/daemon/config/strict"
	"github.com/footprintai/containarium/daemon/intercept"
	"github.com/footprintai/containarium/daemon/policy"
	"github.com/footprintai/containarium/pki/identity"
)

func policyCommand() *cli.Command {
	return &cli.Command{
		Name:  "policy",
		Usage: "look at a policy: who may do what, and why",
		Description: describe(`Works on a policy file and calls no server, with the engine that the daemon
decides with.`,
			"containarium policy check policy.toml",
			"containarium policy explain --cn ci-7 container.delete alice",
			"containarium policy show --cn ops-laptop",
			"containarium policy test policy.expect.toml"),
		Subcommands: []*cli.Command{policyCheckCommand(), policyExplainCommand(), policyShowCommand(), policyTestCommand()},
	}
}

func policyFlag() cli.Flag {
	return &cli.StringFlag{Name: "policy", EnvVars: []string{"CONTAINARIUM_POLICY"}, Value: defaultPolicy, Usage: "the policy, a TOML `FILE`", TakesFile: true}
}

// loadPolicy reads a policy, and what it may name.
func loadPolicy(path string) (*policy.Policy, policy.Actions, error) {
	actions, err := intercept.Actions()
	if err != nil {
		return nil, nil, err
	}
	p, err := policy.Load(path, actions)
	return p, actions, err
}

func policyCheckCommand() *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "say what is wrong with a policy",
		ArgsUsage: "[FILE]",
		Description: describe(`Reads a policy as the daemon does and names every mistake with its line, or says
that there is none.`,
			"containarium policy check",
			"containarium policy check ./policy.toml"),
		Action: policyCheck,
	}
}

func policyCheck(c *cli.Context) error {
	args, err := operands(c, 0, 1)
	if err != nil {
		return err
	}
	path := defaultPolicy
	if len(args) == 1 {
		path = args[0]
	}
	p, _, err := loadPolicy(path)
	if err != nil {
		return err
	}
	if p.Empty() {
		terminalOf(c).warnf("%s gives nobody a role: every call will be denied", path)
	}
	view := struct {
		Policy string   `json:"policy"`
		Roles  []string `json:"roles"`
	}{path, append([]string{}, p.Roles()...)}
	return showValue(c, view, func(t *terminal) error {
		return t.printf("%s is good: %s", path, counted(len(view.Roles), "role"))
	})
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func policyExplainCommand() *cli.Command {
	return &cli.Command{
		Name:      "explain",
		Usage:     "say whether somebody may do something, and by which rule",
		ArgsUsage: "ACTION [CONTAINER]",
		Description: describe(`Prints the decision and the rule that made it; the first word is allow or deny.
ACTION is an action or an RPC, CONTAINER a user name; without one the question is
whether the action is allowed on any container at all. To hold a policy to its answers, see
containarium policy test.`,
			"containarium policy explain --cn ci-7 container.delete alice",
			"containarium policy explain --cn alice --policy ./policy.toml ContainerService/StopContainer alice"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "cn", Usage: "the caller: the Common `NAME` of the certificate"},
			policyFlag(),
		},
		Action: policyExplain,
	}
}

func policyExplain(c *cli.Context) error {
	args, err := operands(c, 1, 2)
	if err != nil {
		return err
	}
	if !c.IsSet("cn") {
		return usagef(c, "needs --cn, the name of the caller")
	}
	if err := identity.CheckCommonName(c.String("cn")); err != nil {
		return usagef(c, "--cn: %s", err)
	}
	p, actions, err := loadPolicy(c.String("policy"))
	if err != nil {
		return err
	}
	if nearest, ok := actions.Check(args[0]); !ok {
		return usagef(c, "there is no action %q%s", args[0], strict.Suggest(args[0], nearest))
	}
	container := ""
	if len(args) == 2 {
		container = args[1]
	}
	d := p.Decide(c.String("cn"), args[0], container)
	view := struct {
		Decision  string `json:"decision"`
		CN        string `json:"cn"`
		Role      string `json:"role"`
		Action    string `json:"action"`
		Container string `json:"container"`
		Rule      string `json:"rule"`
	}{d.Verdict(), c.String("cn"), d.Role, args[0], container, d.Rule}
	return showValue(c, view, func(t *terminal) error { return t.printf("%s", d) })
}
