package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/daemon/config/strict"
)

// permute puts arguments into the order that the parser needs: each command's
// flags right behind its name, then the arguments behind "--". The parser stops
// at the first argument that is no flag and takes what follows as it is, so that
// "create alice --cpu 2" would lose the limit without a word.
//
// A flag belongs to the innermost command that declares it, at the place where
// it stands; global flags may stand anywhere. It returns an *usageError for
// every command and flag that is not declared, and for a flag without its value
// or with two.
func permute(app *cli.App, args []string) ([]string, error) {
	p := &permuter{levels: []level{{name: app.Name, flags: app.Flags}}, commands: app.Commands, seen: map[cli.Flag]bool{}}
	for args = args[1:]; len(args) > 0; {
		arg := args[0]
		args = args[1:]
		var err error
		switch {
		case arg == "--":
			p.operands = append(p.operands, args...)
			args = nil
		case strings.HasPrefix(arg, "-") && arg != "-":
			if !p.isFlag(arg) {
				p.byDefault()
			}
			args, err = p.flag(arg, args)
		case (len(p.commands) > 0 || len(p.levels) == 1) && (p.among(arg) != nil || arg == "help" || !p.byDefault()):
			err = p.command(arg)
		default:
			p.operands = append(p.operands, arg)
		}
		if err != nil {
			return nil, err
		}
	}
	return p.result()
}

// level is a command on the way from the program to the one that runs.
type level struct {
	name  string
	flags []cli.Flag // that it declares
	given []string   // that it was given, each with its value
}

type permuter struct {
	levels   []level
	commands []*cli.Command // that may come next
	acts     bool           // the last command does something by itself
	operands []string
	seen     map[cli.Flag]bool
	help     bool
}

// command enters a command. "help" before commands asks for the help of the last
// of them, as --help behind them does.
func (p *permuter) command(name string) error {
	if name == "help" {
		p.help = true
		return nil
	}
	if c := p.among(name); c != nil {
		p.enter(c)
		return nil
	}
	var names []string
	for _, c := range p.commands {
		if !c.Hidden {
			names = append(names, c.Names()...)
		}
	}
	return p.errorf("no command %q%s", name, strict.Suggest(name, names))
}

// among returns the command of that name that may come next, or nil.
func (p *permuter) among(name string) *cli.Command {
	for _, c := range p.commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

func (p *permuter) enter(c *cli.Command) {
	p.levels = append(p.levels, level{name: c.Name, flags: c.Flags})
	p.commands, p.acts = c.Subcommands, c.Action != nil
}

// byDefault enters the command that a group means where none is named, and
// reports whether there is one.
func (p *permuter) byDefault() bool {
	c := p.among(defaultCommands[p.levels[len(p.levels)-1].name])
	if c == nil {
		return false
	}
	p.enter(c)
	return true
}

// defaultCommands are the groups that do something by themselves.
var defaultCommands = map[string]string{"audit": "ls"}

// flag takes a flag, and its value from rest where it stands there. It returns
// what is left of rest.
func (p *permuter) flag(arg string, rest []string) ([]string, error) {
	name, _, hasValue := strings.Cut(arg, "=")
	at, flag := p.find(name)
	switch {
	case name == "--help" || name == "-h":
		p.help = true
		return rest, nil
	case flag == nil:
		return nil, p.errorf("no flag %s%s", name, strict.Suggest(name, p.names()))
	}
	if takesValue(flag) {
		if p.seen[flag] && !repeats(flag) {
			// The parser would drop the first without a word: of two servers one.
			return nil, p.errorf("%s is given twice", name)
		}
		p.seen[flag] = true
		if !hasValue {
			if len(rest) == 0 || p.isFlag(rest[0]) {
				return nil, p.errorf("%s needs a value", name)
			}
			arg += "=" + rest[0]
			rest = rest[1:]
		}
	}
	p.levels[at].given = append(p.levels[at].given, arg)
	return rest, nil
}

// find returns the innermost level that declares the flag, and the flag.
func (p *permuter) find(name string) (int, cli.Flag) {
	for at := len(p.levels) - 1; at >= 0; at-- {
		for _, flag := range p.levels[at].flags {
			if slices.Contains(spellings(flag), name) {
				return at, flag
			}
		}
	}
	return 0, nil
}

// isFlag reports whether what stands where a value should is a flag that was
// meant as one. "-" is standard input, and "-1" is for the daemon to refuse.
func (p *permuter) isFlag(arg string) bool {
	name, _, _ := strings.Cut(arg, "=")
	_, flag := p.find(name)
	return arg == "--" || flag != nil || name == "--help" || name == "-h"
}

func (p *permuter) names() []string {
	var names []string
	for _, level := range p.levels {
		for _, flag := range level.flags {
			names = append(names, spellings(flag)...)
		}
	}
	return names
}

func (p *permuter) result() ([]string, error) {
	var args []string
	for _, level := range p.levels {
		args = append(append(args, level.name), level.given...)
	}
	if p.help {
		return append(args, "--help"), nil
	}
	if len(p.levels) > 1 && p.byDefault() {
		return p.result()
	}
	if len(p.commands) > 0 && len(p.levels) > 1 && !p.acts {
		var names []string
		for _, c := range p.commands {
			if !c.Hidden {
				names = append(names, c.Name)
			}
		}
		return nil, p.errorf("needs a command: %s", strings.Join(names, ", "))
	}
	if len(p.levels) == 1 && len(p.operands) > 0 {
		return nil, p.errorf("no command %q", p.operands[0])
	}
	if len(p.operands) > 0 {
		args = append(append(args, "--"), p.operands...)
	}
	return args, nil
}

func (p *permuter) errorf(format string, args ...any) error {
	var path []string
	for _, level := range p.levels[1:] {
		path = append(path, level.name)
	}
	return &usageError{command: strings.Join(path, " "), message: fmt.Sprintf(format, args...)}
}

// spellings returns how a flag is written: "--output" and "-o".
func spellings(flag cli.Flag) []string {
	names := slices.Clone(flag.Names())
	for i, name := range names {
		names[i] = "--" + name
		if len(name) == 1 {
			names[i] = "-" + name
		}
	}
	return names
}

func takesValue(flag cli.Flag) bool {
	documented, ok := flag.(cli.DocGenerationFlag)
	return !ok || documented.TakesValue()
}

// repeats reports whether a flag may be given more than once.
func repeats(flag cli.Flag) bool {
	slice, ok := flag.(cli.DocGenerationSliceFlag)
	return ok && slice.IsSliceFlag()
}
