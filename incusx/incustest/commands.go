package incustest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/lxc/incus/v6/shared/api"
)

// What Incus says of websockets.
var (
	errWebsockets  = errors.New("Timed out waiting for websockets to connect") //nolint:staticcheck // Incus' words
	errNoWebsocket = errors.New("Only websocket operations can be connected")  //nolint:staticcheck // Incus' words
	errNoCommand   = errors.New("Command not found")                           //nolint:staticcheck // Incus' words
	errTaken       = api.StatusErrorf(http.StatusInternalServerError, "Websocket number already connected")
)

// The exit codes of account.sh, and of a shell.
const (
	exitNoSSHD   = 64
	exitNoSudo   = 65
	exitNotFound = 127
)

type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// runCommand runs one of the few commands that a guest has, as user, and returns
// its exit code. It ends with ctx, which stands for a kill.
func (s *Server) runCommand(ctx context.Context, g *guest, user string, argv []string, std stdio) int {
	if len(argv) == 0 {
		return exitNotFound
	}
	switch name, args := argv[0], argv[1:]; name {
	case "/bin/sh", "sh", "/bin/bash", "bash":
		if len(args) >= 4 && args[2] == "containarium-account" {
			return s.account(g, args[3], args[4:], std)
		}
		if len(args) >= 5 && args[2] == "containarium-prepare" {
			return s.prepare(g, args[3], args[4] != "", std)
		}
		if len(args) >= 2 && args[0] == "-c" {
			return s.runScript(ctx, g, user, args[1], std)
		}
	case "sudo":
		if len(args) > 0 && args[0] == "-n" {
			args = args[1:]
		}
		return s.runCommand(ctx, g, "root", args, std)
	case "true", "/bin/true":
		return 0
	case "false", "/bin/false":
		return 1
	case "echo", "/bin/echo":
		_, _ = fmt.Fprintln(std.out, strings.Join(args, " "))
		return 0
	case "cat", "/bin/cat":
		return s.cat(ctx, g, args, std)
	case "hostname":
		_, _ = fmt.Fprintln(std.out, g.instance.name)
		return 0
	case "whoami":
		_, _ = fmt.Fprintln(std.out, user)
		return 0
	case "id":
		return s.id(g, user, args, std)
	case "du":
		return s.du(g, std)
	case "dd":
		return s.dd(g, args, std)
	case "sleep":
		return sleep(ctx, args)
	}
	_, _ = fmt.Fprintf(std.err, "%s: command not found\n", argv[0])
	return exitNotFound
}

// runScript runs simple commands, one after the other: words and quotes, ";",
// "&&", ">&2" and "exit N"; nothing else of a shell.
func (s *Server) runScript(ctx context.Context, g *guest, user, script string, std stdio) int {
	code := 0
	for line := range strings.FieldsFuncSeq(script, func(r rune) bool { return r == ';' || r == '\n' }) {
		for part := range strings.SplitSeq(line, "&&") {
			argv := words(part)
			if len(argv) == 0 {
				continue
			}
			if argv[0] == "exit" {
				if len(argv) > 1 {
					code, _ = strconv.Atoi(argv[1])
				}
				return code
			}
			to := std
			if last := argv[len(argv)-1]; last == ">&2" {
				argv, to.out = argv[:len(argv)-1], std.err
			}
			if code = s.runCommand(ctx, g, user, argv, to); code != 0 {
				break
			}
		}
	}
	return code
}

// words splits at blanks outside quotes.
func words(s string) []string {
	var found []string
	var word strings.Builder
	var quote rune
	open := false
	for _, r := range s {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, open = r, true
		case quote == 0 && (r == ' ' || r == '\t'):
			if open {
				found, open = append(found, word.String()), false
				word.Reset()
			}
		default:
			word.WriteRune(r)
			open = true
		}
	}
	if open {
		found = append(found, word.String())
	}
	return found
}

func (s *Server) cat(ctx context.Context, g *guest, paths []string, std stdio) int {
	if len(paths) == 0 {
		if _, err := io.Copy(std.out, reader{ctx, std.in}); err != nil {
			return exitKilled
		}
		return 0
	}
	for _, path := range paths {
		s.mu.Lock()
		f, ok := g.files[path]
		s.mu.Unlock()
		if path == "/proc/[0-9]*/comm" {
			f, ok = file{content: g.processes()}, true
		}
		if !ok {
			_, _ = fmt.Fprintf(std.err, "cat: %s: No such file or directory\n", path)
			return 1
		}
		_, _ = std.out.Write(f.content)
	}
	return 0
}

// reader is a reader that a kill ends.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if closer, ok := r.Reader.(io.Closer); ok {
		defer context.AfterFunc(r.ctx, func() { _ = closer.Close() })()
	}
	n, err := r.Reader.Read(p)
	if r.ctx.Err() != nil {
		return n, r.ctx.Err()
	}
	return n, err
}

func (s *Server) id(g *guest, user string, args []string, std stdio) int {
	s.mu.Lock()
	uid := g.users[user]
	s.mu.Unlock()
	switch strings.Join(args, " ") {
	case "-un":
		_, _ = fmt.Fprintln(std.out, user)
	case "-u":
		_, _ = fmt.Fprintln(std.out, uid)
	case "":
		_, _ = fmt.Fprintf(std.out, "uid=%d(%s) gid=%d(%s) groups=%d(%s)\n", uid, user, uid, user, uid, user)
	default:
		return 1
	}
	return 0
}

// sleep sleeps for so many seconds, or until it is killed.
func sleep(ctx context.Context, args []string) int {
	var end <-chan time.Time
	if len(args) == 1 && args[0] != "infinity" {
		seconds, err := strconv.ParseFloat(args[0], 64)
		if err != nil {
			return 1
		}
		timer := time.NewTimer(time.Duration(seconds * float64(time.Second)))
		defer timer.Stop()
		end = timer.C
	}
	select {
	case <-end:
		return 0
	case <-ctx.Done():
		return exitKilled
	}
}
