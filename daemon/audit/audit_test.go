package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/footprintai/containarium/daemon/audit"
)

var zeros = strings.Repeat("0", 64)

// start opens a log until the test ends.
func start(t testing.TB, path string) *audit.Log {
	t.Helper()
	l, err := audit.Start(path, "a test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func write(t testing.TB, l *audit.Log, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := l.Write(audit.Record{CN: name, Code: "OK"}); err != nil {
			t.Fatal(err)
		}
	}
}

// memory is a Source of that text.
func memory(name, text string) audit.Source {
	return audit.Source{Name: name, Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }}
}

func files(paths ...string) []audit.Source {
	var sources []audit.Source
	for _, path := range paths {
		sources = append(sources, audit.FileSource(path))
	}
	return sources
}

// verify returns the report of a log that must be whole.
func verify(t testing.TB, sources ...audit.Source) *audit.Report {
	t.Helper()
	r, err := audit.Verify(sources, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// story is each line's event or, of calls, the CN.
func story(t testing.TB, sources ...audit.Source) []string {
	t.Helper()
	var all []string
	_, err := audit.Records(sources, func(r audit.Record, _ []byte) bool {
		if r.Event == audit.EventRPC {
			r.Event = r.CN
		}
		all = append(all, r.Event)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func told(t testing.TB, want []string, sources ...audit.Source) {
	t.Helper()
	if diff := cmp.Diff(want, story(t, sources...)); diff != "" {
		t.Errorf("the log (-want +got):\n%s", diff)
	}
}

func TestConcurrentWritersDoNotForkTheChain(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	l := start(t, path)
	const writers, lines = 64, 100
	var wg sync.WaitGroup
	var rotation sync.Mutex
	rotations := 0
	for i := range writers {
		wg.Go(func() {
			for n := range lines {
				if err := l.Write(audit.Record{CN: "alice"}); err != nil {
					t.Error(err)
				}
				if n%50 != 49 || i%8 != 0 {
					continue
				}
				rotation.Lock()
				rotations++
				if err := os.Rename(path, filepath.Join(dir, "audit.log-"+[]string{"20260101", "20260102"}[rotations/10]+"-"+string(rune('0'+rotations%10)))); err != nil {
					t.Error(err)
				}
				if err := l.Reopen(); err != nil {
					t.Error(err)
				}
				rotation.Unlock()
			}
		})
	}
	wg.Wait()
	rotated, err := audit.Rotated(path)
	if err != nil || len(rotated) != 16 {
		t.Fatalf("%d files (%v), want 16", len(rotated), err)
	}
	r := verify(t, files(append(rotated, path)...)...)
	if want := 1 + writers*lines + 16; r.Lines != want || !r.Whole() || r.Hash != l.Last() || len(r.Torn) > 0 {
		t.Errorf("%+v; want %d lines, up to %s", r, want, l.Last())
	}
	for _, file := range append(rotated, path) {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, want 0600 (%v)", file, info.Mode(), err)
		}
	}
}

func TestTheChainGoesOnAfterARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	for _, name := range []string{"alice", "bob"} {
		l := start(t, path)
		write(t, l, name)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := l.Write(audit.Record{}); !errors.Is(err, os.ErrClosed) {
			t.Errorf("a log that was closed: %v", err)
		}
	}
	told(t, []string{"start", "alice", "start", "bob"}, files(path)...)
	if r := verify(t, files(path)...); r.Lines != 4 || !r.Whole() {
		t.Errorf("%+v", r)
	}
}

// Wherever a crash cuts the last line off, the log goes on behind the last whole
// one and says what it found.
func TestACrashInTheMiddleOfALine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := start(t, path)
	write(t, l, "alice", "bob")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lastLine := bytes.LastIndexByte(whole[:len(whole)-1], '\n') + 1
	for size := lastLine; size <= len(whole); size++ {
		if size > lastLine+2 && size < len(whole)-3 && size%7 != 0 {
			continue // every byte takes long
		}
		if err := os.WriteFile(path, whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		r := verify(t, files(path)...)
		if torn := size > lastLine && size < len(whole)-1; torn != (r.Tail != nil) {
			t.Fatalf("%d of %d bytes of the line: %+v", size-lastLine, len(whole)-lastLine, r)
		}
		l, err := audit.Start(path, "after a crash")
		if err != nil {
			t.Fatal(err)
		}
		write(t, l, "carol")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		want := []string{"start", "alice", "bob", "start", "carol"}
		var places []audit.Place
		switch {
		case size == lastLine:
			want = []string{"start", "alice", "start", "carol"}
		case size < len(whole)-1:
			want = []string{"start", "alice", "torn", "start", "carol"}
			places = []audit.Place{{File: path, Line: 3}}
		}
		told(t, want, files(path)...)
		r = verify(t, files(path)...)
		if diff := cmp.Diff(places, r.Torn); diff != "" || r.Lines != len(want) || r.Tail != nil {
			t.Fatalf("%d of %d bytes of the line: %+v%s", size-lastLine, len(whole)-lastLine, r, diff)
		}
	}
}

// Nothing but the event torn accounts for an unfinished line, and for that alone.
func TestTheEventAccountsForEveryByte(t *testing.T) {
	out := &faulty{room: 1 << 20}
	l := audit.New(out)
	write(t, l, "alice")
	out.room = 100
	_ = l.Write(audit.Record{CN: "robin"}) // there is no room
	out.room = 1 << 20
	write(t, l, "carol")
	lines := strings.SplitAfter(out.String(), "\n")
	if len(lines) != 5 || !strings.Contains(lines[2], `"event":"torn"`) {
		t.Fatalf("%q", lines)
	}
	var event audit.Record
	check(t, json.Unmarshal([]byte(lines[2]), &event))
	if r := verify(t, memory("audit.log", out.String())); len(r.Torn) != 1 || r.Lines != 3 {
		t.Errorf("%+v", r)
	}
	event.Event = audit.EventRPC
	forgery := bytes.NewBufferString("")
	check(t, audit.Continue(forgery, lines[0]).Write(event))
	for name, log := range map[string]string{
		"another text":     lines[0] + strings.Replace(lines[1], "event", "EVENT", 1) + lines[2] + lines[3],
		"a shorter one":    lines[0] + lines[1][1:] + lines[2] + lines[3],
		"one more line":    lines[0] + "hello\n" + lines[1] + lines[2] + lines[3],
		"none":             lines[0] + lines[2][:1] + "\n" + lines[2] + lines[3],
		"another event":    lines[0] + lines[1] + forgery.String(),
		"no event at all":  lines[0] + lines[1] + lines[3],
		"the event is cut": lines[0] + lines[1] + lines[2][:len(lines[2])-9] + "\n" + lines[3],
	} {
		_, err := audit.Verify([]audit.Source{memory("audit.log", log)}, audit.Options{})
		if broken, ok := errors.AsType[*audit.BrokenError](err); !ok || broken.Line != 2 {
			t.Errorf("%s: %v, want audit.log:2", name, err)
		}
	}
}

// Standard output is not ours to close.
func TestStandardOutput(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	f, err := os.Create(path)
	check(t, err)
	was := os.Stdout
	os.Stdout = f
	defer func() { os.Stdout = was }()
	l := start(t, "-")
	write(t, l, "alice")
	check(t, l.Reopen())
	check(t, l.Close())
	_, err = f.WriteString("more\n")
	check(t, err)
	check(t, f.Close())
	told(t, []string{"start", "alice"}, files(path)...)
	if !strings.HasSuffix(read(t, path), "\nmore\n") {
		t.Error(read(t, path))
	}
}

// What a crash can not have made is not taken for the work of one.
func TestARestartHidesNoChange(t *testing.T) {
	for name, change := range map[string]func(string) string{
		"a changed last line": func(s string) string {
			at := strings.LastIndex(s, "bob")
			return s[:at] + "eve" + s[at+3:]
		},
		"a changed last line without its newline": func(s string) string {
			at := strings.LastIndex(s, "bob")
			return strings.TrimSuffix(s[:at]+"eve"+s[at+3:], "\n")
		},
		"a line of something else": func(s string) string { return s + "eve\n" },
		"two":                      func(s string) string { return s + "eve\nwas here" },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.log")
			l := start(t, path)
			write(t, l, "alice", "bob")
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(change(string(data))), 0o600); err != nil {
				t.Fatal(err)
			}
			write(t, start(t, path), "carol")
			_, err = audit.Verify(files(path), audit.Options{})
			if broken, ok := errors.AsType[*audit.BrokenError](err); !ok || broken.Line < 3 || broken.Line > 4 {
				t.Errorf("%v, want the line", err)
			}
		})
	}
}

