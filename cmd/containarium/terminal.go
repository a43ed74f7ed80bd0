package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// terminal is where everything that the commands print goes through: what was
// asked for to standard output, everything else to standard error, and nothing
// of what a server sent without clean.
type terminal struct {
	in       io.Reader
	out, err io.Writer
	// errTTY says that standard error is a terminal: progress is for eyes only.
	errTTY bool
	// window is how many columns and lines standard output has; nil where it is no
	// terminal.
	window func() (columns, lines int, err error)
	// colour and errColour say that standard output and error show colours.
	colour, errColour bool
	// format is that of --output, and headless says that tables have no heading.
	format   string
	headless bool
	// tty opens the terminal to ask on; nil, or errNobody, where nobody watches.
	tty func() (*os.File, error)
	// self is the program as it was called, to be started anew; "" where it is not
	// to be.
	self string
	// skew gathers servers of another release; nil where nobody asks.
	skew *skew
	// busy says that a line of progress stands on the terminal.
	busy bool
}

func standardTerminal() *terminal {
	t := &terminal{in: os.Stdin, out: os.Stdout, err: os.Stderr, tty: openTerminal, self: os.Args[0], skew: newSkew(version())}
	if os.Getenv("TERM") == "dumb" { // it knows no way to go back on a line
		return t
	}
	colour := os.Getenv("NO_COLOR") == "" // https://no-color.org
	t.errTTY = term.IsTerminal(int(os.Stderr.Fd()))
	t.errColour = t.errTTY && colour
	if out := int(os.Stdout.Fd()); term.IsTerminal(out) {
		t.window = func() (int, int, error) { return term.GetSize(out) }
		t.colour = colour
	}
	return t
}

// size is how many columns and lines standard output has; 0 where that is no
// terminal, or one that does not tell.
func (t *terminal) size() (columns, lines int) {
	if t.window == nil {
		return 0, 0
	}
	columns, lines, err := t.window()
	if err != nil {
		return 0, 0
	}
	return columns, lines
}

// What is printed before a text in a colour, and after it.
const (
	greenStyle  = "\x1b[32m"
	redStyle    = "\x1b[31m"
	yellowStyle = "\x1b[33m"
	dimStyle    = "\x1b[2m"
	plainStyle  = "\x1b[0m"
)

// stateStyles are the colours of states, as stateWord writes them.
var stateStyles = map[string]string{"running": greenStyle, "stopped": dimStyle, "error": redStyle, "unreachable": redStyle}

const terminalKey = "terminal"

// terminalOf returns the terminal of the app that runs: newApp gave it one.
func terminalOf(c *cli.Context) *terminal {
	t, _ := c.App.Metadata[terminalKey].(*terminal)
	return t
}

// printf prints a line of what was asked for.
func (t *terminal) printf(format string, args ...any) error {
	t.endProgress()
	_, err := fmt.Fprintf(t.out, "%s\n", clean(fmt.Sprintf(format, args...)))
	return err
}

// write prints text that is safe to print.
func (t *terminal) write(text string) error {
	t.endProgress()
	_, err := io.WriteString(t.out, text)
	return err
}

// notef prints a line about what was done.
func (t *terminal) notef(format string, args ...any) { t.note("", fmt.Sprintf(format, args...)) }

func (t *terminal) note(kind, text string) {
	t.endProgress()
	if kind != "" && t.errColour {
		kind = yellowStyle + kind + plainStyle
	}
	_, _ = fmt.Fprintf(t.err, "containarium: %s%s\n", kind, clean(text))
}

// warnf prints a line about what the user may not expect.
func (t *terminal) warnf(format string, args ...any) {
	t.note("warning: ", fmt.Sprintf(format, args...))
}

// progressf shows what goes on, in place of what went on before. Where nobody
// watches it prints nothing.
func (t *terminal) progressf(format string, args ...any) {
	if t.errTTY {
		_, _ = fmt.Fprintf(t.err, "\r\x1b[K%s", clean(fmt.Sprintf(format, args...)))
		t.busy = true
	}
}

// endProgress takes the progress off the terminal.
func (t *terminal) endProgress() {
	if t.busy {
		_, _ = io.WriteString(t.err, "\r\x1b[K")
		t.busy = false
	}
}

// clean makes a line of text safe to print: control characters, line breaks and
// what turns the direction of writing around are spelt out, so that nothing that
// a server sends can move the cursor or forge a line. So are bytes that are no
// UTF-8: a terminal of 8 bits takes some of them for controls.
func clean(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, unsafe) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch _, n := utf8.DecodeRuneInString(s[i:]); {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unsafe(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func unsafe(r rune) bool {
	if ' ' <= r && r < 0x7f { // nearly all: a long list has millions
		return false
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}
