package limit

import (
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	logtest "github.com/sirupsen/logrus/hooks/test"
)

func failed(errno syscall.Errno) accepted {
	return accepted{err: &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", errno)}}
}

// TestAcceptFailures: a lack of files is waited out, longer each time up to a
// second, and forgotten with the first success.
func TestAcceptFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := newNetwork()
		log, hook := logtest.NewNullLogger()
		allowed, err := ParseAllowFrom([]string{alice, bob})
		if err != nil {
			t.Fatal(err)
		}
		l := NewListener(inner, Config{AllowFrom: allowed, Log: log})
		begin := time.Now()
		var waits []time.Duration
		go func() {
			for range 12 {
				inner.accepts <- failed(syscall.EMFILE)
				waits = append(waits, time.Since(begin))
			}
			inner.accepts <- accepted{conn: from(alice)}
			inner.accepts <- failed(syscall.ECONNABORTED)
			inner.accepts <- accepted{conn: from(mallory)} // refused, and yet no failure
			inner.accepts <- failed(syscall.ENOMEM)
			inner.accepts <- accepted{conn: from(bob)}
		}()
		first, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		// 5+10+20+...+640 ms, then 1 s four times.
		if took := time.Since(begin); took != 1275*time.Millisecond+4*time.Second {
			t.Errorf("12 failures took %v, and began at %v", took, waits)
		}
		begin = time.Now()
		second, err := l.Accept()
		if took := time.Since(begin); err != nil || took != 2*minPause {
			t.Errorf("the next two failures took %v, %v; want %v", took, err, 2*minPause)
		}
		if lines := warnings(hook); len(lines) != 2 || lines[0] != messages[acceptFailed] || lines[1] != messages[notAllowed] {
			t.Errorf("in the log: %q", lines)
		}
		if got := l.Counts().AcceptFailed; got != 14 {
			t.Errorf("counted %d failures, want 14", got)
		}
		_, _ = first.Close(), second.Close()
	})
}

// TestCloseEndsAWait: a stop does not wait for a pause to end.
func TestCloseEndsAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := newNetwork()
		log, _ := logtest.NewNullLogger()
		l := NewListener(inner, Config{Log: log})
		ended := make(chan error, 1)
		go func() {
			_, err := l.Accept()
			ended <- err
		}()
		inner.accepts <- failed(syscall.ENFILE)
		synctest.Wait()
		begin := time.Now()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, net.ErrClosed) || time.Since(begin) != 0 {
			t.Errorf("%v after %v; want closed, at once", err, time.Since(begin))
		}
		_ = l.Close() // twice is no harm
	})
}

// TestAcceptEnds with an error that does not pass.
func TestAcceptEnds(t *testing.T) {
	inner := newNetwork()
	log, _ := logtest.NewNullLogger()
	l := NewListener(inner, Config{Log: log})
	go func() { inner.accepts <- failed(syscall.EBADF) }()
	if _, err := l.Accept(); !errors.Is(err, syscall.EBADF) {
		t.Errorf("got %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("when closed: %v", err)
	}
}

// TestFewFiles: the number of connections keeps within the limit of open files.
func TestFewFiles(t *testing.T) {
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before) })
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 1000, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	log, hook := logtest.NewNullLogger()
	l := NewListener(newNetwork(), Config{Log: log})
	if got := l.config.Connections; got != 1000-descriptors {
		t.Errorf("max_connections is %d", got)
	}
	if lines := warnings(hook); len(lines) != 1 || !strings.Contains(lines[0], "raise LimitNOFILE") {
		t.Errorf("in the log: %q", lines)
	}
	if l = NewListener(newNetwork(), Config{Connections: 100, Log: log}); l.config.Connections != 100 {
		t.Errorf("max_connections is %d, want 100", l.config.Connections)
	}
}
