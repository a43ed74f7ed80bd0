package audit_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/footprintai/containarium/daemon/audit"
)

// sample returns the lines of a log, each with its newline.
func sample(t testing.TB, names ...string) []string {
	t.Helper()
	var out bytes.Buffer
	write(t, audit.New(&out), names...)
	return slices.Collect(strings.SplitAfterSeq(strings.TrimSuffix(out.String(), "\n"), "\n"))
}

// forged returns lines that hold together, as who can compute a hash makes them,
// behind the line given.
func forged(t testing.TB, behind string, names ...string) []string {
	t.Helper()
	out := bytes.NewBufferString(behind)
	l := audit.Continue(out, behind)
	write(t, l, names...)
	return slices.Collect(strings.SplitAfterSeq(strings.TrimSuffix(out.String(), "\n"), "\n"))[1:]
}

func TestVerifyNamesTheFirstFault(t *testing.T) {
	lines := sample(t, "a", "b", "c", "d", "e", "f")
	lines[5] += "\n"
	other := sample(t, "x", "y")
	splice := func(from, to int, with ...string) string {
		for i := range with {
			with[i] = strings.TrimSuffix(with[i], "\n") + "\n"
		}
		return strings.Join(slices.Replace(slices.Clone(lines), from, to, with...), "")
	}
	edited := func(i int) string { return strings.Replace(lines[i], `"code":"OK"`, `"code":"NO"`, 1) }
	for name, c := range map[string]struct {
		log, where, what string
	}{
		"the first changed":              {splice(0, 1, edited(0)), "audit.log:1", "this line was changed"},
		"one changed":                    {splice(2, 3, edited(2)), "audit.log:3", "this line was changed"},
		"the last changed":               {splice(5, 6, edited(5)), "audit.log:6", "this line was changed"},
		"one changed with its hash":      {splice(2, 3, forged(t, lines[1], "z")...), "audit.log:4", "removed, or changed with their hashes"},
		"one removed":                    {splice(2, 3), "audit.log:3", "lines before this one were removed"},
		"some removed":                   {splice(1, 4), "audit.log:2", "lines before this one were removed"},
		"one inserted":                   {splice(2, 2, forged(t, lines[1], "z")...), "audit.log:3", "inserted or moved: what follows audit.log:2 is audit.log:4"},
		"two inserted":                   {splice(2, 2, forged(t, lines[1], "y", "z")...), "audit.log:3", "inserted or moved: what follows audit.log:2 is audit.log:5"},
		"one inserted of another log":    {splice(2, 2, other[1]), "audit.log:3", "inserted or moved: what follows audit.log:2 is audit.log:4"},
		"one inserted with a wrong hash": {splice(2, 2, edited(4)), "audit.log:3", "inserted or moved: what follows audit.log:2 is audit.log:4"},
		"one twice":                      {splice(2, 2, lines[1]), "audit.log:3", "inserted or moved: what follows audit.log:2 is audit.log:4"},
		"two swapped":                    {splice(2, 4, lines[3], lines[2]), "audit.log:3", "inserted or moved: what follows audit.log:2 is audit.log:4"},
		"one moved to the end":           {splice(2, 6, lines[3], lines[4], lines[5], lines[2]), "audit.log:3", "inserted or moved: what follows audit.log:2 is audit.log:6"},
		"text inserted":                  {splice(2, 2, "hello"), "audit.log:3", "inserted or moved: what follows audit.log:2 is audit.log:4"},
		"an empty line inserted":         {splice(2, 2, ""), "audit.log:3", "inserted or moved"},
		"a line made text":               {splice(2, 3, "hello"), "audit.log:3", "no whole line"},
		"text at the end":                {splice(6, 6, "hello"), "audit.log:7", "no whole line"},
		"a long text at the end":         {splice(6, 6, strings.Repeat("x", 200_000)), "audit.log:7", "no whole line"},
		"a line behind a long text":      {splice(2, 3, strings.Repeat("x", 64<<10)+lines[2]), "audit.log:3", "no whole line"},
		"a new log behind it":            {splice(6, 6, other...), "audit.log:7", "lines before this one were removed"},
		"two lines joined":               {splice(2, 4, strings.TrimSuffix(lines[2], "\n")+lines[3]), "audit.log:3", "this line was changed"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := audit.Verify([]audit.Source{memory("audit.log", c.log)}, audit.Options{})
			broken, ok := errors.AsType[*audit.BrokenError](err)
			if !ok || broken.String() != c.where || !strings.Contains(broken.What, c.what) {
				t.Errorf("%v, want %s: %s", err, c.where, c.what)
			}
		})
	}
}

// Whichever byte is another one, the line that it is in, or the one behind it,
// is named.
func TestNoByteChangesUnseen(t *testing.T) {
	lines := sample(t, "a", "b", "c")
	log := strings.Join(lines, "") + "\n"
	line := 1
	for at := range len(log) - 1 {
		for _, with := range []byte{log[at] ^ 1, log[at] ^ 0x20, '\n', 0} {
			if with == log[at] {
				continue
			}
			changed := log[:at] + string(rune(with)) + log[at+1:]
			_, err := audit.Verify([]audit.Source{memory("audit.log", changed)}, audit.Options{})
			if broken, ok := errors.AsType[*audit.BrokenError](err); !ok || broken.Line != line {
				t.Fatalf("byte %d of line %d became %q: %v", at, line, with, err)
			}
		}
		if log[at] == '\n' {
			line++
		}
	}
}

