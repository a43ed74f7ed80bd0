package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// completeWord is the hidden first argument with which the scripts of completion
// call the program: behind it are the words up to the one to complete, which may
// be empty.
const completeWord = "__complete"

// filesLine stands in place of candidates where a file is wanted.
const filesLine = ":files"

// completing does what the scripts of completion ask for, where this is it.
func completing(ctx context.Context, app *cli.App, t *terminal, args []string) bool {
	switch args[0] {
	case completeWord:
		complete(ctx, app, t, args[1:])
	case refreshWord:
		refresh(ctx, t)
	default:
		return false
	}
	return true
}

// complete prints the words that may stand in place of the last, each with a tab
// and a description where there is one. Whatever goes wrong, it prints nothing
// instead: the user is in the middle of a line.
func complete(ctx context.Context, app *cli.App, t *terminal, words []string) {
	if len(words) == 0 {
		return
	}
	last := len(words) - 1
	l := &completion{permuter: permuter{levels: []level{{name: app.Name, flags: app.Flags}}, commands: app.Commands}, ctx: ctx, self: t.self}
	for _, word := range words[:last] {
		l.take(word)
	}
	candidates := l.candidates(words[last])
	if candidates == nil {
		_, _ = fmt.Fprintln(t.out, filesLine)
		return
	}
	for _, c := range candidates {
		text := c.text
		if c.about != "" {
			text += "\t" + clean(c.about)
		}
		_, _ = fmt.Fprintln(t.out, text)
	}
}

// candidate is a word that may stand there.
type candidate struct{ text, about string }

// completion is a command line up to the word to complete.
type completion struct {
	permuter
	ctx  context.Context
	self string // the terminal's
	// path is the commands on the line; wants is the flag whose value is next.
	path    []string
	command *cli.Command
	wants   cli.Flag
	ended   bool              // behind "--"
	values  map[string]string // of global flags, by name
}

// take goes on by a word, as permute does, but never fails.
func (l *completion) take(word string) {
	switch {
	case l.wants != nil:
		l.note(l.wants, word)
		l.wants = nil
	case l.ended:
		l.operands = append(l.operands, word)
	case word == "--":
		l.ended = true
	case strings.HasPrefix(word, "-") && word != "-":
		name, value, hasValue := strings.Cut(word, "=")
		_, flag := l.find(name)
		switch {
		case flag == nil:
		case hasValue, !takesValue(flag):
			l.note(flag, value)
		default:
			l.wants = flag
		}
	case l.among(word) != nil && len(l.operands) == 0:
		l.command = l.among(word)
		l.path = append(l.path, l.command.Name)
		l.enter(l.command)
	case word == "help" && len(l.commands) > 0 && len(l.operands) == 0:
		// What is behind it is a command all the same.
	default:
		l.operands = append(l.operands, word)
	}
}

func (l *completion) note(flag cli.Flag, value string) {
	if l.values == nil {
		l.values = map[string]string{}
	}
	l.values[flag.Names()[0]] = value
}

// candidates are the words that begin as the given one; nil is a file.
func (l *completion) candidates(word string) []candidate {
	switch {
	case l.wants != nil:
		return begins(l.flagValues(l.wants, word), "", word)
	case !l.ended && strings.HasPrefix(word, "-") && strings.Contains(word, "="):
		name, value, _ := strings.Cut(word, "=")
		if _, flag := l.find(name); flag != nil && takesValue(flag) {
			return begins(l.flagValues(flag, value), name+"=", word)
		}
		return []candidate{}
	case !l.ended && strings.HasPrefix(word, "-"):
		return begins(l.flags(), "", word)
	case len(l.commands) > 0 && len(l.operands) == 0 && !l.ended:
		all := []candidate{}
		for _, c := range l.commands {
			if !c.Hidden {
				all = append(all, candidate{c.Name, c.Usage})
			}
		}
		return begins(all, "", word)
	}
	return begins(l.operand(word), "", word)
}

// begins are those candidates that begin with the word, each behind a prefix.
func begins(all []candidate, prefix, word string) []candidate {
	if all == nil {
		return nil
	}
	found := []candidate{}
	for _, c := range all {
		if c.text = prefix + c.text; strings.HasPrefix(c.text, word) {
			found = append(found, c)
		}
	}
	return found
}

// flags are those that may be given here, by their long names.
func (l *completion) flags() []candidate {
	all := []candidate{}
	for at := len(l.levels) - 1; at >= 0; at-- {
		for _, flag := range l.levels[at].flags {
			about := ""
			if documented, ok := flag.(cli.DocGenerationFlag); ok {
				about = strings.ReplaceAll(documented.GetUsage(), "`", "")
			}
			all = append(all, candidate{"--" + flag.Names()[0], about})
		}
	}
	return append(all, candidate{"--help", "show help"})
}
