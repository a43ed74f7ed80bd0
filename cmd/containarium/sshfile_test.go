package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The part of a file that is ours is replaced, and nothing else of it.
func TestManagedFile(t *testing.T) {
	begin, end := beginMark+", which replaces all up to END\n", endMark+"\n"
	for name, test := range map[string]struct{ file, want string }{
		"empty":           {"", begin + "new\n" + end},
		"foreign":         {"mine\n", "mine\n" + begin + "new\n" + end},
		"no end of line":  {"mine", "mine\n" + begin + "new\n" + end},
		"ours":            {begin + "old\n" + end, begin + "new\n" + end},
		"in the middle":   {"a\n" + begin + "old\n" + end + "b", "a\n" + begin + "new\n" + end + "b"},
		"another wording": {beginMark + " once\nold\n" + end, begin + "new\n" + end},
		"no end":          {"a\n" + begin + "b\n", ""},
		"no begin":        {"a\n" + end, ""},
		"two":             {begin + end + begin + end, ""},
		"nested":          {begin + begin + end + end, ""},
		"turned around":   {end + begin, ""},
		"two begins":      {begin + begin + end, ""},
		"one more begin":  {begin + end + begin, ""},
	} {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte(test.file), 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := readManaged(path)
		if test.want == "" {
			if err == nil || !strings.Contains(err.Error(), "are not one pair") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(test.want, string(m.with("new\n"))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// What is kept of a server is what was written of it, whatever stands between.
func TestKeptBlocks(t *testing.T) {
	host := func(server, user string) *sshHost {
		return &sshHost{server: server, user: user, address: "10.0.0.2", port: "22", hostKey: "ssh-ed25519 AAAA", jump: "jump", jumpPort: "22", jumpKeys: []string{"ssh-rsa BBBB"}}
	}
	all := []*sshHost{host("a", "bob"), host("a", "hop"), host("a.b", "bob"), host("a.b", "carol")}
	first := &sshFile{known: `"/known"`}
	for _, h := range all {
		first.add(h)
	}
	text := first.text()
	for _, line := range []string{"Host a.hop hop\n", "Host a.bob\n", "Host a.b.bob\n", "Host a.b.carol carol\n"} {
		if !strings.Contains(text, line) {
			t.Errorf("no %q in\n%s", line, text)
		}
	}
	again := &sshFile{known: first.known, old: managed{body: text}, oldKnown: managed{body: strings.Join(first.pins, "\n") + "\n"}}
	again.keep("a")
	again.keep("a.b")
	if diff := cmp.Diff(text, again.text()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(first.pins[:2], again.pins[:2]); diff != "" {
		t.Error(diff)
	}
	// With one server gone bob is one again.
	again.blocks, again.pins = nil, nil
	again.keep("a.b")
	if text := again.text(); !strings.Contains(text, "Host a.b.bob bob\n") || strings.Contains(text, "Host a.bob") {
		t.Error(text)
	}
	for _, pin := range again.pins {
		if name, _, _ := strings.Cut(pin, " "); !strings.HasPrefix(name, "a.b") {
			t.Errorf("the pin %q is of a server that is gone", pin)
		}
	}
}

// What could not be read again is not written.
func TestManagedFileIsTooLong(t *testing.T) {
	dir := t.TempDir()
	f, err := newSSHFile(filepath.Join(dir, "config"))
	if err != nil {
		t.Fatal(err)
	}
	f.blocks = []sshBlock{{server: "jump-1", user: "alice", options: strings.Repeat("#", maxManaged)}}
	terminal, _, _ := capture(false)
	if err := f.write(terminal); err == nil || !strings.Contains(err.Error(), "nothing was changed: --server names fewer servers") {
		t.Errorf("%v", err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("%v, %v", files, err)
	}
}
