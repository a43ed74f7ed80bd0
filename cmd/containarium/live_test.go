package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/footprintai/containarium/daemon/daemontest"
)

// front stands before a daemon, as a host does whose daemon comes and goes: it has
// one address all the time, and hangs up while there is no daemon behind it.
type front struct {
	address string
	mu      sync.Mutex
	behind  string
	open    map[net.Conn]bool
}

func newFront(t *testing.T, behind string) *front {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{address: listener.Addr().String(), behind: behind, open: map[net.Conn]bool{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { f.carry(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		f.to("")
		running.Wait()
	})
	return f
}

// to breaks all connections and has new ones go to a daemon; "" is none.
func (f *front) to(daemon string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.behind = daemon
	for conn := range f.open {
		_ = conn.Close()
	}
}

func (f *front) carry(conn net.Conn) {
	defer conn.Close() //nolint:errcheck // whatever becomes of it
	f.mu.Lock()
	if f.behind == "" {
		f.mu.Unlock()
		return
	}
	daemon, err := net.Dial("tcp", f.behind)
	if err == nil {
		f.open[conn] = true
	}
	f.mu.Unlock()
	if err != nil {
		return
	}
	defer daemon.Close() //nolint:errcheck // as above
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(conn, daemon)
		_ = conn.Close()
	})
	_, _ = io.Copy(daemon, conn)
	_ = daemon.Close()
	back.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, conn)
}

// awaited is an output that a test waits for.
type awaited struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (a *awaited) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.text.Write(p)
}

func (a *awaited) String() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.text.String()
}

// until waits for lines, which come in this order, from what was not seen yet, and
// forgets what came before them.
func (a *awaited) until(t *testing.T, lines ...string) {
	t.Helper()
	for _, line := range lines {
		daemontest.Wait(t, line, func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			_, rest, found := strings.Cut(a.text.String(), line)
			if found {
				a.text.Reset()
				a.text.WriteString(rest)
			}
			return found
		})
	}
}

// goOn runs a command line until interrupt, and returns what it prints.
func goOn(t *testing.T, args ...string) (out, errs *awaited, interrupt func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, errs = &awaited{}, &awaited{}
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, &terminal{in: strings.NewReader(""), out: out, err: errs}, append([]string{"containarium"}, args...))
	}()
	return out, errs, func() int { cancel(); return exitOf(t, ended) }
}

func mustRun(t *testing.T, args ...string) {
	t.Helper()
	if code, _, errs := runLine(t.Context(), false, args...); code != exitFine {
		t.Fatalf("%v: exit code %d: %s", args, code, errs)
	}
}
