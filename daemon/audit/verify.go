package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Source is a file of a log, which Verify may read more than once.
type Source struct {
	Name string
	Open func() (io.ReadCloser, error)
}

// FileSource is the file of that path, which may be packed by gzip.
func FileSource(path string) Source {
	return Source{Name: path, Open: func() (io.ReadCloser, error) { return OpenFile(path) }}
}

// Options say what Verify expects.
type Options struct {
	// Last is a hash that was noted before, and must be that of one of the lines;
	// empty for none.
	Last string
	// Restarts allows that a start begins a new chain, as it does on standard output
	// and in the journal.
	Restarts bool
}

// Report says what a log holds whose chain is whole.
type Report struct {
	Lines int
	// From and To are the earliest and the latest time of a line.
	From, To time.Time
	// Prev is the hash before the first line, 64 zeros where that begins a chain, and
	// Hash that of the last.
	Prev, Hash string
	// Torn are the unfinished lines that a crash or a full disk left.
	Torn []Place
	// Tail is an unfinished line at the end, which the daemon writes at this moment
	// or will account for; nil for none.
	Tail *Place
	// Chains counts those that Options.Restarts allowed, from 1.
	Chains int
	// Since is how many lines follow the one of Options.Last; -1 without it.
	Since int
}

// Whole reports whether the first line begins a chain: nothing can stand before.
func (r *Report) Whole() bool { return r.Prev == sum{}.String() }

// Place is a line of a file, counted from 1.
type Place struct {
	File string `json:"file"`
	Line int    `json:"line"`
}

func (p Place) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// BrokenError is the first fault of a chain.
type BrokenError struct {
	Place
	What string
}

func (b *BrokenError) Error() string { return b.String() + ": " + b.What }

// ErrNotFound says that no line has the hash of Options.Last.
var ErrNotFound = errors.New("no line has the hash that was noted: lines were cut off at the end, or the log was replaced")

// Verify follows the chain over the sources, the oldest first. Where it is broken
// the error is a *BrokenError. It fails closed: whatever is no line of a log is a
// fault, unless the event behind it accounts for every byte.
//
// It can not see that lines were cut off at the end, or that all was replaced,
// but by Options.Last: then the error is ErrNotFound, with the report.
func Verify(sources []Source, o Options) (*Report, error) {
	v := &verifier{options: o, sources: sources, report: Report{Chains: 1, Since: -1}}
	if err := scan(sources, v.line); err != nil {
		return nil, err
	}
	r := &v.report
	if v.junk.several || v.junk.ended {
		return nil, v.notALine() // no crash leaves that
	}
	if v.junk.torn != nil {
		r.Tail = &v.junk.at
	}
	r.Hash = v.last.String()
	if r.Lines == 0 {
		r.Prev = r.Hash
	}
	if o.Last != "" && r.Since < 0 {
		return r, ErrNotFound
	}
	return r, nil
}

type verifier struct {
	options Options
	sources []Source
	report  Report
	// last is the hash of the last whole line, which is at lastAt.
	last   sum
	lastAt Place
	junk   junk
}

// line takes the next line, whole or not.
func (v *verifier) line(at Place, text []byte, ended bool) error {
	prev, own, ok := parseLine(text)
	switch {
	case !ok:
		v.junk.add(at, text, ended)
		return nil
	case v.junk.torn != nil && !v.accounts(text):
		return v.notALine()
	case !intact(text, own):
		return v.changed(at) // no crash leaves what ends like a line
	}
	if v.junk.torn != nil {
		v.report.Torn = append(v.report.Torn, v.junk.at)
		v.junk = junk{}
	}
	switch {
	case v.report.Lines == 0:
		v.report.Prev = prev.String()
	case prev == v.last:
	case prev == sum{} && bytes.Contains(text, []byte(`,"event":"start",`)):
		// Within a string the quotes would be escaped.
		if !v.options.Restarts {
			return v.outOfOrder(at, prev, "a new chain begins here, which a log does only where it was taken away, and in the journal and on standard output")
		}
		v.report.Chains++
	default:
		return v.outOfOrder(at, prev, "lines before this one were removed, or changed with their hashes")
	}
	v.last, v.lastAt = own, at
	v.count(text, own)
	return nil
}

