package jump

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const address = "10.255.255.1"

func TestEnsure(t *testing.T) {
	a := newHost(t)
	_, one := newKey(t)
	_, two := newKey(t)
	// The daemon may run with a umask that would shut sshd out.
	defer syscall.Umask(syscall.Umask(0o077))

	if err := a.Check(t.Context(), "ctjt-alice"); err != nil {
		t.Errorf("Check of a free name: %v", err)
	}
	if err := a.Ensure(t.Context(), "ctjt-alice", address, []string{one, two}); err != nil {
		t.Fatal(err)
	}
	if err := a.Check(t.Context(), "ctjt-alice"); err != nil {
		t.Errorf("Check of our own: %v", err)
	}
	fields := strings.Split(database(t, "/etc/passwd", "ctjt-alice:")[0], ":")
	gid, err := groupID(t.Context(), testGroup)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"ctjt-alice", "x", fields[2], gid, comment, a.Home + "/ctjt-alice", nologin}, fields); diff != "" {
		t.Errorf("/etc/passwd (-want +got):\n%s", diff)
	}
	// "*" and no ageing, by which sshd could refuse keys.
	fields = strings.Split(database(t, "/etc/shadow", "ctjt-alice:")[0], ":")
	if diff := cmp.Diff([]string{"ctjt-alice", "*", fields[2], fields[3], "", fields[5], "", "", ""}, fields); diff != "" {
		t.Errorf("/etc/shadow (-want +got):\n%s", diff)
	}
	for _, file := range []string{"/etc/group", "/etc/gshadow", "/etc/subuid", "/etc/subgid"} {
		if _, err := os.Stat(file); err == nil && len(database(t, file, "ctjt-alice:")) > 0 {
			t.Errorf("%s has a line of the account, which needs none", file)
		}
	}
	home := filepath.Join(a.Home, "ctjt-alice")
	for path, mode := range map[string]os.FileMode{
		home: os.ModeDir | 0o755, home + "/.ssh": os.ModeDir | 0o755, home + "/.ssh/authorized_keys": 0o644,
	} {
		info, err := os.Lstat(path)
		if err != nil {
			t.Error(err)
			continue
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); info.Mode() != mode || !ok || stat.Uid != 0 {
			t.Errorf("%s has mode %v and owner %d, want %v and root", path, info.Mode(), stat.Uid, mode)
		}
	}
	keysAre(t, a, "ctjt-alice", address, one, two)

	// Exactly the keys given, good for the address given.
	if err := a.Ensure(t.Context(), "ctjt-alice", "10.255.255.2", []string{two}); err != nil {
		t.Fatal(err)
	}
	keysAre(t, a, "ctjt-alice", "10.255.255.2", two)
	before := state(t, a, "ctjt-alice")
	made, err := a.Prepare(t.Context(), "ctjt-alice")
	if made || err != nil || state(t, a, "ctjt-alice") != before {
		t.Errorf("Prepare of what is there: %v, %v, and it is now\n%s", made, err, state(t, a, "ctjt-alice"))
	}
	if err := a.Ensure(t.Context(), "ctjt-alice", "10.255.255.2", nil); err != nil {
		t.Fatal(err)
	}
	keysAre(t, a, "ctjt-alice", "10.255.255.2")
}

// keysAre checks the account's authorized_keys, and that nothing is beside it.
func keysAre(t *testing.T, a *Accounts, username, address string, keys ...string) {
	t.Helper()
	want, err := keyLines(keys, address, a.SSHPort)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(a.sshDir(username), "authorized_keys"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("keys of %s (-want +got):\n%s", username, diff)
	}
	if files, err := os.ReadDir(a.sshDir(username)); err != nil || len(files) != 1 {
		t.Errorf("beside the keys there is %v, %v", files, err)
	}
}

// A bad key or address is refused before there is an account.
func TestEnsureRefusesFirst(t *testing.T) {
	a := newHost(t)
	_, key := newKey(t)
	for name, err := range map[string]error{
		"address": a.Ensure(t.Context(), "ctjt-bob", "", []string{key}),
		"key":     a.Ensure(t.Context(), "ctjt-bob", address, []string{"x"}),
	} {
		if err == nil {
			t.Errorf("bad %s: no error", name)
		}
	}
	if got := state(t, a, "ctjt-bob"); got != "" {
		t.Errorf("there is\n%s", got)
	}
}

