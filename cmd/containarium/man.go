package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/urfave/cli/v2"
)

func manCommand() *cli.Command {
	return &cli.Command{
		Name:        "man",
		Usage:       "write the man pages, for packages",
		ArgsUsage:   "DIR",
		Hidden:      true,
		Description: describe("Writes a man page for each command into a directory, which it makes.", "containarium man /usr/local/share/man/man1"),
		Action: func(c *cli.Context) error {
			args, err := operands(c, 1, 1)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(args[0], 0o755); err != nil { //nolint:gosec // for everybody to read
				return err
			}
			pages := manPages(c.App)
			for name, page := range pages {
				if err := os.WriteFile(filepath.Join(args[0], name+".1"), []byte(page), 0o644); err != nil { //nolint:gosec // likewise
					return err
				}
			}
			terminalOf(c).notef("%d man pages are in %s", len(pages), args[0])
			return nil
		},
	}
}

// manPages makes a page for the program and each of its commands, by name.
func manPages(app *cli.App) map[string]string {
	top := &cli.Command{Name: app.Name, Usage: app.Usage, Description: app.Description, Subcommands: app.Commands, Flags: app.VisibleFlags()}
	pages := map[string]string{}
	addPages(pages, nil, top)
	return pages
}

func addPages(pages map[string]string, above []string, c *cli.Command) {
	path := append(above[:len(above):len(above)], c.Name)
	pages[strings.Join(path, "-")] = manPage(path, c)
	for _, sub := range c.Subcommands {
		if !sub.Hidden {
			addPages(pages, path, sub)
		}
	}
}

// manPage is a page in the man macros of roff, see man(7). It has no date, so that
// the same commands give the same bytes.
func manPage(path []string, c *cli.Command) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	name := strings.Join(path, "-")
	line(`.TH %s 1 "" Containarium "User Commands"`, roff(strings.ToUpper(name)))
	line(".SH NAME")
	line(`%s \- %s`, roff(name), roff(c.Usage))
	line(".SH SYNOPSIS")
	switch usage := strings.TrimSpace(c.ArgsUsage); {
	case len(c.Subcommands) > 0:
		line(`\fB%s\fP \fIcommand\fP [\fIoption\fP...] [\fIargument\fP...]`, roff(strings.Join(path, " ")))
	case usage == "":
		line(`\fB%s\fP [\fIoption\fP...]`, roff(strings.Join(path, " ")))
	default:
		line(`\fB%s\fP [\fIoption\fP...] %s`, roff(strings.Join(path, " ")), roff(usage))
	}
	text, examples, _ := strings.Cut(c.Description, "Examples:\n")
	line(".SH DESCRIPTION")
	paragraphs(&b, text)
	var commands, flags []string
	for _, sub := range c.Subcommands {
		if !sub.Hidden {
			commands = append(commands, fmt.Sprintf(".TP\n\\fB%s\\fP\n%s", roff(strings.Join(sub.Names(), ", ")), roff(sub.Usage)))
		}
	}
	for _, flag := range c.Flags {
		flags = append(flags, manFlag(flag))
	}
	for _, section := range []struct {
		title string
		lines []string
	}{{"COMMANDS", commands}, {"OPTIONS", flags}} {
		if len(section.lines) > 0 {
			line(".SH %s\n%s", section.title, strings.Join(section.lines, "\n"))
		}
	}
	if len(path) > 1 && len(c.Subcommands) == 0 {
		line(".PP\nThe options of %s may stand here as well.", `\fBcontainarium\fP(1)`)
	}
	line(".SH EXAMPLES")
	preformatted(&b, examples)
	line(".SH SEE ALSO")
	line("%s", seeAlso(path, c))
	return b.String()
}

// manFlag is an option and what it means.
func manFlag(flag cli.Flag) string {
	documented, ok := flag.(cli.DocGenerationFlag)
	if !ok {
		return ""
	}
	before, rest, _ := strings.Cut(documented.GetUsage(), "`")
	value, after, quoted := strings.Cut(rest, "`")
	usage := before + value + after
	if !quoted {
		value = "VALUE"
	}
	var names []string
	for _, name := range spellings(flag) {
		if documented.TakesValue() {
			names = append(names, fmt.Sprintf(`\fB%s\fP \fI%s\fP`, roff(name), roff(value)))
		} else {
			names = append(names, fmt.Sprintf(`\fB%s\fP`, roff(name)))
		}
	}
	if standard := documented.GetDefaultText(); standard != "" && documented.TakesValue() && standard != `""` {
		usage += " (default: " + strings.Trim(standard, `"`) + ")"
	}
	if variables := documented.GetEnvVars(); len(variables) > 0 {
		usage += "; environment: " + strings.Join(variables, ", ")
	}
	return fmt.Sprintf(".TP\n%s\n%s", strings.Join(names, ", "), roff(usage))
}

// paragraphs fills text, but keeps lines that are indented as they are.
func paragraphs(b *strings.Builder, text string) {
	for n, paragraph := range strings.Split(strings.TrimSpace(text), "\n\n") {
		switch {
		case strings.HasPrefix(paragraph, "  "):
			b.WriteString(".PP\n")
			preformatted(b, paragraph)
			continue
		case n > 0:
			b.WriteString(".PP\n")
		}
		for line := range strings.SplitSeq(paragraph, "\n") {
			b.WriteString(roff(line) + "\n")
		}
	}
}

func preformatted(b *strings.Builder, text string) {
	b.WriteString(".RS 4\n.nf\n")
	for line := range strings.SplitSeq(strings.Trim(text, "\n"), "\n") {
		b.WriteString(roff(strings.TrimPrefix(line, "  ")) + "\n")
	}
	b.WriteString(".fi\n.RE\n")
}

// seeAlso are the pages around a page.
func seeAlso(path []string, c *cli.Command) string {
	var names []string
	if len(path) > 1 {
		names = append(names, strings.Join(path[:len(path)-1], "-"))
	}
	for _, sub := range c.Subcommands {
		if !sub.Hidden {
			names = append(names, strings.Join(append(path[:len(path):len(path)], sub.Name), "-"))
		}
	}
	for i, name := range names {
		names[i] = fmt.Sprintf(`\fB%s\fP(1)`, roff(name))
	}
	return strings.Join(names, ", ")
}

// roff makes text that roff takes as it is: a backslash is an escape, a dash a
// hyphen, a dot or a quote at the beginning of a line a request, and not every roff
// reads UTF-8.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "~", `\(ti`, "^", `\(ha`, "`", `\(ga`, "'", `\(aq`, `"`, `\(dq`).Replace(text)
	if strings.ContainsFunc(text, func(r rune) bool { return r > unicode.MaxASCII }) {
		var b strings.Builder
		for _, r := range text {
			if r > unicode.MaxASCII {
				fmt.Fprintf(&b, `\[u%04X]`, r)
			} else {
				b.WriteRune(r)
			}
		}
		text = b.String()
	}
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, `\(aq`) {
		text = `\&` + text
	}
	return text
}
