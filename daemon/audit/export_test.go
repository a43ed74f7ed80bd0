package audit

import (
	"io"
	"strings"
)

// Continue is New behind a line, as who forges a log can have it.
func Continue(out io.Writer, line string) *Log {
	l := New(out)
	_, l.last, _ = parseLine([]byte(strings.TrimSuffix(line, "\n")))
	return l
}

// NewJournal returns a Log that writes to the journal at the socket.
func NewJournal(socket string) (*Log, error) {
	j, err := openJournal(socket)
	if err != nil {
		return nil, err
	}
	return &Log{sink: j}, nil
}
