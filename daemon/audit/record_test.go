package audit

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// FuzzWrite holds a line to be one line of valid JSON, bounded and printable, that
// is what encoding/json makes of the cleaned record and decodes to it.
func FuzzWrite(f *testing.F) {
	for _, seed := range []string{
		"alice", "", "a\nb", "\x1b[2J", "\xff\xfe", "\u202e\u2028\u0085", strings.Repeat("x", 1000), `"}{"`, `\u0000`,
		`","hash":"`, "<script>&amp;", strings.Repeat("é", 64) + "x", strings.Repeat("\x00", 200), "日本語\U0001F600", "\U000E0001",
		"-----BEGIN PRIVATE KEY-----\nMC4CAQAw", "alice" + strings.Repeat("\xc3", 140),
	} {
		f.Add(seed, "tenant", 1.25, int64(1769846400123456789))
	}
	f.Add("a", "b", math.NaN(), int64(0))
	f.Add("a", "b", math.Inf(1), int64(math.MaxInt64))
	f.Add("a", "b", -1e300, int64(math.MinInt64))
	f.Add("a", "b", 5e-7, int64(1))
	f.Fuzz(func(t *testing.T, text, other string, ms float64, at int64) {
		r := Record{
			Time: time.Unix(0, at), Event: other, RequestID: text, CN: text, Role: other, Serial: text, Peer: other, Method: text, Action: other,
			Container: text, Decision: other, Rule: text, Code: other, DurationMS: ms, Reason: text, Prev: text, Hash: other,
		}
		var out bytes.Buffer
		if err := New(&out).Write(r); err != nil {
			t.Fatal(err)
		}
		line, rest, _ := strings.Cut(out.String(), "\n")
		if rest != "" || len(line) > 16<<10 || !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("not one bounded, printable line: %q", out.String())
		}
		if strings.Contains(line, "PRIVATE KEY") {
			t.Errorf("a private key: %s", line)
		}
		var got Record
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatalf("not JSON: %v: %s", err, line)
		}
		want := r
		want.clean()
		want.Prev, want.Hash = sum{}.String(), got.Hash
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the line is not the cleaned record (-want +got):\n%s", diff)
		}
		if again, err := json.Marshal(got); err != nil || string(again) != line {
			t.Errorf("encoding/json writes it as (%v)\n%s\nnot\n%s", err, again, line)
		}
		cleaned := got
		cleaned.clean()
		if diff := cmp.Diff(got, cleaned); diff != "" {
			t.Errorf("cleaned twice (-once +twice):\n%s", diff)
		}
		if _, own, ok := parseLine([]byte(line)); !ok || !intact([]byte(line), own) {
			t.Errorf("not a line of a log: %s", line)
		}
	})
}

func TestEveryTextIsBounded(t *testing.T) {
	for _, text := range []string{strings.Repeat("x", 10_000), strings.Repeat("\xff", 10_000), strings.Repeat("日", 10_000)} {
		r := Record{
			Event: text, RequestID: text, CN: text, Role: text, Serial: text, Peer: text, Method: text, Action: text,
			Container: text, Decision: text, Rule: text, Code: text, Reason: text,
		}
		var out bytes.Buffer
		if err := New(&out).Write(r); err != nil {
			t.Fatal(err)
		}
		if out.Len() > 3<<10 {
			t.Errorf("a line of %d bytes", out.Len())
		}
	}
}

// A clock that is out of its mind is an error, and not half a line.
func TestATimeThatJSONCanNotHold(t *testing.T) {
	var out bytes.Buffer
	if err := New(&out).Write(Record{Time: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)}); err == nil || out.Len() > 0 {
		t.Errorf("error %v, %q", err, out.String())
	}
}

var typical = Record{
	Time: time.Date(2026, 1, 31, 8, 0, 0, 123456789, time.UTC), RequestID: "4BOS2XUHJZ5VZKQ5WAHX6FW5RY", CN: "operator-7", Role: "operator",
	Serial: "0A1B2C3D4E5F60718293A4B5C6D7E8F9", Peer: "192.0.2.7:47110", Method: "/containarium.v1.ContainerService/CreateContainer",
	Action: "container.create", Container: "alice", Decision: "allow", Rule: "roles.operator.allow container.*", Code: "OK", DurationMS: 12.345,
}

func BenchmarkWrite(b *testing.B) {
	l, err := Start(filepath.Join(b.TempDir(), "audit.log"), "benchmark")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	b.ReportAllocs()
	for b.Loop() {
		if err := l.Write(typical); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWriteParallel is BenchmarkWrite from as many calls at once as there
// are processors.
func BenchmarkWriteParallel(b *testing.B) {
	l, err := Start(filepath.Join(b.TempDir(), "audit.log"), "benchmark")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := l.Write(typical); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkLine is BenchmarkWrite without a file: what the daemon itself does.
func BenchmarkLine(b *testing.B) {
	l := New(io.Discard)
	b.ReportAllocs()
	for b.Loop() {
		if err := l.Write(typical); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFile is what the file alone costs, to compare with.
func BenchmarkFile(b *testing.B) {
	f, err := os.OpenFile(filepath.Join(b.TempDir(), "audit.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var line bytes.Buffer
	if err := New(&line).Write(typical); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Write(line.Bytes()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkJSON is what encoding/json alone costs, to compare with.
func BenchmarkJSON(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := json.Marshal(typical); err != nil {
			b.Fatal(err)
		}
	}
}
