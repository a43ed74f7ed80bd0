package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// walk calls f with every command that is shown, and its path.
func walk(path []string, commands []*cli.Command, f func(path string, c *cli.Command)) {
	for _, c := range commands {
		below := append(path[:len(path):len(path)], c.Name)
		f(strings.Join(below, " "), c)
		walk(below, c.Subcommands, f)
	}
}

// Every command says what it is for, explains itself and shows how it is typed:
// each example is a command line that the program takes.
func TestEveryCommandHasExamples(t *testing.T) {
	terminal, _, _ := capture(false)
	app := newApp(terminal)
	walk(nil, app.Commands, func(path string, c *cli.Command) {
		text, examples, found := strings.Cut(c.Description, "\n\nExamples:\n")
		if c.Usage == "" || strings.TrimSpace(text) == "" || !found {
			t.Errorf("%s: usage %q, description %q", path, c.Usage, c.Description)
		}
		own := false
		for line := range strings.Lines(examples) {
			_, command, found := strings.Cut(line, "containarium ")
			if !found {
				continue // of another program
			}
			if strings.HasPrefix(command, path) {
				own = true
			}
			command, _, _ = strings.Cut(command, " |")
			command, _, _ = strings.Cut(command, ")")
			command, _, _ = strings.Cut(command, " >")
			if _, err := permute(app, append([]string{"containarium"}, strings.Fields(command)...)); err != nil {
				t.Errorf("%s: the example %q: %v", path, strings.TrimSpace(line), err)
			}
		}
		if !own {
			t.Errorf("%s has no example of itself: %q", path, examples)
		}
	})
}

// The man pages are in order for both programs that show them.
func TestManPages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man")
	if code, _, errs := runLine(t.Context(), false, "man", dir); code != exitFine {
		t.Fatal(errs)
	}
	terminal, _, _ := capture(false)
	walk(nil, newApp(terminal).Commands, func(path string, c *cli.Command) {
		files, _ := filepath.Glob(filepath.Join(dir, "containarium-"+strings.ReplaceAll(path, " ", "-")+".1"))
		if (len(files) == 1) == c.Hidden {
			t.Errorf("%s: %q", path, files)
		}
	})
	files, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil || len(files) < 50 {
		t.Fatalf("%d pages, %v", len(files), err)
	}
	t.Run("groff", func(t *testing.T) {
		needs(t, "groff")
		out, err := exec.CommandContext(t.Context(), "groff", append([]string{"-man", "-Tutf8", "-ww", "-z"}, files...)...).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("mandoc", func(t *testing.T) {
		needs(t, "mandoc")
		out, _ := exec.CommandContext(t.Context(), "mandoc", append([]string{"-Tlint", "-Wwarning"}, files...)...).CombinedOutput()
		for line := range strings.Lines(string(out)) {
			if !strings.Contains(line, "missing date") { // which is meant
				t.Error(line)
			}
		}
	})
}

func TestRoff(t *testing.T) {
	for in, want := range map[string]string{
		"a-b":       `a\-b`,
		`a\b`:       `a\eb`,
		".TH x":     `\&.TH x`,
		"'it":       `\&\(aqit`,
		"~/x `y` ^": `\(ti/x \(gay\(ga \(ha`,
		"…x":        `\[u2026]x`,
		"":          "",
	} {
		if got := roff(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
