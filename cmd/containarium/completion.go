package main

import (
	_ "embed"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/daemon/config/strict"
)

// The scripts ask the program itself, see complete.
var (
	//go:embed completion/containarium.bash
	bashCompletion string
	//go:embed completion/containarium.zsh
	zshCompletion string
	//go:embed completion/containarium.fish
	fishCompletion string
)

var shells = []string{"bash", "zsh", "fish"}

func completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print the script that completes commands in a shell",
		ArgsUsage: "bash|zsh|fish",
		Description: describe(`Prints a script that completes commands, flags, their values, servers and users. The
users of a server are remembered for a minute in ~/.cache/containarium; after that
they are completed as remembered, and asked for anew behind that.`,
			"source <(containarium completion bash)   # in ~/.bashrc",
			"source <(containarium completion zsh)    # in ~/.zshrc, behind compinit",
			"containarium completion fish > ~/.config/fish/completions/containarium.fish"),
		Action: func(c *cli.Context) error {
			args, err := operands(c, 1, 1)
			if err != nil {
				return err
			}
			scripts := map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}
			script, ok := scripts[args[0]]
			if !ok {
				return usagef(c, "no completion for %q: bash, zsh, fish%s", args[0], strict.Suggest(args[0], shells))
			}
			return terminalOf(c).write(script)
		},
	}
}
