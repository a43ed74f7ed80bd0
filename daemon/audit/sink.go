package audit

import (
	"io"
	"os"
)

// sink is where lines go. A write is one or more lines; it returns how many bytes
// of them are there now.
type sink interface {
	write(lines []byte, p priority) (int, error)
	close() error
}

// priority is a syslog severity, a digit.
type priority byte

// priority is "notice" for what an operator may want to look at, else "info".
func (r *Record) priority() priority {
	if r.Decision == "deny" || r.Event == EventHandshake || r.Event == EventTorn {
		return '5'
	}
	return '6'
}

// stream is a file, or whatever a Log was made with.
type stream struct{ w io.Writer }

func (s stream) write(lines []byte, _ priority) (int, error) { return s.w.Write(lines) }

func (s stream) close() error {
	if c, ok := s.w.(io.Closer); ok && s.w != os.Stdout {
		return c.Close()
	}
	return nil
}

// closed is the sink of a Log that was closed.
type closed struct{}

func (closed) write([]byte, priority) (int, error) { return 0, os.ErrClosed }
func (closed) close() error                        { return os.ErrClosed }
