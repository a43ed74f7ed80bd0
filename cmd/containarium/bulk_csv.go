package main

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/footprintai/containarium/daemon/config/strict"
)

// usersOfCSV reads a heading and a line for each user. Several keys or labels of
// one are parted by semicolons.
func usersOfCSV(name string, data []byte) ([]userRecord, error) {
	r := csv.NewReader(bytes.NewReader(data))
	r.Comment, r.TrimLeadingSpace, r.FieldsPerRecord = '#', true, -1
	head, err := r.Read()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, csvError(name, err)
	}
	var errs []error
	bad := func(line int, format string, args ...any) {
		errs = append(errs, fileError{fmt.Errorf("%s:%d: %s", name, line, fmt.Sprintf(format, args...))})
	}
	for i, column := range head {
		line, _ := r.FieldPos(i)
		head[i] = strings.ToLower(strings.TrimSpace(column))
		switch {
		case !slices.Contains(userColumns, head[i]):
			bad(line, "no column %q: %s%s", column, strings.Join(userColumns, ", "), strict.Suggest(head[i], userColumns))
		case slices.Contains(head[:i], head[i]):
			bad(line, "column %q is there twice", column)
		}
	}
	if len(errs) == 0 && len(head) > 0 && !slices.Contains(head, "username") {
		bad(1, `no column "username" in the first line, which says what the columns are`)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	var records []userRecord
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return records, nil
		}
		if err != nil {
			return nil, csvError(name, err)
		}
		line, _ := r.FieldPos(0)
		record := userRecord{at: fmt.Sprintf("%s:%d", name, line)}
		if record.noRecord = len(row) != len(head); record.noRecord {
			record.bad("has %d fields, and the first line names %d columns", len(row), len(head))
			row = nil
		}
		for i, cell := range row {
			if err := record.set(head[i], strings.TrimSpace(cell)); err != nil {
				record.bad("%s %s", head[i], err)
			}
		}
		records = append(records, record)
	}
}

func csvError(name string, err error) error {
	if parse, ok := errors.AsType[*csv.ParseError](err); ok {
		return fileError{fmt.Errorf("%s:%d:%d: %w", name, parse.Line, parse.Column, parse.Err)}
	}
	return fileError{fmt.Errorf("%s: %w", name, err)}
}

// set takes a cell of CSV.
func (r *userRecord) set(column, cell string) (err error) {
	switch column {
	case "username":
		r.Username = cell
	case "keys":
		r.Keys = parts(cell)
	case "cpu":
		r.CPU = tomlText(cell)
	case "memory":
		r.Memory = cell
	case "disk":
		r.Disk = cell
	case "image":
		r.Image = cell
	case "docker":
		r.Docker, err = yesOrNo(cell)
	case "autostart":
		r.Autostart, err = yesOrNo(cell)
	case "labels":
		r.Labels = map[string]string{}
		for _, label := range parts(cell) {
			key, value, found := strings.Cut(label, "=")
			if _, twice := r.Labels[key]; !found || key == "" || twice {
				return fmt.Errorf("%q: must be KEY=VALUE, each key once", label)
			}
			r.Labels[key] = value
		}
	case "server":
		r.Server = cell
	}
	return err
}

// parts are what semicolons or line breaks part.
func parts(cell string) []string {
	var all []string
	for part := range strings.FieldsFuncSeq(cell, func(r rune) bool { return r == ';' || r == '\n' }) {
		if part = strings.TrimSpace(part); part != "" {
			all = append(all, part)
		}
	}
	return all
}

func yesOrNo(cell string) (*bool, error) {
	yes := true
	switch strings.ToLower(cell) {
	case "":
		return nil, nil
	case "yes", "true", "1":
	case "no", "false", "0":
		yes = false
	default:
		return nil, fmt.Errorf("%q: must be yes or no", cell)
	}
	return &yes, nil
}
