package pki

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func entry(name string) Entry {
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	return Entry{Serial: "40" + strings.Repeat("0A", 19), Name: name, Kind: Client, Issued: at, NotBefore: at, NotAfter: at.Add(day), Issuer: "AB", SHA256: "CD"}
}

func mustEncode(t testing.TB, e Entry) []byte {
	t.Helper()
	data, err := line{Op: opIssue, Entry: e}.encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func names(entries []Entry) []string {
	var out []string
	for _, e := range entries {
		out = append(out, e.Name)
	}
	return out
}

// A crash may cut an entry off at any byte. What was on disk before stays, and
// the next entry follows it on a line of its own.
func TestTornTail(t *testing.T) {
	first, second := mustEncode(t, entry("first")), mustEncode(t, entry("second"))
	path := filepath.Join(t.TempDir(), indexFile)
	check := func(what string, data []byte, want ...string) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		entries, err := parseIndex(data)
		if err != nil || !cmp.Equal(names(entries), want) {
			t.Errorf("%s: %q, %v, want %q", what, names(entries), err, want)
		}
		if err := appendIndex(path, line{Op: opIssue, Entry: entry("third")}); err != nil {
			t.Fatal(err)
		}
		after, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		entries, err = parseIndex(after)
		if want = append(want, "third"); err != nil || !cmp.Equal(names(entries), want) {
			t.Errorf("%s: %q, %v after an append, want %q", what, names(entries), err, want)
		}
	}
	check("empty", nil)
	for n := range len(second) - 1 {
		check("cut off", append(bytes.Clone(first), second[:n]...), "first")
	}
	check("no line break", append(bytes.Clone(first), bytes.TrimSuffix(second, []byte("\n"))...), "first", "second")
	check("zeros", append(bytes.Clone(first), make([]byte, 300)...), "first")
	zeros := bytes.Clone(second)
	clear(zeros[20:60])
	check("zeros within", append(bytes.Clone(first), zeros...), "first")
}

// What no crash leaves is damage, and nothing is read around it.
func TestDamagedIndex(t *testing.T) {
	good := string(mustEncode(t, entry("alice")))
	for name, data := range map[string]string{
		"in the middle": good + "x\n" + good,
		"at the end":    good + "x\n",
		"empty line":    good + "\n" + good,
		"newer":         strings.Replace(good, `"op":"issue"`, `"op":"revive"`, 1) + good,
		"no serial":     strings.Replace(good, `"serial"`, `"cereal"`, 1) + good,
	} {
		if entries, err := parseIndex([]byte(data)); err == nil || !strings.Contains(err.Error(), "line ") {
			t.Errorf("%s: %v, %v", name, names(entries), err)
		}
	}
	ca, _ := newCA(t)
	path := filepath.Join(ca.Dir, indexFile)
	if err := os.WriteFile(path, []byte("x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ca.List(); err == nil || !strings.Contains(err.Error(), path+": line 1") {
		t.Errorf("List: %v", err)
	}
}

// The longest request that is let through fits a line.
func TestLongestLine(t *testing.T) {
	ca, _ := newCA(t)
	var sans []string
	for i := range maxNames {
		label := strings.Repeat("a", 61) + string(rune('0'+i/10)) + string(rune('0'+i%10))
		sans = append(sans, strings.Join([]string{label, label, label, label[2:]}, "."))
	}
	issue(t, ca, Request{Name: strings.Repeat("n", 64), Kind: Server, SANs: sans})
	issue(t, ca, Request{Name: "next", Kind: Client})
	entries, err := ca.List()
	if err != nil || len(entries) != 4 || len(entries[2].SANs) != maxNames {
		t.Errorf("%d entries, %v", len(entries), err)
	}
	if err := appendIndex(filepath.Join(ca.Dir, indexFile), line{Op: opIssue, Entry: Entry{Name: strings.Repeat("x", maxLine)}}); err == nil {
		t.Error("a line that is too long was written")
	}
}

// Without an entry in the index nobody gets a certificate.
func TestIndexComesFirst(t *testing.T) {
	ca, _ := newCA(t)
	if err := os.Remove(filepath.Join(ca.Dir, indexFile)); err != nil {
		t.Fatal(err)
	}
	if issued, err := ca.Issue(t.Context(), Request{Name: "alice", Kind: Client}); err == nil || issued.Certificate != nil {
		t.Errorf("Issue without an index: %+v, %v", issued, err)
	}
	if left, err := os.ReadDir(filepath.Join(ca.Dir, issuedDir)); err != nil || len(left) != 0 {
		t.Errorf("issued: %v, %v", left, err)
	}
}

func TestLock(t *testing.T) {
	ca, _ := newCA(t)
	unlock, err := lock(t.Context(), filepath.Join(ca.Dir, lockFile))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := ca.Issue(ctx, Request{Name: "alice", Kind: Client})
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Issue while another holds the lock: %v", err)
	}
	unlock()
	issue(t, ca, Request{Name: "alice", Kind: Client})
}