func TestVerifyOverFiles(t *testing.T) {
	lines := sample(t, "a", "b", "c", "d", "e", "f")
	part := func(name string, from, to int) audit.Source {
		return memory(name, strings.TrimSuffix(strings.Join(lines[from:to], ""), "\n")+"\n")
	}
	one, two, three := part("audit.log.2", 0, 2), part("audit.log.1", 2, 4), part("audit.log", 4, 6)
	for name, c := range map[string]struct {
		sources []audit.Source
		want    string
	}{
		"all":             {[]audit.Source{one, two, three}, ""},
		"the newest":      {[]audit.Source{three}, ""},
		"an empty one":    {[]audit.Source{one, memory("empty", ""), two, three}, ""},
		"the wrong order": {[]audit.Source{three, two, one}, "audit.log.1:1: the files are not in order"},
		"one is missing":  {[]audit.Source{one, three}, "audit.log:1: lines before this one were removed"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := audit.Verify(c.sources, audit.Options{})
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	r := verify(t, one, two)
	if r.Lines != 4 || !r.Whole() {
		t.Errorf("%+v", r)
	}
	if later := verify(t, three); later.Whole() || later.Prev != r.Hash {
		t.Errorf("%+v does not follow %s", later, r.Hash)
	}
	if r := verify(t); r.Lines != 0 || r.Hash != zeros {
		t.Errorf("nothing: %+v", r)
	}
	if _, err := audit.Verify(files("no.log"), audit.Options{}); err == nil {
		t.Error("a file that is not there is whole")
	}
}

// What was cut off shows only to who noted a hash.
func TestTheNotedHash(t *testing.T) {
	var out bytes.Buffer
	l := audit.New(&out)
	write(t, l, "a", "b")
	noted := l.Last()
	write(t, l, "c", "d", "e")
	lines := strings.SplitAfter(out.String(), "\n")
	for n, want := range []int{-1, -1, 0, 1, 2, 3} {
		r, err := audit.Verify([]audit.Source{memory("audit.log", strings.Join(lines[:n], ""))}, audit.Options{Last: noted})
		if want < 0 != errors.Is(err, audit.ErrNotFound) || err == nil && r.Since != want {
			t.Errorf("%d lines: %v, %+v", n, err, r)
		}
	}
	r, err := audit.Verify([]audit.Source{memory("audit.log", out.String())}, audit.Options{Last: zeros})
	if !errors.Is(err, audit.ErrNotFound) {
		t.Errorf("the hash of no line: %v, %+v", err, r)
	}
}

// On standard output and in the journal each start begins anew, and nobody else.
func TestRestartsWithoutAFile(t *testing.T) {
	log := ""
	for range 3 {
		var out bytes.Buffer
		l := audit.New(&out)
		check(t, l.Write(audit.Record{Event: audit.EventStart}))
		write(t, l, "a")
		log += out.String()
	}
	_, err := audit.Verify([]audit.Source{memory("log", log)}, audit.Options{})
	if err == nil || !strings.Contains(err.Error(), "log:3: a new chain begins here") {
		t.Errorf("without the option: %v", err)
	}
	r, err := audit.Verify([]audit.Source{memory("log", log)}, audit.Options{Restarts: true})
	if err != nil || r.Chains != 3 || r.Lines != 6 {
		t.Errorf("%+v, %v", r, err)
	}
	log += strings.Join(sample(t, `","event":"start","`), "") + "\n"
	if _, err = audit.Verify([]audit.Source{memory("log", log)}, audit.Options{Restarts: true}); err == nil || !strings.HasPrefix(err.Error(), "log:7: ") {
		t.Errorf("a call that begins anew: %v", err)
	}
}

func TestRecordsSkipsWhatIsNone(t *testing.T) {
	log := strings.Join(sample(t, "a", "b"), "") + "\nhello\n{}\n" + `{"time":"2026-01`
	var got []string
	skipped, err := audit.Records([]audit.Source{memory("log", log)}, func(r audit.Record, line []byte) bool {
		got = append(got, fmt.Sprint(r.CN, bytes.Contains([]byte(log), line)))
		return true
	})
	if err != nil || skipped != 3 || !slices.Equal(got, []string{"atrue", "btrue"}) {
		t.Errorf("%v, %d skipped, %v", got, skipped, err)
	}
	n := 0
	if _, err := audit.Records([]audit.Source{memory("log", log)}, func(audit.Record, []byte) bool { n++; return false }); err != nil || n != 1 {
		t.Errorf("%d records after the end was asked for (%v)", n, err)
	}
}

func FuzzVerify(f *testing.F) {
	log := strings.Join(sample(f, "a", "b"), "") + "\n"
	f.Add(log)
	f.Add(log[:len(log)-40])
	f.Add("\n\n{")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := audit.Verify([]audit.Source{memory("log", log), memory("more", text)}, audit.Options{})
		_, broken := errors.AsType[*audit.BrokenError](err)
		if err != nil && !broken || err == nil && r.Lines == 2 && strings.Contains(text, "\n") {
			t.Errorf("%q: %v, %+v", text, err, r)
		}
	})
}
