package audit_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/footprintai/containarium/daemon/audit"
)

const (
	page       = "../../contrib/doc/audit.md"
	logrotated = "../../contrib/logrotate/containarium"
)

func read(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	check(t, err)
	return string(data)
}

// section returns the first column of the table under a heading of the page.
func section(t *testing.T, heading string) []string {
	t.Helper()
	_, text, ok := strings.Cut(read(t, page), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("no heading %q", heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	var rows []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| .+ \\|$").FindAllStringSubmatch(text, -1) {
		rows = append(rows, m[1])
	}
	return rows
}

func TestThePageHasEveryField(t *testing.T) {
	var fields []string
	for f := range reflect.TypeFor[audit.Record]().Fields() {
		fields = append(fields, f.Tag.Get("json"))
	}
	if diff := cmp.Diff(fields, section(t, "The fields")); diff != "" {
		t.Errorf("the page (-struct +page):\n%s", diff)
	}
}

func TestThePageHasEveryEvent(t *testing.T) {
	if diff := cmp.Diff(audit.Events(), section(t, "The events")); diff != "" {
		t.Errorf("the page (-code +page):\n%s", diff)
	}
}

// The page says how to compute a hash without us.
func TestThePageComputesTheHash(t *testing.T) {
	command := regexp.MustCompile(`(?m)^tail .* sha256sum$`).FindString(read(t, page))
	path := filepath.Join(t.TempDir(), "audit.log")
	l := start(t, path)
	write(t, l, "alice", `<"bob">`)
	got := output(t, filepath.Dir(path), "sh", "-c", command)
	if hash, _, _ := strings.Cut(got, " "); hash != l.Last() {
		t.Errorf("%s gives %q, want %s", command, got, l.Last())
	}
}

// output runs a program in a directory and returns what it prints.
func output(t testing.TB, dir, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", program, args, err, out)
	}
	return string(out)
}

// directives are the lines of the file for logrotate that are no comments.
func directives(t *testing.T) []string {
	t.Helper()
	var all []string
	for line := range strings.Lines(read(t, logrotated)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			all = append(all, line)
		}
	}
	return all
}

// Whatever else is changed in it: these make the chain go on.
func TestTheFileForLogrotate(t *testing.T) {
	all := directives(t)
	if all[0] != "/var/log/containarium/audit.log {" || all[len(all)-1] != "}" {
		t.Errorf("not about the default log: %q", all)
	}
	text := "\n" + strings.Join(all, "\n") + "\n"
	for _, want := range []string{
		"\ndelaycompress\n", // the daemon still writes to it
		"\nnocreate\n",
		"\nsystemctl kill --signal=HUP --kill-who=main containarium.service\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q", want)
		}
	}
	for _, never := range []string{"copytruncate", "shred", "mail "} {
		if strings.Contains(text, never) {
			t.Errorf("has %q", never)
		}
	}
}

// logrotate itself rotates a log with that file, three times and with a restart
// in between, and the chain goes over all of them. On a machine without logrotate
// this is not shown; .ci/run installs it, and lets nothing be left out.
func TestLogrotate(t *testing.T) {
	logrotate, err := exec.LookPath("logrotate")
	if err != nil {
		logrotate = "/usr/sbin/logrotate"
		if _, err := os.Stat(logrotate); err != nil {
			t.Skip("NOT RUN: the shipped file with logrotate itself: apt-get install logrotate")
		}
	}
	dir := t.TempDir()
	path, signals := filepath.Join(dir, "audit.log"), filepath.Join(dir, "signals")
	// The test is the daemon, and its systemctl leaves word.
	check(t, os.Mkdir(filepath.Join(dir, "bin"), 0o755))
	check(t, os.WriteFile(filepath.Join(dir, "bin", "systemctl"), []byte("#!/bin/sh\ntest \"$1 $2\" = \"--quiet is-active\" || echo \"$@\" >>"+signals+"\n"), 0o755))
	t.Setenv("PATH", filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	config := filepath.Join(dir, "logrotate.conf")
	check(t, os.WriteFile(config, []byte(strings.ReplaceAll(read(t, logrotated), "/var/log/containarium/audit.log", path)), 0o644))

	l := start(t, path)
	for i, name := range []string{"alice", "bob", "carol"} {
		write(t, l, name)
		output(t, dir, logrotate, "--force", "--state", filepath.Join(dir, "state"), config)
		if got, want := read(t, signals), strings.Repeat("kill --signal=HUP --kill-who=main containarium.service\n", i+1); got != want {
			t.Fatalf("the daemon got %q, want %q", got, want)
		}
		if name == "bob" { // down when it was signalled
			check(t, l.Close())
			l = start(t, path)
		} else {
			check(t, l.Reopen())
		}
	}
	rotated, err := audit.Rotated(path)
	check(t, err)
	if diff := cmp.Diff([]string{path + ".3.gz", path + ".2.gz", path + ".1"}, rotated); diff != "" {
		t.Errorf("the files (-want +got):\n%s", diff)
	}
	all := files(append(rotated, path)...)
	told(t, []string{"start", "alice", "reopen", "bob", "start", "carol", "reopen"}, all...)
	if r := verify(t, all...); r.Lines != 7 || !r.Whole() {
		t.Errorf("%+v", r)
	}
}
