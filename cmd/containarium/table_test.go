package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// onWidth has a terminal take a table of that width.
func onWidth(columns int, change func(*terminal), rows [][]string) string {
	t, out, _ := capture(false)
	t.window = func() (int, int, error) { return columns, 24, nil }
	change(t)
	if err := t.table(rows); err != nil {
		return err.Error()
	}
	return out.String()
}

func TestTableFitsTheTerminal(t *testing.T) {
	rows := [][]string{
		{"SERVER", "USER", "STATE", "ADDRESS", "IMAGE", "AGE"},
		{"jump-1", "a-name-of-some-length", "running", "10.0.0.200", "images:debian/12/cloud", "12d"},
		{"jump-1", "bob", "stopped", "", "漢字漢字漢字漢字漢字", "3d"},
	}
	for columns, want := range map[int]string{
		100: `
SERVER  USER                   STATE    ADDRESS     IMAGE                   AGE
jump-1  a-name-of-some-length  running  10.0.0.200  images:debian/12/cloud  12d
jump-1  bob                    stopped  -           漢字漢字漢字漢字漢字    3d
`,
		70: `
SERVER  USER                   STATE    ADDRESS     IMAGE          AGE
jump-1  a-name-of-some-length  running  10.0.0.200  images:debia…  12d
jump-1  bob                    stopped  -           漢字漢字漢字…  3d
`,
		// What is needed to act stays whole, whatever becomes of the rest.
		20: `
SERVER  USER                   STATE    ADDRESS     …  …
jump-1  a-name-of-some-length  running  10.0.0.200  …  …
jump-1  bob                    stopped  -           …  …
`,
	} {
		got := onWidth(columns, func(*terminal) {}, rows)
		if diff := cmp.Diff(want[1:], got); diff != "" {
			t.Errorf("%d columns: %s", columns, diff)
		}
		for line := range strings.Lines(got) {
			if width := cellWidth(strings.TrimSuffix(line, "\n")); columns >= 70 && width > columns {
				t.Errorf("%q takes %d of %d columns", line, width, columns)
			}
		}
	}
	// So does the first column, whatever it is.
	if got := onWidth(10, func(*terminal) {}, [][]string{{"COMMON-NAME", "X"}, {"ops-laptop-1", "bbbbbb"}}); got != "COMMON-NAME   X\nops-laptop-1  …\n" {
		t.Errorf("%s", got)
	}
	whole := onWidth(100, func(*terminal) {}, rows)
	for what, change := range map[string]func(*terminal){
		"wide":        func(t *terminal) { t.format = formatWide },
		"no terminal": func(t *terminal) { t.window = nil },
	} {
		if diff := cmp.Diff(whole, onWidth(20, change, rows)); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
}

func TestTableWithoutHeadings(t *testing.T) {
	rows := [][]string{{"NAME", "A-LONG-HEADING"}, {"a", "b"}, {"c", ""}}
	for format, want := range map[string]string{
		formatTable: "a  b\nc  -\n",
		formatCSV:   "a,b\nc,\n",
	} {
		got := onWidth(80, func(t *terminal) { t.headless, t.format = true, format }, rows)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", format, diff)
		}
		if got := onWidth(80, func(t *terminal) { t.headless, t.format = true, format }, rows[:1]); got != "" {
			t.Errorf("%s: nothing is %q", format, got)
		}
	}
}

// CSV says what is unknown by nothing, and can be read back whatever is in it.
func TestCSV(t *testing.T) {
	rows := [][]string{{"NAME", "WHAT"}, {`a "b", c`, unknown}, {"", "x\ny" + hostile}}
	got := onWidth(10, func(t *terminal) { t.format, t.colour = formatCSV, true }, rows)
	checkSafe(t, "csv", got)
	want := "NAME,WHAT\n\"a \"\"b\"\", c\",\n," + clean("x\ny"+hostile) + "\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	terminal, out, _ := capture(false)
	terminal.format = formatCSV
	if err := terminal.list([][]string{{"user:", "alice"}}); err == nil || out.Len() > 0 {
		t.Errorf("a list has a csv: %v, %q", err, out)
	}
}

