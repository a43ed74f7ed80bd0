package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/footprintai/containarium/contrib/test/freeport"
	"github.com/footprintai/containarium/daemon/daemontest"
	"github.com/footprintai/containarium/incusx/incustest"
	"github.com/footprintai/containarium/pki/pkitest"
)

// The scripts run the real main.
func TestMain(m *testing.M) {
	namesFirst = time.Minute // a busy machine may need more than a user waits
	testscript.Main(m, map[string]func(){"containarium": main})
}

// TestScript tells what users do as scripts, each on a daemon and a simulated
// Incus of its own. Beside testscript's commands they have:
//
//	as CN          call as that client from here on: admin, operator-1, alice, bob, nobody,
//	               or one of those that no daemon takes (see certificates)
//	exits N CMD    run a command, which must exit with that code
//	oneline        the last command wrote one line to standard error, and nothing to standard output
//	forget         what was changed in Incus up to here is meant
//	untouched      nothing was changed in Incus since the last forget, or the start
//	incus down|up  take Incus away, or bring it back
//	incus slow M P D  the next request of that method and path starts an operation that takes so long
//	await M P      wait until Incus had a request of that method and path since the last forget
//	until CMD      run a command until it succeeds
//	jump VAR       as another, with a jump host before its containers (see scriptJump)
//	another VAR M.. start one more daemon, on a simulated Incus of its own, and put its address there;
//	               with names that Incus is a cluster of these members, and the daemon on the first
//	incus lose|find M  take the member of a cluster away, or bring it back
//	expand FILE    replace the environment variables in a file
//	remember DIR.. what is in these folders is meant to be
//	unchanged      nothing in the remembered folders was changed
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: func(env *testscript.Env) error { return setup(t, env) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"as":        scriptAs,
			"exits":     scriptExits,
			"oneline":   scriptOneline,
			"forget":    scriptForget,
			"untouched": scriptUntouched,
			"incus":     scriptIncus,
			"await":     scriptAwait,
			"until":     scriptUntil,
			"expand":    scriptExpand,
			"another":   scriptAnother,
			"jump":      scriptJump,
			"remember":  scriptRemember,
			"unchanged": scriptUnchanged,
		},
	})
}

// world is what a script runs in.
type world struct {
	t      *testing.T
	daemon *daemontest.Daemon
	// others are more daemons with the same CA.
	others []*daemontest.Daemon
	// dirs are the folders that are remembered, and tree what was in them.
	dirs []string
	tree map[string]string
}

type worldKey struct{}

func worldOf(ts *testscript.TestScript) *world {
	w, ok := ts.Value(worldKey{}).(*world)
	if !ok {
		ts.Fatalf("the script has no world")
	}
	return w
}

func setup(t *testing.T, env *testscript.Env) error {
	d := daemontest.Start(t)
	d.Sim.Forget()
	env.Values[worldKey{}] = &world{t: t, daemon: d}
	certs := filepath.Join(env.WorkDir, "certs")
	for name, pair := range certificates(t, d) {
		dir := filepath.Join(certs, name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		pair.WriteFiles(t, dir, d.CA)
	}
	// A CA that the daemon does not have.
	other := pkitest.New(t)
	for name, trusts := range map[string]*pkitest.CA{"stranger": other, "half-stranger": d.CA} {
		dir := filepath.Join(certs, name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		other.Client(t, "admin").WriteFiles(t, dir, trusts)
	}
	free, err := freeport.Address("127.0.0.1")
	if err != nil {
		return err
	}
	home := filepath.Join(env.WorkDir, "home")
	if err := os.MkdirAll(home, 0o700); err != nil {
		return err
	}
	for key, value := range map[string]string{
		"HOME":                home,
		"XDG_CONFIG_HOME":     "",
		"CONTAINARIUM_CONFIG": filepath.Join(home, "config.toml"),
		"CONTAINARIUM_SERVER": d.Address,
		"CERTS":               certs,
		"ADDRESS":             d.Address,
		"HTTP":                d.URL,
		"FREE_ADDRESS":        free,
		"INCUS":               d.Sim.Socket(),
		"SSH_PORT":            strconv.Itoa(d.Sim.SSHPort()),
		// Otherwise the race detector has each process sleep for a second at its end.
		"GORACE": "atexit_sleep_ms=0",
	} {
		env.Setenv(key, value)
	}
	identify(env.Setenv, certs, "admin")
	return nil
}

// certificates are the clients that scripts call as.
func certificates(t *testing.T, d *daemontest.Daemon) map[string]pkitest.Pair {
	pairs := map[string]pkitest.Pair{}
	for _, cn := range []string{"admin", "operator-1", "alice", "bob", "nobody"} {
		pairs[cn] = d.CA.Client(t, cn)
	}
	bad := d.CA.Bad(t)
	pairs["expired"], pairs["early"], pairs["server"] = bad["expired"], bad["not yet valid"], bad["server certificate"]
	return pairs
}

func identify(setenv func(key, value string), certs, name string) {
	setenv("CONTAINARIUM_CERT", filepath.Join(certs, name, "tls.crt"))
	setenv("CONTAINARIUM_KEY", filepath.Join(certs, name, "tls.key"))
	setenv("CONTAINARIUM_CA", filepath.Join(certs, name, "ca.crt"))
}

func scriptAs(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: as CN")
	}
	certs := ts.Getenv("CERTS")
	_, err := os.Stat(filepath.Join(certs, args[0]))
	ts.Check(err)
	identify(ts.Setenv, certs, args[0])
}

func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits N command...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func scriptOneline(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: oneline")
	}
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("standard output has %q", out)
	}
	if text := ts.ReadFile("stderr"); !oneLine(text) {
		ts.Fatalf("standard error is not one line: %q", text)
	}
}