// faulty takes as many bytes as it has room for.
type faulty struct {
	bytes.Buffer
	room int
}

func (f *faulty) Write(b []byte) (int, error) {
	if len(b) <= f.room {
		f.room -= len(b)
		return f.Buffer.Write(b)
	}
	n, _ := f.Buffer.Write(b[:f.room])
	f.room -= n
	return n, errors.New("no space left on device")
}

// However much of a line a full disk takes, and of the next one, no line is glued
// to it, and the chain holds.
func TestAShortWrite(t *testing.T) {
	var line bytes.Buffer
	write(t, audit.New(&line), "robin")
	size := line.Len()
	for first := range size {
		if first > 2 && first < size-3 && first%7 != 0 {
			continue // every byte takes long
		}
		for _, second := range []int{0, 1, 2, 57, size - 1, size, size + 1, 2 * size, 3 * size} {
			out := &faulty{room: 1 << 20}
			l := audit.New(out)
			write(t, l, "alice")
			out.room = first
			if err := l.Write(audit.Record{CN: "robin", Code: "OK"}); err == nil {
				t.Fatalf("no error with room for %d bytes of %d", first, size)
			}
			out.room = second
			failed := l.Write(audit.Record{CN: "carol", Code: "OK"}) != nil
			out.room = 1 << 20
			write(t, l, "david")
			r := verify(t, memory("audit.log", out.String()))
			got := story(t, memory("audit.log", out.String()))
			if got[0] != "alice" || got[len(got)-1] != "david" || r.Hash != l.Last() || !failed && got[len(got)-2] != "carol" {
				t.Fatalf("room for %d and %d bytes of %d: %v", first, second, size, got)
			}
			// All but the newline is a line: there is nothing to account for.
			if torn := slices.Contains(got, audit.EventTorn); first == 0 && second == 0 && torn ||
				first == size-1 && second < 2 && (torn || got[1] != "robin") || 0 < first && first < size-1 && !torn {
				t.Fatalf("room for %d and %d bytes of %d: %v", first, second, size, got)
			}
		}
	}
}

