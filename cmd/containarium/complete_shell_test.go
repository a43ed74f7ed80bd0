package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// needs is what a test needs that a machine may lack; in CI that is a failure.
func needs(t *testing.T, what string) {
	t.Helper()
	if _, err := exec.LookPath(what); err != nil && os.Getenv("CI") != "" {
		t.Fatalf("%s is not installed", what)
	} else if err != nil {
		t.Skipf("NOT RUN: what needs %[1]s: apt-get install %[1]s", what)
	}
}

// Real shells, at a terminal, with somebody who presses Tab.
func TestCompletionInShells(t *testing.T) {
	for shell, test := range map[string]struct {
		args []string
		// begin loads the script, and has Ctrl-X print the line and begin a new one.
		begin string
	}{
		"bash": {[]string{"--norc", "--noprofile", "-i"}, `source <(containarium completion bash); bind -x '"\C-x": echo "LINE=<$READLINE_LINE>"; READLINE_LINE='; bind 'set bell-style none'`},
		"zsh":  {[]string{"-f", "-i"}, `autoload -Uz compinit; compinit -u -D; source <(containarium completion zsh); show() { print -r -- "LINE=<$BUFFER>"; BUFFER= }; zle -N show; bindkey '^X' show; unsetopt beep`},
	} {
		t.Run(shell, func(t *testing.T) {
			needs(t, shell)
			completingFleet(t)
			p := newPTY(t)
			tty, err := p.open()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), shell, test.args...)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
			cmd.Env = append(os.Environ(), "TERM=dumb", "PS1=", "INPUTRC=/dev/null", "HISTFILE=")
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			_ = tty.Close()
			defer func() { _ = cmd.Wait() }()
			defer cmd.Process.Kill() //nolint:errcheck // it may have ended
			send := func(text string) {
				if _, err := p.WriteString(text); err != nil {
					t.Fatal(err)
				}
			}
			send(test.begin + "; echo RE''ADY\n")
			p.see(t, "READY")
			for _, line := range []struct{ typed, want string }{
				{"containarium cre\t", "containarium create "},
				{"containarium ls --stat\tru\t", "containarium ls --state running "},
				{"containarium ls --state=ru\t", "containarium ls --state=running "},
				{"containarium info al\t", "containarium info alice "},
				{"containarium info jump-2:\t", "containarium info jump-2:carol "},
				{"containarium rm bo\tal\t", "containarium rm bob alice "},
				{"containarium create jump-2\t", "containarium create jump-2:"},
				{"containarium info nobody\t", "containarium info nobody"},
				{"containarium ls --server e\t", "containarium ls --server eu "},
			} {
				send(line.typed + "\x18")
				p.see(t, fmt.Sprintf("LINE=<%s>", line.want))
			}
		})
	}
}

func TestCompletionInFish(t *testing.T) {
	needs(t, "fish")
	completingFleet(t)
	for line, want := range map[string]string{
		"containarium cre":           "create\tmake a container for a user and wait until they can log in",
		"containarium info al":       "alice",
		"containarium info jump-2:":  "jump-2:carol",
		"containarium ls --state ru": "running",
		"containarium info nobody":   "",
	} {
		out, err := exec.CommandContext(t.Context(), "fish", "--no-config", "-c", `containarium completion fish | source; complete -C $argv[1]`, line).CombinedOutput()
		if got := strings.TrimSuffix(string(out), "\n"); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", line, got, err, want)
		}
	}
}
