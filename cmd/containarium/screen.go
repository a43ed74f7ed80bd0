package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

const (
	// A screen of its own without a cursor, on which long lines end at the edge; and
	// the one from before.
	enterScreen = "\x1b[?1049h\x1b[?25l\x1b[?7l"
	leaveScreen = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	// drawEvery bounds how often what changes all the time is drawn.
	drawEvery = 100 * time.Millisecond
	// keyInterrupt is Ctrl-C where the terminal makes no signal of it.
	keyInterrupt = 3
)

// errPressed is Ctrl-C on a screen.
var errPressed = cli.Exit("interrupted", exitInterrupted)

// screen is the whole terminal, for a command that shows what goes on.
type screen struct {
	t     *terminal
	tty   *os.File
	state *term.State
	keys  chan byte
}

// openScreen takes the terminal over until close, or returns nil where standard
// output is none or nobody can press a key. What before prints is not covered.
func (t *terminal) openScreen(before func()) *screen {
	if columns, _ := t.size(); columns == 0 || t.tty == nil {
		return nil
	}
	tty, err := t.tty()
	if err != nil {
		return nil
	}
	before()
	state, err := term.MakeRaw(int(tty.Fd()))
	if err != nil {
		_ = tty.Close()
		return nil
	}
	s := &screen{t, tty, state, make(chan byte)}
	_ = t.write(enterScreen) // what follows fails as well
	return s
}

// close gives the terminal back as it was.
func (s *screen) close() {
	_ = s.t.write(leaveScreen)
	_ = term.Restore(int(s.tty.Fd()), s.state)
	_ = s.tty.Close()
}

// read passes on what is pressed, until ctx ends and one key more.
func (s *screen) read(ctx context.Context) {
	key := make([]byte, 1)
	for {
		if n, err := s.tty.Read(key); err != nil || n == 0 {
			return
		}
		select {
		case s.keys <- key[0]:
		case <-ctx.Done():
			return
		}
	}
}

// run draws what frame makes for a screen of that size: at once, soon after each
// change, and every so often, since what it says of time gets old. It ends when
// ctx does, with q, with Ctrl-C and with a signal that ends the program.
func (s *screen) run(ctx context.Context, every time.Duration, changed <-chan struct{}, frame func(columns, lines int) []string) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGWINCH, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	go s.read(ctx)
	again := time.NewTicker(every)
	defer again.Stop()
	for {
		if err := s.draw(frame); err != nil {
			return err
		}
		var change <-chan struct{} // nothing comes out of nil
		pause := time.NewTimer(drawEvery)
		for drawn := true; drawn; {
			select {
			case <-pause.C:
				change = changed
			case <-change:
				drawn = false
			case <-again.C:
				drawn = false
			case got := <-signals:
				if got != syscall.SIGWINCH {
					return errors.New("ended by a signal: " + got.String())
				}
				drawn = false
			case key := <-s.keys:
				switch key {
				case 'q', 'Q':
					return nil
				case keyInterrupt:
					return errPressed
				}
			case <-ctx.Done():
				return nil
			}
		}
		pause.Stop()
	}
}

// draw puts lines over those from before. What does not fit is counted in the
// last one.
func (s *screen) draw(frame func(columns, lines int) []string) error {
	columns, height := s.t.size()
	lines := frame(columns, height)
	if height > 0 && len(lines) > height {
		lines = append(lines[:height-1:height-1], fmt.Sprintf("%s %d more", ellipsis, len(lines)-height+1))
	}
	var b strings.Builder
	b.WriteString("\x1b[H")
	for i, line := range lines {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString("\x1b[2K" + line)
	}
	if len(lines) < height {
		b.WriteString("\r\n\x1b[J")
	}
	return s.t.write(b.String())
}