// liar says nothing of what it did not write.
type liar struct{}

func (liar) Write(b []byte) (int, error) { return len(b) - 1, nil }

func TestALostLineIsAnError(t *testing.T) {
	if err := audit.New(&faulty{}).Write(audit.Record{}); err == nil {
		t.Error("no error from a full disk")
	}
	if err := audit.New(liar{}).Write(audit.Record{}); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("a short write: %v", err)
	}
	l := audit.New(&faulty{room: 1 << 20})
	check(t, l.Close())
	if err := l.Write(audit.Record{}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	if _, err := os.Stat("/dev/full"); err == nil {
		if _, err := audit.Start("/dev/full", ""); err == nil {
			t.Error("started where nothing can be written")
		}
	}
}

func TestWhatIsNotOpened(t *testing.T) {
	for name, c := range map[string]struct {
		make func(t *testing.T, path string)
		want string
	}{
		"no directory":       {func(t *testing.T, path string) { remove(t, filepath.Dir(path)) }, "open audit log"},
		"a directory":        {func(t *testing.T, path string) { check(t, os.Mkdir(path, 0o700)) }, "open audit log"},
		"of another process": {func(t *testing.T, path string) { start(t, path) }, "another process"},
		"others can write it": {func(t *testing.T, path string) {
			check(t, os.WriteFile(path, nil, 0o600))
			check(t, os.Chmod(path, 0o620))
		}, "chmod go-w"},
		"something else": {func(t *testing.T, path string) {
			check(t, os.WriteFile(path, bytes.Repeat([]byte("x\n"), 64<<10), 0o600))
		}, "move it away"},
		"rotated, another pack": {func(t *testing.T, path string) { check(t, os.WriteFile(path+".1.xz", []byte("x"), 0o600)) }, "unpack it first"},
		"rotated, damaged":      {func(t *testing.T, path string) { check(t, os.WriteFile(path+".1.gz", []byte("x"), 0o600)) }, "goes on from there"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log", "audit.log")
			check(t, os.Mkdir(filepath.Dir(path), 0o700))
			c.make(t, path)
			if _, err := audit.Start(path, ""); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, path string) { t.Helper(); check(t, os.Remove(path)) }

// The hash is what contrib/doc/audit.md says it is.
func TestTheFirstLine(t *testing.T) {
	var out bytes.Buffer
	l := audit.New(&out)
	if l.Last() != zeros {
		t.Errorf("last hash %s before the first line", l.Last())
	}
	write(t, l, "alice")
	var r audit.Record
	check(t, json.Unmarshal(out.Bytes(), &r))
	if r.Prev != zeros || r.Hash != l.Last() || r.Event != audit.EventRPC {
		t.Errorf("%+v, last hash %s", r, l.Last())
	}
}