// accounts reports whether a line is the event that says what the junk is.
func (v *verifier) accounts(text []byte) bool {
	var r Record
	var bytes int64
	var hash string
	if json.Unmarshal(text, &r) != nil || r.Event != EventTorn {
		return false
	}
	if _, err := fmt.Sscanf(r.Reason, tornFormat, &bytes, &hash); err != nil {
		return false
	}
	return r.Reason == v.junk.reason()
}

func (v *verifier) count(text []byte, own sum) {
	r := &v.report
	r.Lines++
	if r.Since >= 0 {
		r.Since++
	}
	if own.String() == v.options.Last {
		r.Since = 0
	}
	stamp, _, _ := bytes.Cut(text[len(`{"time":"`):], []byte{'"'})
	if t, err := time.Parse(time.RFC3339Nano, string(stamp)); err == nil {
		if r.From.IsZero() || t.Before(r.From) {
			r.From = t
		}
		if t.After(r.To) {
			r.To = t
		}
	}
}

// junk is what stands behind the last whole line and is none.
type junk struct {
	*torn
	at    Place
	ended bool // by a newline, which is not counted
	// several says that it has more than one line.
	several bool
}

func (j *junk) add(at Place, text []byte, ended bool) {
	if j.torn == nil {
		j.torn, j.at = &torn{hash: sha256.New()}, at
	}
	if j.ended {
		j.torn.add([]byte{'\n'})
		j.several = true
	}
	j.torn.add(text)
	j.ended = ended
}

// changed says what is wrong with what has the form of a line and another hash.
func (v *verifier) changed(at Place) error {
	if err := v.inserted(at); err != nil {
		return err
	}
	return &BrokenError{at, "this line was changed: its hash is that of another text"}
}

// notALine says what is wrong with what nothing accounts for.
func (v *verifier) notALine() error {
	if err := v.inserted(v.junk.at); err != nil {
		return err
	}
	return &BrokenError{v.junk.at, "this is no whole line of an audit log, and no event behind it accounts for it: it was changed or inserted"}
}

// outOfOrder says what is wrong where a whole line does not follow the last one.
func (v *verifier) outOfOrder(at Place, prev sum, otherwise string) error {
	if err := v.inserted(at); err != nil {
		return err
	}
	var follows, next Place
	var misordered bool
	_ = v.lines(func(place Place, _, own sum) bool { // what can not be read twice is not found
		if follows != (Place{}) && next == (Place{}) {
			next = place
		}
		if own == prev {
			follows = place
		}
		misordered = own.String() == v.report.Prev
		return misordered || next == at
	})
	switch {
	case misordered:
		return &BrokenError{at, "the files are not in order: the oldest must come first"}
	case next == Place{}, next == at:
		return &BrokenError{at, otherwise}
	}
	return &BrokenError{next, fmt.Sprintf("inserted or moved: what follows %s is %s", follows, at)}
}

// inserted says that what stands at a place was inserted, if a later line follows
// the last whole one.
func (v *verifier) inserted(at Place) error {
	if v.report.Lines == 0 {
		return nil
	}
	var reached bool
	var follows Place
	_ = v.lines(func(place Place, prev, _ sum) bool { // what can not be read twice is not found
		if place == v.lastAt {
			reached = true
			return false
		}
		if reached && prev == v.last {
			follows = place
		}
		return follows != Place{}
	})
	if follows == (Place{}) || follows == at {
		return nil
	}
	return &BrokenError{at, fmt.Sprintf("inserted or moved: what follows %s is %s", v.lastAt, follows)}
}

var errFound = errors.New("found")

// lines reads the sources once more and calls f with every whole line until it
// returns true.
func (v *verifier) lines(f func(at Place, prev, own sum) bool) error {
	return scan(v.sources, func(at Place, text []byte, _ bool) error {
		if prev, own, ok := parseLine(text); ok && intact(text, own) && f(at, prev, own) {
			return errFound
		}
		return nil
	})
}
