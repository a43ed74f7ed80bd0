package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/contrib/test/freeport"
	"github.com/footprintai/containarium/daemon/daemontest"
)

// completingFleet is a configuration with jump-1, the default, on which alice and
// bob are, and jump-2, which is down but of which carol is remembered.
func completingFleet(t *testing.T) (d *daemontest.Daemon, cache string) {
	t.Helper()
	d = asAdmin(t)
	t.Setenv("CONTAINARIUM_SERVER", "")
	cache = t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("CONTAINARIUM_CONFIG", filepath.Join(t.TempDir(), "config.toml"))
	free, err := freeport.Address("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	cert, key, ca := os.Getenv("CONTAINARIUM_CERT"), os.Getenv("CONTAINARIUM_KEY"), os.Getenv("CONTAINARIUM_CA")
	files := []string{"--identity", "ops", "--cert", cert, "--key", key, "--ca", ca}
	public := publicKey(t)
	for _, args := range [][]string{
		append([]string{"server", "add", "jump-1", d.Address, "--group", "eu"}, files...),
		{"server", "add", "jump-2", free, "--identity", "ops"},
		{"create", "alice", "--ssh-key", public, "--no-wait"},
		{"create", "bob", "--ssh-key", public, "--no-wait"},
	} {
		if code, _, errs := runLine(t.Context(), false, args...); code != exitFine {
			t.Fatalf("%s: %s", args, errs)
		}
	}
	writeNames(t, client.Server{Address: free, Cert: cert}, names{Asked: time.Now(), Users: []string{"carol"}})
	return d, cache
}

func writeNames(t *testing.T, server client.Server, n names) {
	t.Helper()
	dir, err := namesDir()
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(namesFile(dir, server), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// completed returns the candidates, without what they are about.
func completed(t *testing.T, words ...string) []string {
	t.Helper()
	code, out, errs := runLine(t.Context(), false, append([]string{completeWord}, words...)...)
	if code != exitFine || errs.Len() > 0 {
		t.Errorf("%q: exit code %d, %q", words, code, errs)
	}
	found := []string{}
	for line := range strings.Lines(out.String()) {
		text, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		found = append(found, text)
	}
	return found
}

func TestComplete(t *testing.T) {
	completingFleet(t)
	for line, want := range map[string][]string{
		"cre":                        {"create"},
		"key ":                       {"add", "rm", "ls"},
		"-o json key r":              {"rm"},
		"__":                         {},
		"ma":                         {}, // hidden
		"nonsense ":                  {},
		"create --from-":             {},
		"create --fro":               {"--from"},
		"create x --place ":          {"least-loaded"},
		"create x --place=l":         {"--place=least-loaded"},
		"create ":                    {"jump-1:", "jump-2:"},
		"create --from ":             {filesLine},
		"create --ssh-key ":          {filesLine},
		"ls --cert ":                 {filesLine},
		"ls -o y":                    {"yaml"},
		"ls --output=j":              {"--output=json"},
		"ls --state s":               {"stopped"},
		"ls --sort a":                {"address", "age"},
		"ls --server ":               {"jump-1", "jump-2", "eu"},
		"ls -s jump-1,j":             {"jump-1,jump-1", "jump-1,jump-2"},
		"ls --timeout ":              {},
		"ls --user ":                 {"alice", "bob"},
		"info a":                     {"alice"},
		"info ":                      {"alice", "bob", "jump-1:", "jump-2:"},
		"info jump-2:":               {"jump-2:carol"},
		"info jump-9:":               {},
		"info jump-2:carol ":         {},
		"info --server jump-2 ":      {"carol", "jump-1:", "jump-2:"},
		"--all info ":                {"alice", "bob", "carol", "jump-1:", "jump-2:"},
		"ssh c":                      {"carol"},
		"ssh carol -- ":              {filesLine},
		"rm alice b":                 {"bob"},
		"key add alice ":             {filesLine},
		"remote info j":              {"jump-1", "jump-2"},
		"remote info jump-2 ":        {"carol"},
		"server rm ":                 {"jump-1", "jump-2"},
		"server add x y --identity ": {"ops"},
		"server add x y --group ":    {"eu"},
		"server default ju":          {"jump-1", "jump-2"},
		"completion ":                {"bash", "zsh", "fish"},
		"policy check ":              {filesLine},
		"ls --output=table --no-hea": {"--no-headers"},
		"help ke":                    {"key"},
	} {
		if got := completed(t, strings.Split(line, " ")...); !cmp.Equal(got, want) {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

// Whatever is wrong, the user's line stays as it is.
func TestCompleteInSilence(t *testing.T) {
	completingFleet(t)
	config := os.Getenv("CONTAINARIUM_CONFIG")
	t.Setenv("CONTAINARIUM_OUTPUT", "xml")
	if got := completed(t, "cre"); !slices.Equal(got, []string{"create"}) {
		t.Errorf("%q", got)
	}
	if err := os.WriteFile(config, []byte("servers = 3"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, line := range [][]string{{"info", ""}, {"ls", "--server", ""}, {"info", "jump-1:"}, {}, {"ls", "--user", ""}} {
		if got := completed(t, line...); len(got) > 0 {
			t.Errorf("%q: %q", line, got)
		}
	}
	t.Setenv("XDG_CACHE_HOME", "relative")
	if got := completed(t, "info", ""); len(got) > 0 {
		t.Errorf("%q", got)
	}
}

// What is remembered is served without the server, for its owner alone; one that
// does not answer is not asked again at once.
func TestRememberedUsers(t *testing.T) {
	d, cache := completingFleet(t)
	if got := completed(t, "rm", "a"); !slices.Equal(got, []string{"alice"}) {
		t.Fatalf("%q", got)
	}
	files, err := filepath.Glob(filepath.Join(cache, "containarium", "users-*.json"))
	if err != nil || len(files) != 2 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, file := range files {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
	}
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	if got := completed(t, "rm", "b"); !slices.Equal(got, []string{"bob"}) {
		t.Errorf("%q", got)
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	if got := completed(t, "rm", "b"); len(got) > 0 {
		t.Errorf("%q", got)
	}
	config, err := client.LoadConfig(os.Getenv("CONTAINARIUM_CONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	if n := readNames(filepath.Join(cache, "containarium"), config.Servers["jump-1"]); n == nil || !n.Failed || n.stale(n.Asked) || !n.stale(n.Asked.Add(2*namesAgain)) {
		t.Errorf("%+v", n)
	}
}

// A server can have no shell run what it calls its users, and a file that others
// can write does not count.
func TestHostileUsers(t *testing.T) {
	completingFleet(t)
	config, err := client.LoadConfig(os.Getenv("CONTAINARIUM_CONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	writeNames(t, config.Servers["jump-2"], names{Asked: time.Now(), Users: []string{"$(reboot)", "a;b", "dora", "x\ty", "-f", "`id`", ":files"}})
	if got := completed(t, "info", "jump-2:"); !slices.Equal(got, []string{"jump-2:dora"}) {
		t.Errorf("%q", got)
	}
	dir, err := namesDir()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(namesFile(dir, config.Servers["jump-2"]), 0o666); err != nil {
		t.Fatal(err)
	}
	if got := completed(t, "info", "jump-2:"); len(got) > 0 {
		t.Errorf("%q", got)
	}
}

// What is remembered for too long is completed all the same, and learnt anew by a
// process behind.
func TestRememberedTooLong(t *testing.T) {
	completingFleet(t)
	config, err := client.LoadConfig(os.Getenv("CONTAINARIUM_CONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	writeNames(t, config.Servers["jump-1"], names{Asked: time.Now().Add(-2 * namesFresh), Users: []string{"former"}})
	out, err := exec.CommandContext(t.Context(), "containarium", completeWord, "rm", "").CombinedOutput()
	if got := strings.Fields(string(out)); err != nil || !slices.Equal(got, []string{"former", "jump-1:", "jump-2:"}) {
		t.Fatalf("%q, %v", got, err)
	}
	dir, err := namesDir()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if n := readNames(dir, config.Servers["jump-1"]); n != nil && slices.Equal(n.Users, []string{"alice", "bob"}) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("it was never learnt anew")
		}
	}
}

// What is remembered is asked for anew after a minute, sooner where the server did
// not answer, and at once where the clock went back.
func TestStaleNames(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		age    time.Duration
		failed bool
		want   bool
	}{
		{0, false, false}, {namesFresh, false, false}, {namesFresh + 1, false, true}, {-1, false, true},
		{namesAgain, true, false}, {namesAgain + 1, true, true}, {namesAgain + 1, false, false},
	} {
		if got := (&names{Asked: now.Add(-test.age), Failed: test.failed}).stale(now); got != test.want {
			t.Errorf("%s, failed %t: %t", test.age, test.failed, got)
		}
	}
}

// Of a server that does not answer the users stay remembered, but not of a file that
// is too long.
func TestRememberedOfAServerThatIsDown(t *testing.T) {
	completingFleet(t)
	config, err := client.LoadConfig(os.Getenv("CONTAINARIUM_CONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	dir, err := namesDir()
	if err != nil {
		t.Fatal(err)
	}
	servers, err := config.Select("jump-2")
	if err != nil {
		t.Fatal(err)
	}
	down := servers[0]
	remember(t.Context(), dir, servers, namesFirst)
	if n := readNames(dir, down); n == nil || !n.Failed || !slices.Equal(n.Users, []string{"carol"}) {
		t.Errorf("%+v", n)
	}
	long := strings.Repeat(" ", maxNames) + `{"users":["carol"]}`
	if err := os.WriteFile(namesFile(dir, down), []byte(long), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := readNames(dir, down); n != nil {
		t.Errorf("%+v", n)
	}
}

// Nobody waits for a server that is silent, nor gets what another saw.
func TestCompleteAtASilentServer(t *testing.T) {
	completingFleet(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close() //nolint:errcheck // the test is over
	patience := namesFirst
	namesFirst = 10 * time.Millisecond
	t.Cleanup(func() { namesFirst = patience })
	if got := completed(t, "info", silent.Addr().String()+":"); len(got) > 0 {
		t.Errorf("%q", got)
	}
	if got := completed(t, "--cert", "other.crt", "info", "jump-2:"); len(got) > 0 {
		t.Errorf("another's: %q", got)
	}
}
