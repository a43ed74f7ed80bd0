package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxLine bounds a line that is read, in bytes: over ten times the longest that
// Write makes. What is longer comes in parts, none of which is a line.
const maxLine = 64 << 10

// scan calls f with every line of the sources, without its newline, and whether
// it had one.
func scan(sources []Source, f func(at Place, text []byte, ended bool) error) error {
	for _, s := range sources {
		if err := s.scan(f); err != nil {
			return err
		}
	}
	return nil
}

func (s Source) scan(f func(at Place, text []byte, ended bool) error) error {
	file, err := s.Open()
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // only read
	r := bufio.NewReaderSize(file, maxLine)
	for line := 1; ; {
		text, err := r.ReadSlice('\n')
		if err != nil && err != io.EOF && !errors.Is(err, bufio.ErrBufferFull) {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		if len(text) > 0 {
			bare, ended := bytes.CutSuffix(text, []byte{'\n'})
			if err := f(Place{s.Name, line}, bare, ended); err != nil {
				return err
			}
			if ended {
				line++
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

// Records calls f with every record of the sources and the line that it is, which
// is good until f returns; f returns false to end it. It does not look at the
// chain. It returns how many lines are no records.
func Records(sources []Source, f func(r Record, line []byte) bool) (skipped int, err error) {
	err = scan(sources, func(_ Place, text []byte, _ bool) error {
		var r Record
		if json.Unmarshal(text, &r) != nil || r.Event == "" {
			skipped++
			return nil
		}
		if !f(r, text) {
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return skipped, err
}
