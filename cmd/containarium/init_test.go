package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/footprintai/containarium/incusx/incustest"
)

// atTerminal runs a command line while the test types at a terminal.
func atTerminal(t *testing.T, p *pty, types func(), args ...string) (code int, out, errs string) {
	t.Helper()
	terminal, stdout, stderr := capture(false)
	terminal.tty = p.open
	ended := make(chan int, 1)
	ctx := patient(t)
	go func() { ended <- run(ctx, terminal, append([]string{"containarium"}, args...)) }()
	types()
	code = exitOf(t, ended)
	return code, stdout.String(), stderr.String()
}

// On a terminal init asks for what no flag says, and only once; an empty answer is
// the default. Undo asks before it removes anything, and once more about a CA on
// which others hang.
func TestInitAsks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etc")
	path := filepath.Join(dir, "config.toml")
	t.Setenv("CONTAINARIUM_CONFIG", filepath.Join(dir, "client.toml"))
	t.Setenv("CONTAINARIUM_PKI", filepath.Join(dir, "pki"))
	t.Setenv("INCUS_SOCKET", incustest.Start(t).Socket())
	t.Setenv("PATH", t.TempDir()) // neither systemd nor sshd
	p := newPTY(t)
	answer := func(question, answer string) {
		p.see(t, question)
		p.seen.Reset()
		_, _ = p.WriteString(answer + "\n")
	}
	line := []string{"init", "--config", path, "--name", "jump-1", "--address", "127.0.0.1:50998", "--sshd-dir", filepath.Join(dir, "none")}
	code, out, errs := atTerminal(t, p, func() {
		answer("localhost", "jump-1.example.org, 192.0.2.7")
		answer("the administrator's name [admin]: ", "")
		answer("start the daemon now, and at every boot [yes]: ", "no")
	}, line...)
	if code != exitFine || !strings.Contains(out, "made     admin certificate      admin") || !strings.Contains(out, "(--no-start)") {
		t.Fatalf("exit code %d: %s%s", code, out, errs)
	}
	names := strings.Join(viewCertificate(leafOf(t, filepath.Join(dir, "tls", "tls.crt")), "").SANs, " ")
	if !strings.Contains(names, "jump-1.example.org") || !strings.Contains(names, "192.0.2.7") || !strings.Contains(names, "127.0.0.1") {
		t.Errorf("the certificate is for %s", names)
	}
	if code, out, errs := atTerminal(t, p, func() {}, append(line, "--no-start")...); code != exitFine || strings.Contains(out, "\nmade") {
		t.Errorf("again: exit code %d: %s%s", code, out, errs)
	}

	if code, _, errs := runLine(t.Context(), false, "pki", "issue", "ops-laptop"); code != exitFine {
		t.Fatal(errs)
	}
	undo := []string{"init", "--undo", "--config", path}
	if code, out, _ := atTerminal(t, p, func() { answer("as jump-1? [y/N] ", "") }, undo...); code != exitFailed || out != "" {
		t.Errorf("a no: exit code %d: %s", code, out)
	}
	code, out, _ = atTerminal(t, p, func() {
		answer("as jump-1? [y/N] ", "y")
		answer("has issued certificates to ops-laptop", "n")
	}, undo...)
	if code != exitFailed || !strings.Contains(out, "kept     ca ") || !strings.Contains(out, "removed  file ") {
		t.Errorf("exit code %d: %s", code, out)
	}
	code, out, _ = atTerminal(t, p, func() {
		answer("as jump-1? [y/N] ", "y")
		answer("has issued certificates to ops-laptop", "y")
	}, undo...)
	if _, err := os.Stat(dir); code != exitFine || !os.IsNotExist(err) {
		t.Errorf("exit code %d, %v: %s", code, err, out)
	}
}

// The policy that a host begins with makes the administrator one, whatever the name,
// and nobody else.
func TestPolicyOfTheAdministrator(t *testing.T) {
	for _, admin := range []string{"admin", "root@jump-1", "ci-7", "operator-1"} {
		text, err := policyText(admin)
		if err != nil {
			t.Fatal(err)
		}
		p, err := parsePolicy("policy.toml", text)
		if err != nil || !isAdmin(p, admin) {
			t.Errorf("%s is no admin: %v", admin, err)
		}
		for _, other := range []string{"alice", "operator-2", "ci-8", admin + "x"} {
			if other != "adminx" && isAdmin(p, other) {
				t.Errorf("for %s %s is an admin", admin, other)
			}
		}
	}
}

// A root's own entry dials the host itself, whatever the daemon listens on.
func TestDialled(t *testing.T) {
	for address, want := range map[string]string{
		"0.0.0.0:50051": "127.0.0.1", ":50051": "127.0.0.1", "[::]:50051": "127.0.0.1", "192.0.2.1:50051": "192.0.2.1",
		"[2001:db8::1]:50051": "2001:db8::1", "jump-1.example.org:50051": "jump-1.example.org",
	} {
		if got := dialled(address); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

// The names of a host are such that the CA takes all of them.
func TestHostNames(t *testing.T) {
	names := hostNames(t.Context(), "")
	if len(names) == 0 || !strings.Contains(strings.Join(names, " "), "127.0.0.1") || !strings.Contains(strings.Join(names, " "), "localhost") {
		t.Errorf("this host is called %q", names)
	}
	if missing := missingNames(names, []string{"LOCALHOST", "127.0.0.1", "other.example.org"}); strings.Join(missing, " ") != "other.example.org" {
		t.Errorf("missing are %q", missing)
	}
}
