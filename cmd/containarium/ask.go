package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
)

// errNobody says that there is no terminal on which to ask.
var errNobody = errors.New("there is no terminal to ask on")

// openTerminal opens the terminal that the program runs on, so that questions
// and answers stay out of what flows through standard input and output. Where
// neither standard input nor standard error is one, nobody watches.
func openTerminal() (*os.File, error) {
	if !term.IsTerminal(int(os.Stdin.Fd())) && !term.IsTerminal(int(os.Stderr.Fd())) {
		return nil, errNobody
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, errNobody
	}
	return tty, nil
}

// askSecret asks for a secret, which is not shown. The terminal is as before when
// it returns, also after Ctrl-C.
func (t *terminal) askSecret(ctx context.Context, prompt string) ([]byte, error) {
	return ask(ctx, t, prompt+": ", func(tty *os.File) ([]byte, error) {
		secret, err := term.ReadPassword(int(tty.Fd()))
		_, _ = fmt.Fprintln(tty)
		return secret, err
	})
}

// askTwice asks for a new secret twice and refuses two that differ.
func (t *terminal) askTwice(ctx context.Context, what string) ([]byte, error) {
	first, err := t.askSecret(ctx, what)
	if err != nil {
		return nil, err
	}
	second, err := t.askSecret(ctx, "the same again")
	if err != nil {
		return nil, err
	}
	if string(first) != string(second) {
		return nil, errors.New("the two are not the same")
	}
	return first, nil
}

// confirm asks a question; only "y" and "yes" are consent.
func (t *terminal) confirm(ctx context.Context, question string) (bool, error) {
	answer, err := ask(ctx, t, question+" [y/N] ", func(tty *os.File) (string, error) {
		line, err := bufio.NewReader(tty).ReadString('\n')
		return strings.ToLower(strings.TrimSpace(line)), err
	})
	return answer == "y" || answer == "yes", err
}

// canAsk reports whether there is somebody to be asked.
func (t *terminal) canAsk() bool {
	if t.tty == nil {
		return false
	}
	tty, err := t.tty()
	if err != nil {
		return false
	}
	_ = tty.Close()
	return true
}

// ask prints a prompt and reads the answer until the context ends; then the read
// goes on behind, with the program about to end.
func ask[T any](ctx context.Context, t *terminal, prompt string, read func(*os.File) (T, error)) (T, error) {
	var none T
	t.endProgress()
	if t.tty == nil {
		return none, errNobody
	}
	tty, err := t.tty()
	if err != nil {
		return none, err
	}
	state, err := term.GetState(int(tty.Fd()))
	if err != nil {
		return none, errNobody
	}
	if _, err := fmt.Fprint(tty, "containarium: "+clean(prompt)); err != nil {
		return none, err
	}
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		value, err := read(tty)
		done <- answer{value, err}
	}()
	select {
	case a := <-done:
		_ = tty.Close()
		if a.err != nil {
			return none, fmt.Errorf("nothing was entered: %w", a.err)
		}
		return a.value, nil
	case <-ctx.Done():
		_ = term.Restore(int(tty.Fd()), state)
		_, _ = fmt.Fprintln(tty)
		return none, ctx.Err()
	}
}