func TestPrepareSaysWhatItMade(t *testing.T) {
	a := newHost(t)
	made, err := a.Prepare(t.Context(), "ctjt-alice")
	if !made || err != nil {
		t.Errorf("first: %v, %v, want true", made, err)
	}
	if made, err = a.Prepare(t.Context(), "ctjt-alice"); made || err != nil {
		t.Errorf("again: %v, %v, want false", made, err)
	}
	// It fails after the account is made: that has to be known to be undone.
	elsewhere := &Accounts{Group: a.Group, Home: filepath.Join(a.Home, "absent"), SSHPort: 22}
	if made, err = elsewhere.Prepare(t.Context(), "ctjt-bob"); !made || err == nil {
		t.Errorf("without a place for homes: %v, %v, want true and an error", made, err)
	}
	if err := elsewhere.Remove(t.Context(), "ctjt-bob"); err != nil {
		t.Error(err)
	}
	if got := state(t, a, "ctjt-bob"); got != "" {
		t.Errorf("after the rollback there is\n%s", got)
	}
	// useradd itself fails half-way.
	bin := t.TempDir()
	script := "#!/bin/sh\n/usr/sbin/useradd \"$@\"\necho \"useradd: can't write\" >&2\nexit 1\n"
	if err := os.WriteFile(filepath.Join(bin, "useradd"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	defer func(real tools) { shadow = real }(shadow)
	shadow.dir = bin
	if made, err = a.Prepare(t.Context(), "ctjt-carol"); !made || err == nil {
		t.Errorf("useradd fails half-way: %v, %v, want true and an error", made, err)
	}
}

func TestPrepareFinishesWhatWasCutOff(t *testing.T) {
	a := newHost(t)
	_, key := newKey(t)
	if _, err := a.Prepare(t.Context(), "ctjt-alice"); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(a.home("ctjt-alice")); err != nil { // it died before it made the home
		t.Fatal(err)
	}
	if err := a.Ensure(t.Context(), "ctjt-alice", address, []string{key}); err != nil {
		t.Fatal(err)
	}
	keysAre(t, a, "ctjt-alice", address, key)
	// It died while it wrote the keys.
	if err := os.WriteFile(filepath.Join(a.sshDir("ctjt-alice"), "authorized_keys.new"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.Ensure(t.Context(), "ctjt-alice", address, nil); err != nil {
		t.Fatal(err)
	}
	keysAre(t, a, "ctjt-alice", address)
	info, err := os.Stat(filepath.Join(a.sshDir("ctjt-alice"), "authorized_keys"))
	if err != nil || info.Mode() != 0o644 {
		t.Errorf("the keys have mode %v, %v, want 0644", info.Mode(), err)
	}
}

func TestRemove(t *testing.T) {
	a := newHost(t)
	_, key := newKey(t)
	if err := a.Remove(t.Context(), "ctjt-alice"); err != nil {
		t.Errorf("Remove of nobody: %v", err)
	}
	for _, name := range []string{"ctjt-alice", "ctjt-bob"} {
		if err := a.Ensure(t.Context(), name, address, []string{key}); err != nil {
			t.Fatal(err)
		}
	}
	bob := state(t, a, "ctjt-bob")
	if err := a.Remove(t.Context(), "ctjt-alice"); err != nil {
		t.Fatal(err)
	}
	if got := state(t, a, "ctjt-alice"); got != "" {
		t.Errorf("left of alice:\n%s", got)
	}
	if diff := cmp.Diff(bob, state(t, a, "ctjt-bob")); diff != "" {
		t.Errorf("bob changed (-want +got):\n%s", diff)
	}
	// It was cut off after the home was gone.
	if err := os.RemoveAll(a.home("ctjt-bob")); err != nil {
		t.Fatal(err)
	}
	if err := a.Remove(t.Context(), "ctjt-bob"); err != nil {
		t.Fatal(err)
	}
	if got := state(t, a, "ctjt-bob"); got != "" {
		t.Errorf("left of bob:\n%s", got)
	}
}

// What we did not make is refused by every call, and stays as it is to the byte.
func TestForeign(t *testing.T) {
	a := newHost(t)
	_, key := newKey(t)
	if err := a.Ensure(t.Context(), "ctjt-ours", address, []string{key}); err != nil {
		t.Fatal(err)
	}
	ours := strings.Split(database(t, "/etc/passwd", "ctjt-ours:")[0], ":")
	outside := t.TempDir()
	add := func(args ...string) { t.Helper(); tool(t, "useradd", args...) }
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	home := func(name string) string { return filepath.Join(a.Home, name) }

	add("--create-home", "--home-dir", home("ctjt-plain"), "ctjt-plain")
	check(os.WriteFile(home("ctjt-plain")+"/file", []byte("x"), 0o600))
	add("--home-dir", home("ctjt-group"), "--gid", testGroup, "ctjt-group")
	add("--home-dir", home("ctjt-both"), "--gid", testGroup, "--comment", comment, "--create-home", "ctjt-both")
	tool(t, "usermod", "--comment", "an operator's own", "ctjt-both")
	add("--home-dir", home("ctjt-comment"), "--comment", comment, "ctjt-comment")
	add("--home-dir", outside, "--gid", testGroup, "--comment", comment, "ctjt-home")
	add("--home-dir", home("ctjt-second"), "--gid", testGroup, "--groups", "", "--comment", comment, "ctjt-second")
	tool(t, "usermod", "--gid", "nogroup", "--append", "--groups", testGroup, "ctjt-second") // a supplementary group marks nothing
	check(os.Mkdir(home("ctjt-dir"), 0o700))
	check(os.WriteFile(home("ctjt-dir")+"/file", []byte("x"), 0o600))
	check(os.WriteFile(home("ctjt-file"), []byte("x"), 0o600))
	check(os.Symlink(outside, home("ctjt-link")))
	check(os.Symlink("/absent", home("ctjt-dangling")))

	foreign := []string{"ctjt-plain", "ctjt-group", "ctjt-both", "ctjt-comment", "ctjt-home", "ctjt-second", "ctjt-dir", "ctjt-file", "ctjt-link", "ctjt-dangling", "root", "daemon"}
	for _, name := range foreign {
		before := state(t, a, name)
		made, err := a.Prepare(t.Context(), name)
		if made {
			t.Errorf("%s: Prepare made something", name)
		}
		calls := map[string]error{
			"Check":   a.Check(t.Context(), name),
			"Prepare": err,
			"Ensure":  a.Ensure(t.Context(), name, address, []string{key}),
			"Remove":  a.Remove(t.Context(), name),
		}
		for call, err := range calls {
			if call == "Remove" && len(database(t, "/etc/passwd", name+":")) == 0 {
				if err != nil { // there is no account; the home is left alone
					t.Errorf("%s: Remove: %v, want nil", name, err)
				}
				continue
			}
			if !errors.Is(err, ErrForeign) {
				t.Errorf("%s: %s: %v, want ErrForeign", name, call, err)
			}
		}
		if diff := cmp.Diff(before, state(t, a, name)); diff != "" || before == "" {
			t.Errorf("%s was touched (-before +after):\n%s", name, diff)
		}
	}
	names, err := a.Usernames(t.Context())
	if diff := cmp.Diff([]string{"ctjt-ours"}, names); diff != "" || err != nil {
		t.Errorf("Usernames: %v (-want +got):\n%s", err, diff)
	}

	// An account beside ours with the same user id: its processes are not ours to end.
	add("--non-unique", "--uid", ours[2], "--gid", "nogroup", "--home-dir", outside, "ctjt-twin")
	if err := a.Remove(t.Context(), "ctjt-ours"); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "ctjt-twin") {
		t.Errorf("Remove of an account with a twin: %v, want ErrForeign", err)
	}
	keysAre(t, a, "ctjt-ours", address, key)
}

// A home of ours in whose place somebody put a link is not followed.
func TestHomeReplaced(t *testing.T) {
	a := newHost(t)
	_, key := newKey(t)
	outside := t.TempDir()
	if err := os.Mkdir(filepath.Join(outside, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, replace := range map[string]func(home string) error{
		"ctjt-home": func(home string) error { return errors.Join(os.RemoveAll(home), os.Symlink(outside, home)) },
		"ctjt-ssh": func(home string) error {
			return errors.Join(os.RemoveAll(home+"/.ssh"), os.Symlink(outside, home+"/.ssh"))
		},
		"ctjt-owner": func(home string) error { return os.Chown(home, 65534, -1) },
		"ctjt-file":  func(home string) error { return errors.Join(os.RemoveAll(home), os.WriteFile(home, nil, 0o600)) },
	} {
		if _, err := a.Prepare(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if err := replace(a.home(name)); err != nil {
			t.Fatal(err)
		}
		if err := a.Ensure(t.Context(), name, address, []string{key}); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: Ensure = %v, want ErrForeign", name, err)
		}
		// The account is ours all the same, and goes; what the link names stays.
		if err := a.Remove(t.Context(), name); err != nil {
			t.Errorf("%s: Remove: %v", name, err)
		}
	}
	left, err := os.ReadDir(filepath.Join(outside, ".ssh"))
	if err != nil || len(left) != 0 {
		t.Errorf("behind the link there is %v, %v", left, err)
	}
	if info, err := os.Stat(outside + "/.ssh"); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("what the link names was changed: %v, %v", info.Mode(), err)
	}
}

// Ten users at once, each asked for twice, by two daemons.
func TestConcurrentEnsure(t *testing.T) {
	first := newHost(t)
	second := &Accounts{Group: first.Group, Home: first.Home, SSHPort: first.SSHPort}
	tool(t, "groupadd", "--system", testGroup) // of two that make it, one may fail
	_, key := newKey(t)
	var want []string
	var wg sync.WaitGroup
	for i := range 10 {
		name := fmt.Sprintf("ctjt-u%d", i)
		want = append(want, name)
		a := []*Accounts{first, second}[i%2]
		for range 2 {
			wg.Go(func() {
				if err := a.Ensure(t.Context(), name, address, []string{key}); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	got, err := first.Usernames(t.Context())
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("Usernames: %v (-want +got):\n%s", err, diff)
	}
	for _, name := range want {
		keysAre(t, first, name, address, key)
		wg.Go(func() {
			if err := first.Remove(t.Context(), name); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got, err := first.Usernames(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("after Remove there is %v, %v", got, err)
	}
}

// fakeUserdel puts a userdel in the place of the host's until the test ends.
func fakeUserdel(t *testing.T, script string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "userdel"), []byte("#!/bin/sh\ncd "+dir+"\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	real := shadow
	t.Cleanup(func() { shadow = real })
	shadow.dir = dir
	return dir
}

// A session began after the others were ended: userdel says that the user is
// busy, and they are ended again.
func TestRemoveTriesAgainWhileBusy(t *testing.T) {
	a := newHost(t)
	if _, err := a.Prepare(t.Context(), "ctjt-alice"); err != nil {
		t.Fatal(err)
	}
	fakeUserdel(t, fmt.Sprintf("[ -e busy ] && exec /usr/sbin/userdel \"$@\"\ntouch busy\nexit %d\n", exitBusy))
	if err := a.Remove(t.Context(), "ctjt-alice"); err != nil {
		t.Fatal(err)
	}
	if got := state(t, a, "ctjt-alice"); got != "" {
		t.Errorf("left of alice:\n%s", got)
	}
}

// A session began while userdel ran: it ends too, and its user id is free.
func TestRemoveEndsTheLastSession(t *testing.T) {
	a := newHost(t)
	if _, err := a.Prepare(t.Context(), "ctjt-alice"); err != nil {
		t.Fatal(err)
	}
	alice, err := lookup(t.Context(), "ctjt-alice")
	if err != nil {
		t.Fatal(err)
	}
	dir := fakeUserdel(t, fmt.Sprintf(`/usr/sbin/userdel "$@" || exit
setpriv --reuid %[1]d --regid 65534 --clear-groups sleep 300 >/dev/null 2>&1 &
until [ "$(stat -c %%u /proc/$!)" = %[1]d ]; do :; done
touch began
`, alice.uid))
	if err := a.Remove(t.Context(), "ctjt-alice"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "began")); err != nil {
		t.Fatal(err)
	}
	if left, err := killProcesses(alice.uid); left != 0 || err != nil {
		t.Errorf("%d processes are left, %v", left, err)
	}
}
