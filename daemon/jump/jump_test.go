package jump

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
)

func newPrivate(t testing.TB) (ed25519.PrivateKey, ssh.Signer) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return private, signer
}

// newKey makes a key pair and its line of a .pub file.
func newKey(t testing.TB) (ssh.Signer, string) {
	t.Helper()
	_, signer := newPrivate(t)
	return signer, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
}

func TestKeyLines(t *testing.T) {
	const one = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE5oSTTGXvqUnBNT4kvZkbHPlbYBrGYgo6dP1cHVxWfK alice@laptop"
	const two = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGp4r0pDNXdHhYPYSOm4SoKvCsM+vD1uEy4hlpWp6fLz"
	for name, test := range map[string]struct {
		keys    []string
		address string
		port    int
		want    string
	}{
		"none": {nil, "10.1.2.3", 22, ""},
		"IPv4": {[]string{one, two}, "10.1.2.3", 22,
			`restrict,port-forwarding,permitopen="10.1.2.3:22",permitlisten="localhost:1",command="/usr/sbin/nologin" ` + one + "\n" +
				`restrict,port-forwarding,permitopen="10.1.2.3:22",permitlisten="localhost:1",command="/usr/sbin/nologin" ` + two + "\n"},
		"IPv6": {[]string{two}, "fd42::1", 2222,
			`restrict,port-forwarding,permitopen="[fd42::1]:2222",permitlisten="localhost:1",command="/usr/sbin/nologin" ` + two + "\n"},
	} {
		got, err := keyLines(test.keys, test.address, test.port)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestKeyLinesRefuse(t *testing.T) {
	_, key := newKey(t)
	for name, test := range map[string]struct{ key, address string }{
		"no address":      {key, ""},
		"any address":     {key, "0.0.0.0"},
		"any address, 6":  {key, "::"},
		"name":            {key, "localhost"},
		"pattern":         {key, "*"},
		"two addresses":   {key, "10.0.0.1,10.0.0.2"},
		"quote":           {key, `10.0.0.1",permitopen="10.0.0.2`},
		"quote in a zone": {key, `fe80::1%",permitopen="10.0.0.2`},
		"address, port":   {key, "10.0.0.1:22"},
		"options":         {`permitopen="*:*" ` + key, "10.0.0.1"},
		"two lines":       {key + "\n" + key, "10.0.0.1"},
		"no key":          {"", "10.0.0.1"},
	} {
		lines, err := keyLines([]string{key, test.key}, test.address, 22)
		if err == nil || lines != "" {
			t.Errorf("%s: %q, %v, want a refusal", name, lines, err)
		}
	}
}

func TestParseEntry(t *testing.T) {
	got, err := parseEntry("alice:x:1001:995:containarium jump account:/home/alice:/usr/sbin/nologin\n")
	if err != nil {
		t.Fatal(err)
	}
	want := entry{name: "alice", uid: 1001, gid: "995", gecos: comment, home: "/home/alice"}
	if *got != want {
		t.Errorf("%+v, want %+v", *got, want)
	}
	for _, line := range []string{
		"", "\n", "+", "+::::::", "+@admins::::::", "-mallory::::::", "alice:x:1001", "alice:x:1001:995:a:b:/home/alice:/bin/sh",
		"alice:x::995::/home/alice:/bin/sh", "alice:x:-1:995::/home/alice:/bin/sh", "alice:x:4294967296:995::/home/alice:/bin/sh",
	} {
		if got, err := parseEntry(line); err == nil {
			t.Errorf("%q: %+v, want an error", line, got)
		}
	}
}

// An account is ours only if all the marks say so.
func TestOurs(t *testing.T) {
	a := &Accounts{Group: "g", Home: "/home"}
	ours := entry{name: "alice", uid: 1001, gid: "995", gecos: comment, home: "/home/alice"}
	if !a.ours(&ours, "995") {
		t.Error("our own account is not ours")
	}
	for name, change := range map[string]func(*entry){
		"root":          func(e *entry) { e.uid = 0 },
		"another group": func(e *entry) { e.gid = "100" },
		"no comment":    func(e *entry) { e.gecos = "" },
		"more comment":  func(e *entry) { e.gecos += ",,," },
		"another home":  func(e *entry) { e.home = "/srv/alice" },
		"another's":     func(e *entry) { e.home = "/home/bob" },
	} {
		e := ours
		change(&e)
		if a.ours(&e, "995") {
			t.Errorf("%s: ours", name)
		}
	}
	if ours.gid = ""; a.ours(&ours, "") {
		t.Error("ours in a group that is not there")
	}
}

// getent takes a number for an id, and a path is made of the name: neither may
// reach it.
func TestOddNames(t *testing.T) {
	home := t.TempDir()
	a := &Accounts{Group: "containarium-jumptest", Home: home}
	// Without tools: if one gets through, the host does not suffer for it.
	defer func(real tools) { shadow = real }(shadow)
	shadow.dir = t.TempDir()
	kept := filepath.Join(home, "kept")
	if err := os.Mkdir(kept, 0o700); err != nil {
		t.Fatal(err)
	}
	_, key := newKey(t)
	for _, name := range []string{"", ".", "..", "../x", "a/../kept", "0", "1000", "12ab", "-a", "--help", "a-", "+", "+@a", "Alice", "a.b", "a b", "a\n", "a:b", "ü", strings.Repeat("a", 32)} {
		errs := map[string]error{
			"Check":  a.Check(t.Context(), name),
			"Ensure": a.Ensure(t.Context(), name, "10.0.0.1", []string{key}),
			"Remove": a.Remove(t.Context(), name),
		}
		made, err := a.Prepare(t.Context(), name)
		errs["Prepare"] = err
		for call, err := range errs {
			if err == nil || !strings.Contains(err.Error(), "can not be the name of an account") {
				t.Errorf("%s(%q) = %v, want a refusal", call, name, err)
			}
		}
		if made {
			t.Errorf("Prepare(%q) made something", name)
		}
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
}

func TestLookup(t *testing.T) {
	root, err := lookup(t.Context(), "root")
	if err != nil || root == nil || root.uid != 0 || root.gid != "0" {
		t.Errorf("root is %+v, %v", root, err)
	}
	nobody, err := lookup(t.Context(), "ctjt-absent")
	if err != nil || nobody != nil {
		t.Errorf("an absent account is %+v, %v", nobody, err)
	}
	if gid, err := groupID(t.Context(), "root"); gid != "0" || err != nil {
		t.Errorf("the group root is %q, %v", gid, err)
	}
	if gid, err := groupID(t.Context(), "ctjt-absent"); gid != "" || err != nil {
		t.Errorf("an absent group is %q, %v", gid, err)
	}
	if gid, err := groupID(t.Context(), "0"); err == nil {
		t.Errorf("a number is the group %q, want an error", gid)
	}
}

// A look-up that was cut off is not taken for an absent account.
func TestLookupCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if e, err := lookup(ctx, "ctjt-absent"); !errors.Is(err, context.Canceled) {
		t.Errorf("lookup = %v, %v, want context.Canceled", e, err)
	}
	if names, err := (&Accounts{Group: "root"}).Usernames(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Usernames = %v, %v, want context.Canceled", names, err)
	}
}

// fakeGetent puts a getent before the host's.
func fakeGetent(t *testing.T, script string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "getent"), []byte("#!/bin/sh\ncd "+dir+"\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return dir
}

func TestLookupCutOff(t *testing.T) {
	dir := fakeGetent(t, "read line <go; exit 2\n")
	if err := mkfifo(filepath.Join(dir, "go")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := lookup(ctx, "ctjt-absent")
		result <- err
	}()
	// The other end opens when getent has come to read it.
	pipe, err := os.OpenFile(filepath.Join(dir, "go"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close() //nolint:errcheck // nothing was written
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("lookup = %v, want context.Canceled", err)
	}
}

func TestLookupFails(t *testing.T) {
	for name, script := range map[string]string{
		"exit code": "exit 1\n",
		"crash":     "kill -9 $$\n",
		"odd line":  "echo what\n",
	} {
		fakeGetent(t, script)
		a := &Accounts{Group: "g", Home: t.TempDir()}
		if err := a.Check(t.Context(), "alice"); err == nil {
			t.Errorf("%s: the name is free", name)
		}
	}
}

// A directory that minds no case gives another's account.
func TestLookupGivesAnother(t *testing.T) {
	a := &Accounts{Group: "g", Home: "/home"}
	fakeGetent(t, "case $1 in group) echo g:x:995: ;; *) echo 'Alice:x:1001:995:"+comment+":/home/Alice:/bin/sh' ;; esac\n")
	if err := a.Check(t.Context(), "alice"); !errors.Is(err, ErrForeign) {
		t.Errorf("Check = %v, want ErrForeign", err)
	}
}

func TestUsernamesAmongOddLines(t *testing.T) {
	fakeGetent(t, `case $1 in group) echo g:x:995: ;; *) cat <<'END' ;; esac
root:x:0:0:root:/root:/bin/bash
+@admins::::::
alice:x:1001:995:containarium jump account:/home/alice:/usr/sbin/nologin
bob:x:1002:995::/home/bob:/bin/sh
broken

carol:x:1003:995:containarium jump account:/home/carol:/usr/sbin/nologin
+::::::
END
`)
	a := &Accounts{Group: "g", Home: "/home"}
	names, err := a.Usernames(t.Context())
	if diff := cmp.Diff([]string{"alice", "carol"}, names); diff != "" || err != nil {
		t.Errorf("Usernames: %v (-want +got):\n%s", err, diff)
	}
}

// fakeTool makes a tool that fails as script does.
func fakeTool(t *testing.T, script string) tools {
	t.Helper()
	s := tools{dir: t.TempDir(), etc: t.TempDir()}
	if err := os.WriteFile(filepath.Join(s.dir, "useradd"), []byte("#!/bin/sh\ncd "+s.dir+"\necho x >>tries\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return s
}

func tries(t *testing.T, s tools) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, "tries"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Count(string(data), "x")
}

const cannotLock = "echo 'useradd: cannot lock /etc/passwd; try again later.' >&2; exit 1\n"

func TestRunTriesAgainWhileLocked(t *testing.T) {
	s := fakeTool(t, "[ $(wc -l <tries) = 3 ] && exit 0\n"+cannotLock)
	if err := s.run(t.Context(), "useradd"); err != nil || tries(t, s) != 3 {
		t.Errorf("%v after %d tries, want 3", err, tries(t, s))
	}
}

func TestRunGivesUpWithItsContext(t *testing.T) {
	s := fakeTool(t, cannotLock)
	ctx, cancel := context.WithTimeout(t.Context(), 2*lockEvery)
	defer cancel()
	err := s.run(ctx, "useradd")
	if !errors.Is(err, context.DeadlineExceeded) || tries(t, s) == 0 {
		t.Errorf("%v after %d tries", err, tries(t, s))
	}
	if !strings.Contains(err.Error(), "cannot lock /etc/passwd") {
		t.Errorf("the error does not say what it waited for: %v", err)
	}
}

func TestRunDoesNotTryAgain(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for name, script := range map[string]string{
		"name taken":      "echo 'useradd: user alice already exists' >&2; exit 9\n",
		"cannot open":     "echo 'useradd: cannot open /etc/passwd' >&2; exit 1\n",
		"other exit code": "echo 'useradd: cannot lock in the name' >&2; exit 3\n",
	} {
		s := fakeTool(t, script)
		if err := s.run(ctx, "useradd"); err == nil || !strings.Contains(err.Error(), "useradd: ") || tries(t, s) != 1 {
			t.Errorf("%s: %v after %d tries, want 1", name, err, tries(t, s))
		}
	}
	// Where the database is read-only the tools say the same of its lock.
	s := fakeTool(t, cannotLock)
	s.etc = filepath.Join(s.dir, "absent")
	if err := s.run(ctx, "useradd"); err == nil || tries(t, s) != 1 {
		t.Errorf("read-only: %v after %d tries, want 1", err, tries(t, s))
	}
	s = fakeTool(t, "exit 0\n")
	cancel()
	if err := s.run(ctx, "useradd"); !errors.Is(err, context.Canceled) || tries(t, s) != 0 {
		t.Errorf("canceled: %v after %d tries, want none", err, tries(t, s))
	}
}

// The end of the context comes while the tool runs: it runs to its end.
func TestRunLetsTheToolFinish(t *testing.T) {
	s := fakeTool(t, "read line <go; echo done >finished\n")
	if err := mkfifo(filepath.Join(s.dir, "go")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- s.run(ctx, "useradd") }()
	// The other end opens when the tool has come to read it.
	pipe, err := os.OpenFile(filepath.Join(s.dir, "go"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-result:
		t.Fatalf("run returned %v while the tool runs", err)
	case <-time.After(100 * time.Millisecond): // long enough for a kill to be seen
	}
	if _, err := pipe.WriteString("\n"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(pipe.Close(), <-result); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "finished")); err != nil {
		t.Error(err)
	}
}