// A revocation changes the entry that was issued before it; of several the
// earliest counts.
func TestRevocationInJournal(t *testing.T) {
	issued := entry("alice")
	twin := entry("bob") // the same serial by another issuer
	twin.Issuer = "EF"
	revoke := func(after time.Duration, reason Reason, change func(*line)) []byte {
		t.Helper()
		l := revokeLine(issued, issued.Issued.Add(after), reason, "ops@host", issued.Issued)
		if change != nil {
			change(&l)
		}
		data, err := l.encode()
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	data := slices.Concat(mustEncode(t, issued), mustEncode(t, twin), revoke(time.Hour, Superseded, nil), revoke(time.Minute, KeyCompromise, nil), revoke(time.Hour, Unspecified, nil))
	entries, err := parseIndex(data)
	if err != nil {
		t.Fatal(err)
	}
	at := issued.Issued.Add(time.Minute)
	issued.Revoked, issued.Reason, issued.RevokedBy = &at, KeyCompromise, "ops@host"
	if diff := cmp.Diff([]Entry{issued, twin}, entries); diff != "" {
		t.Error(diff)
	}
	if entries[0].RevokedAt(at.Add(-time.Second)) || !entries[0].RevokedAt(at) || entries[1].RevokedAt(at) {
		t.Error("RevokedAt")
	}
	for name, change := range map[string]func(*line){
		"unknown":   func(l *line) { l.Serial = "1" },
		"no time":   func(l *line) { l.Revoked = nil },
		"no issuer": func(l *line) { l.Issuer = "" },
	} {
		if entries, err := parseIndex(slices.Concat(mustEncode(t, entry("alice")), revoke(0, "", change))); err == nil {
			t.Errorf("%s: %+v", name, entries)
		}
	}
}

// A process that has read the journal sees what others add, and a file that was
// put in its place; what it gave out before stays as it was.
func TestCatchUp(t *testing.T) {
	ca, now := newCA(t)
	other, err := Open(ca.Dir)
	if err != nil {
		t.Fatal(err)
	}
	list := func() []Entry {
		t.Helper()
		entries, err := ca.List()
		if err != nil {
			t.Fatal(err)
		}
		return entries
	}
	list()
	alice := issue(t, other, Request{Name: "alice", Kind: Client})
	before := list()
	internal, err := ca.list()
	if err != nil || len(before) != 3 || before[2].Name != "alice" {
		t.Fatalf("%q, %v", names(before), err)
	}
	if _, err := other.Revoke(t.Context(), Revocation{NameOrSerial: "alice"}); err != nil {
		t.Fatal(err)
	}
	if after := list(); after[2].Revoked == nil || before[2].Revoked != nil || internal[2].Revoked != nil {
		t.Errorf("after a revocation: %v, before %v and %v", after[2].Revoked, before[2].Revoked, internal[2].Revoked)
	}
	path := ca.path(indexFile)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(append(bytes.Clone(data), []byte(`{"op":"iss`)...)) // torn
	if got := list(); len(got) != 3 {
		t.Errorf("with a torn line: %q", names(got))
	}
	bob := mustEncode(t, entry("bob"))
	write(append(bytes.Clone(data), bytes.TrimSuffix(bob, []byte("\n"))...)) // an editor
	for range 2 {
		if got := list(); len(got) != 4 || got[3].Name != "bob" || got[2].Revoked == nil {
			t.Errorf("without a line break: %q", names(got))
		}
	}
	issue(t, ca, Request{Name: "carol", Kind: Client})
	if got := list(); len(got) != 5 || got[4].Name != "carol" {
		t.Errorf("after it: %q", names(got))
	}
	write(mustEncode(t, alice.Entry)) // shorter: another journal
	if got := list(); len(got) != 1 {
		t.Errorf("another journal: %q", names(got))
	}
	_ = now
}

func TestBy(t *testing.T) {
	for by, want := range map[string]string{
		"ops@host": "ops@host", "a\nb\x00c\x7f": "abc", "jürgen": "jürgen", "a\xffb": "ab",
		strings.Repeat("ü", 100): strings.Repeat("ü", 64), "x" + strings.Repeat("ü", 100): "x" + strings.Repeat("ü", 63),
	} {
		if got := cleanBy(by); got != want {
			t.Errorf("cleanBy(%q) = %q, want %q", by, got, want)
		}
	}
}

// The fast way reads what is written, and what it reads is what encoding/json
// reads.
func TestScanLine(t *testing.T) {
	full := entry("jump-1")
	full.SANs, full.By, full.Replaces = []string{"jump-1", "10.0.0.1"}, "ops@host", "AB"
	for _, l := range []line{{Op: opIssue, Entry: entry("alice")}, {Op: opIssue, Entry: full}, revokeLine(full, full.NotAfter, Superseded, "ops", full.Issued)} {
		data, err := l.encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := scanLine(bytes.TrimSpace(data)); !ok || !cmp.Equal(got, l) {
			t.Errorf("%v\n%s", ok, cmp.Diff(l, got))
		}
	}
}

func FuzzScanLine(f *testing.F) {
	full := entry("jump-1")
	full.SANs, full.By = []string{"jump-1", "10.0.0.1"}, "jürgen"
	f.Add(mustEncode(f, entry("alice")))
	f.Add(mustEncode(f, full))
	f.Add([]byte(`{"op":"revoke","at":"2030-01-02T03:04:05Z","revoked":"2030-02-30T03:04:05Z"}`))
	f.Add([]byte(`{"op":"a","op":"b","Op":"c","x":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, ok := scanLine(data)
		if !ok {
			return
		}
		var want line
		if err := json.Unmarshal(data, &want); err != nil || !cmp.Equal(got, want) {
			t.Errorf("%v\n%s", err, cmp.Diff(want, got))
		}
	})
}

func FuzzParseIndex(f *testing.F) {
	good := mustEncode(f, entry("alice"))
	f.Add([]byte(nil))
	f.Add(good)
	f.Add(append(bytes.Clone(good), good[:40]...))
	f.Add([]byte("\x00\n\n"))
	at := entry("alice").Issued
	revoked, err := revokeLine(entry("alice"), at, Superseded, "ops", at).encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(bytes.Clone(good), revoked...))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := parseIndex(data)
		if err != nil {
			return
		}
		var again []byte
		for _, e := range entries {
			lines := []line{{Op: opIssue, Entry: e}}
			if e.Revoked != nil {
				lines = append(lines, line{Op: opRevoke, Entry: Entry{Serial: e.Serial, Name: e.Name, Issuer: e.Issuer, Revoked: e.Revoked, Reason: e.Reason, RevokedBy: e.RevokedBy}})
				lines[0].Revoked, lines[0].Reason, lines[0].RevokedBy = nil, "", ""
			}
			for _, l := range lines {
				data, err := l.encode()
				if err != nil {
					return // longer than what we write, or a year that JSON can not say
				}
				again = append(again, data...)
			}
		}
		reread, err := parseIndex(again)
		if err != nil || !cmp.Equal(entries, reread) {
			t.Errorf("%v, %v", cmp.Diff(entries, reread), err)
		}
	})
}