func TestColours(t *testing.T) {
	rows := [][]string{{"USER", "STATE", "SEEN"}, {"running", "running", "now"}, {"b", "stopped", "5s ago"}, {"c", "error", "now"}, {"d", "frozen", "now"}}
	got := onWidth(80, func(t *terminal) { t.colour = true }, rows)
	want := "USER     STATE    SEEN\n" +
		"running  \x1b[32mrunning\x1b[0m  now\n" +
		"b        \x1b[2mstopped\x1b[0m  \x1b[33m5s ago\x1b[0m\n" +
		"c        \x1b[31merror\x1b[0m    now\n" +
		"d        frozen   now\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := onWidth(80, func(*terminal) {}, rows); strings.Contains(got, "\x1b") {
		t.Errorf("colours that nobody wants: %q", got)
	}
	terminal, _, errs := capture(true)
	terminal.warnf("%s", "careful")
	terminal.errColour = true
	terminal.warnf("%s", "warning: twice")
	if want := "containarium: warning: careful\ncontainarium: \x1b[33mwarning: \x1b[0mwarning: twice\n"; errs.String() != want {
		t.Errorf("%q, want %q", errs, want)
	}
}

func TestCellWidth(t *testing.T) {
	for text, want := range map[string]int{"": 0, "abc": 3, "ü": 1, "u\u0308": 1, "漢字": 4, "ｗ": 2, "…": 1} {
		if got := cellWidth(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	for columns, want := range map[int]string{6: "漢字ab", 5: "漢字…", 4: "漢…", 3: "漢…", 2: "…", 1: "…"} {
		if got := shorten("漢字ab", columns); got != want {
			t.Errorf("%d columns: %q, want %q", columns, got, want)
		}
	}
}

// The commands that have CSV exist, and every other one refuses it.
func TestTabular(t *testing.T) {
	terminal, _, _ := capture(false)
	app := newApp(terminal)
	for _, path := range tabular {
		commands := app.Commands
		for word := range strings.FieldsSeq(path) {
			found := false
			for _, c := range commands {
				if c.Name == word {
					found, commands = true, c.Subcommands
					break
				}
			}
			if !found {
				t.Errorf("there is no command %q", path)
			}
		}
	}
}

func TestWideTable(t *testing.T) {
	yes, no := true, false
	containers := listed("jump-1", []*pb.Container{
		{Username: "a", DockerEnabled: true, DockerInstalled: &yes, Labels: map[string]string{"x": "1", "y": "2"}, ImageFingerprint: strings.Repeat("f", 64), AutoStart: true, Location: "m2"},
		{Username: "b", DockerEnabled: true, DockerInstalled: &no, Network: &pb.Network{SshHostKeyFingerprint: "SHA256:h", MacAddress: "00:16"}},
		{Username: "c", Name: "c-container"},
	})
	var got [][]string
	for _, row := range containerTable(containers, true, true, containers[0].GetCreatedAt().AsTime()) {
		got = append(got, append([]string{row[0], row[1]}, row[9:]...))
	}
	if diff := cmp.Diff([][]string{
		{"SERVER", "USER", "CONTAINER", "MAC", "DOCKER", "AUTOSTART", "IMAGE-FINGERPRINT", "HOST-KEY", "LABELS", "LOCATION"},
		{"jump-1", "a", "", "", "on", "yes", "ffffffffffff", "", "x=1,y=2", "m2"},
		{"jump-1", "b", "", "00:16", "missing", "no", "", "SHA256:h", "", ""},
		{"jump-1", "c", "c-container", "", "off", "no", "", "", "", ""},
	}, got); diff != "" {
		t.Error(diff)
	}
}

// Colours, and what moves about, are for who has a terminal that knows them and
// wants them.
func TestStandardTerminal(t *testing.T) {
	p := newPTY(t)
	tty, err := p.open()
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close() //nolint:errcheck // the test is over
	none, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer none.Close() //nolint:errcheck // as above
	out, errs := os.Stdout, os.Stderr
	defer func() { os.Stdout, os.Stderr = out, errs }()
	type seen struct{ colour, errColour, errTTY, window bool }
	for name, test := range map[string]struct {
		term, noColour string
		out, errs      *os.File
		want           seen
	}{
		"a terminal":         {"xterm", "", tty, tty, seen{true, true, true, true}},
		"no colour":          {"xterm", "1", tty, tty, seen{false, false, true, true}},
		"a dumb one":         {"dumb", "", tty, tty, seen{}},
		"output into a pipe": {"xterm", "", none, tty, seen{false, true, true, false}},
		"errors into a file": {"xterm", "", tty, none, seen{true, false, false, true}},
	} {
		t.Setenv("TERM", test.term)
		t.Setenv("NO_COLOR", test.noColour)
		os.Stdout, os.Stderr = test.out, test.errs
		s := standardTerminal()
		os.Stdout, os.Stderr = out, errs
		if got := (seen{s.colour, s.errColour, s.errTTY, s.window != nil}); got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}
