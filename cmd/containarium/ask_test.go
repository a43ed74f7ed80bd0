package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pty is a terminal and the person in front of it.
type pty struct {
	*os.File // what the person types and sees
	tty      string
	seen     bytes.Buffer
	mute     bool // it showed nothing any more of what was waited for
}

func newPTY(t *testing.T) *pty {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	p := &pty{File: master, tty: fmt.Sprintf("/dev/pts/%d", number)}
	keep, err := p.open() // with nobody at the other end a read fails
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = keep.Close() })
	return p
}

func (p *pty) open() (*os.File, error) { return os.OpenFile(p.tty, os.O_RDWR|unix.O_NOCTTY, 0) }

// patience bounds each wait of a test at a terminal.
const patience = time.Minute

// see reads what is shown until the text is there. Once it waited in vain it does
// not wait again.
func (p *pty) see(t *testing.T, text string) {
	t.Helper()
	buffer := make([]byte, 1024)
	for until := time.Now().Add(patience); !p.mute && !strings.Contains(p.seen.String(), text); {
		ready := []unix.PollFd{{Fd: int32(p.Fd()), Events: unix.POLLIN}} //nolint:gosec // a small number
		n, err := unix.Poll(ready, int(max(0, time.Until(until).Milliseconds())))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err == nil && n == 0:
			err = os.ErrDeadlineExceeded
		case err == nil:
			n, err = p.Read(buffer)
		}
		if err != nil {
			t.Errorf("%q was never shown, but %q: %v", text, p.seen.String(), err)
			p.mute = true
			return
		}
		p.seen.Write(buffer[:n])
	}
}

// patient is a context for a question that nobody may ever answer.
func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	return ctx
}

// exitOf waits for the end of a command line that a test has run beside it.
func exitOf(t *testing.T, ended <-chan int) int {
	t.Helper()
	select {
	case code := <-ended:
		return code
	case <-time.After(patience):
		t.Fatal("the command does not end")
		return 0
	}
}

// echoes reports whether the terminal shows what is typed.
func (p *pty) echoes(t *testing.T) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(p.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// hidden waits until the terminal shows nothing of what is typed.
func (p *pty) hidden(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for until := time.Now().Add(patience); p.echoes(t); <-tick.C {
		if time.Now().After(until) {
			t.Error("the terminal goes on to show what is typed")
			return
		}
	}
}

func TestAskSecret(t *testing.T) {
	p := newPTY(t)
	terminal, out, errs := capture(true)
	terminal.tty = p.open
	typed := func(lines ...string) {
		for _, line := range lines {
			p.see(t, ": ")
			p.seen.Reset()
			p.hidden(t)
			_, _ = p.WriteString(line + "\n")
			p.see(t, "\n")
			if strings.Contains(p.seen.String(), line) {
				t.Errorf("the secret is shown: %q", p.seen.String())
			}
		}
	}
	for _, test := range []struct {
		lines      []string
		want, fail string
	}{
		{lines: []string{"sesame", "sesame"}, want: "sesame"},
		{lines: []string{"sesame", "simsim"}, fail: "not the same"},
	} {
		done := make(chan struct{})
		go func() { defer close(done); typed(test.lines...) }()
		got, err := terminal.askTwice(patient(t), "a passphrase")
		<-done
		if string(got) != test.want || (err == nil) != (test.fail == "") || err != nil && !strings.Contains(err.Error(), test.fail) {
			t.Errorf("%v: %q, %v", test.lines, got, err)
		}
		if !p.echoes(t) {
			t.Fatal("the terminal shows nothing any more")
		}
	}
	if out.Len()+errs.Len() > 0 {
		t.Errorf("standard output and error have %q, %q", out, errs)
	}
}

// After Ctrl-C the terminal is as it was.
func TestAskInterrupted(t *testing.T) {
	p := newPTY(t)
	terminal, _, _ := capture(true)
	terminal.tty = p.open
	ctx, interrupt := context.WithCancel(patient(t))
	go func() {
		p.see(t, ": ")
		p.hidden(t)
		interrupt()
	}()
	if secret, err := terminal.askSecret(ctx, "a passphrase"); err == nil || !errors.Is(ctx.Err(), context.Canceled) {
		t.Errorf("%q, %v", secret, err)
	}
	if !p.echoes(t) {
		t.Error("the terminal shows nothing any more")
	}
	_, _ = p.WriteString("\n") // ends the read
}

func TestConfirm(t *testing.T) {
	for answer, want := range map[string]bool{"y": true, "Yes ": true, "": false, "n": false, "yesterday": false} {
		p := newPTY(t)
		terminal, _, _ := capture(true)
		terminal.tty = p.open
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.see(t, "Sure? [y/N] ")
			_, _ = p.WriteString(answer + "\n")
		}()
		got, err := terminal.confirm(patient(t), "Sure?")
		<-done
		if got != want || err != nil {
			t.Errorf("%q: %t, %v", answer, got, err)
		}
	}
	terminal, _, _ := capture(false)
	if got, err := terminal.confirm(t.Context(), "Sure?"); got || err == nil {
		t.Errorf("nobody consents: %t, %v", got, err)
	}
}
