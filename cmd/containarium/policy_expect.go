package main

import (
	"errors"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/daemon/intercept"
	"github.com/footprintai/containarium/daemon/policy"
)

func policyTestCommand() *cli.Command {
	return &cli.Command{
		Name:      "test",
		Usage:     "hold a policy to what is expected of it",
		ArgsUsage: "FILE",
		Description: describe(`FILE has the policy's path and any number of expectations:

  policy = "policy.toml"

  [[expect]]
  cn        = "ci-7"
  action    = "container.delete"
  container = "alice"             # absent: on any container at all
  decision  = "deny"
  role      = "operator"          # looked at where it is given, as is rule

Every one that is not met is named with its line, and the exit status is 1.`,
			"containarium policy test policy.expect.toml"),
		Action: policyTest,
	}
}

func policyTest(c *cli.Context) error {
	args, err := operands(c, 1, 1)
	if err != nil {
		return err
	}
	actions, err := intercept.Actions()
	if err != nil {
		return err
	}
	expectations, err := policy.LoadExpectations(args[0], actions)
	if err != nil {
		return err
	}
	p, err := policy.Load(expectations.Policy, actions)
	if err != nil {
		return err
	}
	if err := errors.Join(expectations.Verify(p)...); err != nil {
		return err
	}
	view := struct {
		Policy string `json:"policy"`
		Met    int    `json:"met"`
	}{expectations.Policy, len(expectations.All)}
	return showValue(c, view, func(t *terminal) error {
		return t.printf("%s meets %s", view.Policy, counted(view.Met, "expectation"))
	})
}