func scriptUntouched(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: untouched")
	}
	w := worldOf(ts)
	for _, d := range append(w.others, w.daemon) {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
			if n := d.Sim.Requests(method, ""); n > 0 {
				ts.Fatalf("%d %s requests reached Incus", n, method)
			}
		}
		d.Sim.Forget()
	}
}

func scriptForget(ts *testscript.TestScript, _ bool, _ []string) {
	w := worldOf(ts)
	for _, d := range append(w.others, w.daemon) {
		d.Sim.Forget()
	}
}

func scriptAnother(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: another VAR [MEMBER...]")
	}
	w := worldOf(ts)
	d := daemontest.StartWith(w.t, daemontest.Options{CA: w.daemon.CA, Sim: incustest.Start(w.t, incustest.Options{Members: args[1:]})})
	d.Sim.Forget()
	w.others = append(w.others, d)
	ts.Setenv(args[0], d.Address)
}

func scriptIncus(ts *testscript.TestScript, neg bool, args []string) {
	sim := worldOf(ts).daemon.Sim
	switch {
	case !neg && len(args) == 1 && args[0] == "down":
		sim.Down()
	case !neg && len(args) == 1 && args[0] == "up":
		ts.Check(sim.Up())
	case !neg && len(args) == 2 && (args[0] == "lose" || args[0] == "find"):
		for _, d := range worldOf(ts).others {
			if args[0] == "lose" {
				d.Sim.Lose(args[1], true)
			} else {
				d.Sim.Find(args[1])
			}
		}
	case !neg && len(args) == 4 && args[0] == "slow":
		delay, err := time.ParseDuration(args[3])
		ts.Check(err)
		sim.Fail(incustest.Fault{Method: args[1], Path: args[2], Times: 1, OperationDelay: delay})
	default:
		ts.Fatalf("usage: incus down, incus up, incus slow METHOD PATH DURATION, incus lose MEMBER, incus find MEMBER")
	}
}

func scriptAwait(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await METHOD PATH")
	}
	poll(ts, func() bool { return worldOf(ts).daemon.Sim.Requests(args[0], args[1]) > 0 })
}

func scriptUntil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: until command...")
	}
	poll(ts, func() bool { return ts.Exec(args[0], args[1:]...) == nil })
}

func scriptExpand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: expand FILE")
	}
	data := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(data), 0o600))
}

// poll waits until the condition holds.
func poll(ts *testscript.TestScript, holds func() bool) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			ts.Fatalf("it did not come to that within a minute")
		}
	}
}

// oneLine reports whether the text is exactly one line, which is the program's.
func oneLine(text string) bool {
	return strings.HasPrefix(text, "containarium: ") && strings.Index(text, "\n") == len(text)-1
}
