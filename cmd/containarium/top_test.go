package main

import (
	"strings"
	"testing"
)

func TestTopScreen(t *testing.T) {
	d := asAdmin(t)
	mustRun(t, "create", "alice", "--ssh-key", publicKey(t), "--no-wait")
	mustRun(t, "create", "bob", "--ssh-key", publicKey(t), "--no-wait")
	d.Sim.Forget()
	p, errs, ended := onScreen(t, wide(200), "top", "--interval", "1s")
	p.see(t, enterScreen)
	p.see(t, "every 1s")
	p.see(t, "PRESSURE")
	p.see(t, "alice")
	p.see(t, "(host)")
	p.seen.Reset()
	mustRun(t, "rm", "bob", "--force")
	p.seen.Reset()
	for gone := false; !gone; p.seen.Reset() { // it looks again
		p.see(t, "every 1s")
		p.see(t, "(host)")
		gone = !strings.Contains(p.seen.String(), "bob")
	}
	p.ends(t, "q", ended, exitFine)
	if errs.String() != "" {
		t.Errorf("%q", errs)
	}
}

// A top of one user follows that server alone, and ends with the container.
func TestTopUser(t *testing.T) {
	asAdmin(t)
	mustRun(t, "create", "alice", "--ssh-key", publicKey(t), "--no-wait")
	p, errs, ended := onScreen(t, wide(200), "top", "alice", "--interval", "1s")
	p.see(t, "alice")
	mustRun(t, "rm", "alice", "--force")
	p.see(t, leaveScreen)
	if code := exitOf(t, ended); code != exitFailed || !oneLine(errs.String()) || !strings.Contains(errs.String(), "alice has no container") {
		t.Errorf("exit code %d: %s", code, errs)
	}
	_, _ = p.WriteString("\n")
}

// Where nobody watches, and with --once, top looks once.
func TestTopOnce(t *testing.T) {
	d := asAdmin(t)
	for _, user := range []string{"alice", "bob"} {
		mustRun(t, "create", user, "--ssh-key", publicKey(t), "--no-wait")
	}
	mustRun(t, "stop", "alice", "--force")
	for _, line := range []string{"top --sort memory", "top --once --sort memory -s " + d.Address + "," + d.Address} {
		code, out, errs := runLine(t.Context(), false, strings.Fields(line)...)
		rows := strings.Split(out.String(), "\n")
		// What has no figures is last, but for the host.
		if code != exitFine || len(rows) != 5 || !strings.Contains(rows[1], "bob") || !strings.Contains(rows[2], "alice") || !strings.Contains(rows[3], "(host)") {
			t.Errorf("%s: exit code %d: %s%s", line, code, out, errs)
		}
	}
	_, out, _ := runLine(t.Context(), false, "top", "--sort", "-user", "-o", "csv", "--no-headers")
	if !strings.HasPrefix(out.String(), "bob,running,") || !strings.Contains(out.String(), "\nalice,stopped,,") {
		t.Errorf("%s", out)
	}
	code, out, errs := runLine(t.Context(), false, "metrics", "bob", "-o", "csv")
	if code != exitFine || !strings.HasPrefix(out.String(), "USER,STATE,CPU,MEMORY,LIMIT,DISK,SIZE,RECEIVED,SENT,PROCESSES,OOM-KILLS,PRESSURE,READ,WRITTEN\nbob,") {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
}
