// Package audit writes one line of JSON for each call that reached the daemon,
// and for what else an auditor asks about. Each line carries a hash over itself
// and the line before, which Verify follows over all files of a log. The chain
// has no secret: it shows what was changed by whoever could not write every later
// line anew, and to those who noted a hash elsewhere, everything.
package audit

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"
	"time"
)

// Log writes records to a sink. It is safe for concurrent use.
type Log struct {
	mu   sync.Mutex
	sink sink
	path string // of a file; empty for other sinks
	last sum
	buf  []byte
	// dirty says that the sink is in the middle of a line.
	dirty bool
	// torn is what stands behind the last whole line; nil for nothing.
	torn *torn
}

// torn counts and hashes what is left of lines that could not be written whole.
type torn struct {
	bytes int64
	hash  hash.Hash
}

const tornFormat = "%d bytes of an unfinished line stand before this one; their SHA-256 is %64s"

func (t *torn) add(b []byte) {
	t.bytes += int64(len(b))
	_, _ = t.hash.Write(b) // never fails
}

func (t *torn) reason() string { return fmt.Sprintf(tornFormat, t.bytes, sum(t.hash.Sum(nil))) }

// Start opens a log and writes the event start with that reason, so that a log
// that can not be written is known at once. The target is a file, which is made,
// readable by its owner alone, where it is missing; "-" for standard output; or
// "journal" for journald.
//
// The chain of a file goes on from its last whole line or, where the file is new
// or empty, from that of the file that was rotated last. It fails closed: a
// file that others can write, that another process writes, or whose end is no
// audit log is an error. In the other sinks each Start begins a new chain.
func Start(target, reason string) (*Log, error) {
	l, note, err := open(target)
	if err != nil {
		return nil, err
	}
	if note != "" {
		reason += "; " + note
	}
	if err := l.Write(Record{Time: time.Now(), Event: EventStart, Reason: reason}); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func open(target string) (*Log, string, error) {
	switch target {
	case "-":
		return New(os.Stdout), "", nil
	case "journal":
		j, err := openJournal(journalSocket)
		if err != nil {
			return nil, "", fmt.Errorf("open audit log: %w", err)
		}
		return &Log{sink: j}, "", nil
	}
	f, end, err := openFile(target)
	if err != nil {
		return nil, "", fmt.Errorf("open audit log: %w", err)
	}
	if end.empty {
		if end, err = rotatedEnd(target); err != nil {
			return nil, "", errors.Join(fmt.Errorf("open audit log: %w", err), f.Close())
		}
	}
	l := &Log{sink: stream{f}, path: target, last: end.last}
	if len(end.torn) > 0 {
		l.tear(end.torn)
	}
	l.dirty = end.dirty // not where that is the end of another file
	return l, end.note, nil
}

// New returns a Log that writes to out and begins a chain, one Write for each
// record.
func New(out io.Writer) *Log { return &Log{sink: stream{out}} }

// buffers holds what records are encoded into before it is their turn.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// Write writes one record as one line. After an error the record may be missing,
// or there in part, and the next Write ends the part and accounts for it: what is
// to be done must not be done.
func (l *Log) Write(r Record) error {
	r.clean()
	b, _ := buffers.Get().(*[]byte)
	defer buffers.Put(b)
	var err error
	if *b, err = r.appendJSON((*b)[:0]); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.write(*b, r.priority())
}

// lineEnd is where a line ends in what is written, and the hash of that line.
type lineEnd struct {
	newline int
	own     sum
}

// write writes the record, encoded up to the chain, and before it what ends and
// accounts for an unfinished line.
func (l *Log) write(record []byte, p priority) error {
	b, ends := l.buf[:0], make([]lineEnd, 0, 2)
	prev := l.last
	add := func(record []byte) {
		from := len(b)
		b, prev = seal(append(b, record...), from, prev)
		ends = append(ends, lineEnd{len(b) - 1, prev})
	}
	if l.dirty {
		b = append(b, '\n')
	}
	if l.torn != nil {
		r := Record{Time: time.Now(), Event: EventTorn, Reason: l.torn.reason()}
		r.clean()
		event, err := r.appendJSON(nil)
		if err != nil {
			return err
		}
		add(event)
	}
	add(record)
	n, err := l.sink.write(b, p)
	l.wrote(b, n, ends)
	l.buf = b
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("write audit record: %w", err)
	}
	return nil
}

// wrote takes note that the first n bytes of b were written. A line is there when
// all of it is but the newline.
func (l *Log) wrote(b []byte, n int, ends []lineEnd) {
	rest := b[:n]
	if l.dirty && l.torn == nil && n > 0 { // the newline of a whole line
		l.dirty, rest = false, rest[1:]
	}
	for _, end := range ends {
		if n < end.newline {
			break
		}
		l.last, l.torn, l.dirty = end.own, nil, n == end.newline
		rest = b[min(n, end.newline+1):n]
	}
	if len(rest) > 0 {
		l.tear(rest)
	}
}

// tear takes note of part of a line at the end of the sink.
func (l *Log) tear(part []byte) {
	if l.torn == nil {
		l.torn = &torn{hash: sha256.New()}
	}
	l.torn.add(part)
	l.dirty = true
}

// Last returns the hash of the last line. Noted elsewhere, it shows later that
// nothing up to it was cut off or replaced.
func (l *Log) Last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last.String()
}

// Reopen goes on in the file that has the log's path now, as after a rotation,
// and says so in its first line; the chain goes on. Where that file can not be
// opened, the log stays with the old one. It does nothing where the file is the
// same, or the sink is none.
func (l *Log) Reopen() error {
	if l.path == "" {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.sink.(stream)
	if !ok {
		return fmt.Errorf("reopen audit log: %w", os.ErrClosed)
	}
	old, ok := s.w.(*os.File)
	if !ok || same(old, l.path) {
		return nil
	}
	f, end, err := openFile(l.path)
	if err != nil {
		return fmt.Errorf("reopen audit log: %w", err)
	}
	l.sink, l.dirty = stream{f}, end.dirty
	r := Record{Time: time.Now(), Event: EventReopen, Reason: "the log was rotated"}
	r.clean()
	event, err := r.appendJSON(nil)
	if err == nil {
		err = l.write(event, r.priority())
	}
	return errors.Join(err, old.Close())
}

// Close closes the sink, standard output excepted. What is written then is an
// error.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	sink := l.sink
	l.sink = closed{}
	return sink.close()
}
