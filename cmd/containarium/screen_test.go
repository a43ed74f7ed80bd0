package main

import (
	"crypto/x509"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// onScreen runs a command line on a terminal that has somebody before it. columns
// is how wide it is.
func onScreen(t *testing.T, columns *atomic.Int64, args ...string) (p *pty, errs *awaited, ended chan int) {
	t.Helper()
	p = newPTY(t)
	out, err := p.open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = out.Close() })
	errs, ended = &awaited{}, make(chan int, 1)
	screen := &terminal{
		in: strings.NewReader(""), out: out, err: errs, tty: p.open, colour: true,
		window: func() (int, int, error) { return int(columns.Load()), 24, nil },
	}
	go func() { ended <- run(t.Context(), screen, append([]string{"containarium"}, args...)) }()
	return p, errs, ended
}

func wide(columns int64) *atomic.Int64 {
	n := &atomic.Int64{}
	n.Store(columns)
	return n
}

// ends presses a key and checks that the terminal is given back.
func (p *pty) ends(t *testing.T, key string, ended chan int, want int) {
	t.Helper()
	if _, err := p.WriteString(key); err != nil {
		t.Fatal(err)
	}
	p.see(t, leaveScreen)
	if code := exitOf(t, ended); code != want {
		t.Errorf("exit code %d, want %d", code, want)
	}
	if !p.echoes(t) {
		t.Error("the terminal shows nothing any more")
	}
	_, _ = p.WriteString("\n") // ends the read
}

// A screen is drawn anew when it gets another size, and given back when the
// program is told to end.
func TestScreenSignals(t *testing.T) {
	asAdmin(t)
	mustRun(t, "create", "alice", "--ssh-key", publicKey(t), "--no-wait")
	columns := wide(200)
	p, errs, ended := onScreen(t, columns, "top", "--interval", "1h")
	p.see(t, "PRESSURE")
	p.see(t, "(host)")
	p.seen.Reset()
	columns.Store(20)
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	p.see(t, ellipsis)
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.see(t, leaveScreen)
	if code := exitOf(t, ended); code != exitFailed || !oneLine(errs.String()) {
		t.Errorf("exit code %d: %s", code, errs)
	}
	_, _ = p.WriteString("\n")
}

// A screen has no more lines than the terminal.
func TestScreenIsCut(t *testing.T) {
	terminal, out, _ := capture(false)
	terminal.window = func() (int, int, error) { return 80, 3, nil }
	s := &screen{t: terminal}
	lines := []string{"a", "b", "c", "d"}
	for n, want := range map[int]string{
		2: "\x1b[H\x1b[2Ka\r\n\x1b[2Kb\r\n\x1b[J",
		3: "\x1b[H\x1b[2Ka\r\n\x1b[2Kb\r\n\x1b[2Kc",
		4: "\x1b[H\x1b[2Ka\r\n\x1b[2Kb\r\n\x1b[2K… 2 more",
	} {
		out.Reset()
		if err := s.draw(func(int, int) []string { return lines[:n] }); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("%d lines: %q, want %q", n, out, want)
		}
	}
}

// What a screen would cover is told before it.
func TestExpiryIsToldBeforeAScreen(t *testing.T) {
	d := asAdmin(t)
	files := d.CA.Client(t, "admin", func(c *x509.Certificate) { c.NotBefore = c.NotBefore.Add(-10 * time.Hour) }).WriteFiles(t, t.TempDir(), d.CA)
	t.Setenv("CONTAINARIUM_CERT", files.Cert)
	t.Setenv("CONTAINARIUM_KEY", files.Key)
	for _, command := range []string{"watch", "top"} {
		p := newPTY(t)
		out, err := p.open()
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan int, 1)
		screen := &terminal{in: strings.NewReader(""), out: out, err: out, errTTY: true, tty: p.open, window: func() (int, int, error) { return 200, 24, nil }}
		go func() { ended <- run(t.Context(), screen, []string{"containarium", command}) }()
		p.see(t, "q ends it")
		before, after, _ := strings.Cut(p.seen.String(), enterScreen)
		if !strings.Contains(before, "warning: your certificate expires in ") || strings.Contains(after, "warning") {
			t.Errorf("%s: %q, then %q", command, before, after)
		}
		p.ends(t, "q", ended, exitFine)
		_ = out.Close()
	}
}
