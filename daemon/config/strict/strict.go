// Package strict decodes TOML files in which every mistake is an error that
// names its file, line and column.
package strict

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/footprintai/containarium/pki/guard"
)

// Document is a decoded file that can tell where each of its keys stands.
type Document struct {
	name string
	data string
	meta toml.MetaData
	// statements holds where each key first stands, by toml.Key.String; it is made
	// for the first error.
	statements map[string]statement
	// elements holds the first lines of arrays of tables.
	elements map[string][]int
}

// statement is a range of lines, both ends included, that start at 1.
type statement struct{ first, last int }

// maxFile bounds a file, in bytes: a policy of 10,000 identities has some 300 kB.
const maxFile = 4 << 20

// ReadFile reads a file that decides who may do what; see guard.Ruling.
func ReadFile(path string) ([]byte, error) { return guard.ReadFile(path, guard.Ruling, maxFile) }

// Decode decodes data into the struct that v points to. The name stands for the
// file in errors. Unknown keys are errors, also those that differ from a known
// one only in case: two spellings of one key would leave it open which counts.
func Decode(name string, data []byte, v any) (*Document, error) {
	d := &Document{name: name, data: string(data)}
	meta, err := toml.Decode(d.data, v)
	var perr toml.ParseError
	switch {
	case errors.As(err, &perr):
		return nil, fmt.Errorf("%s:%d:%d: %s", name, perr.Position.Line, max(perr.Position.Col, 1), perr.Message)
	case err != nil: // a value of the wrong type: "toml: line N (last key K): ..."
		line := 0
		_, _ = fmt.Sscanf(err.Error(), "toml: line %d", &line)
		_, message, _ := strings.Cut(err.Error(), "last key ")
		return nil, fmt.Errorf("%s:%d:%d: %s", name, line, d.indent(line)+1, strings.Replace(message, "):", ":", 1))
	}
	d.meta = meta
	var errs []error
	var last toml.Key
	for _, key := range meta.Keys() {
		if last != nil && len(key) > len(last) && slices.Equal(key[:len(last)], last) {
			continue // inside an unknown table, which was reported
		}
		if at, known := unknown(reflect.TypeOf(v).Elem(), key); at >= 0 {
			last = key[:at+1]
			errs = append(errs, d.Errorf(last, "", "unknown key %q%s", last.String(), Suggest(key[at], known)))
		}
	}
	return d, errors.Join(errs...)
}

// IsDefined reports whether the file has the key.
func (d *Document) IsDefined(key ...string) bool { return d.meta.IsDefined(key...) }

// Keys returns every key of the file, tables included, in its order.
func (d *Document) Keys() []toml.Key { return d.meta.Keys() }

// Errorf makes an error that starts with the file, line and column of the key,
// or, where value is not empty, of that string within the key's value. Lines and
// columns start at 1; a column counts bytes.
func (d *Document) Errorf(key toml.Key, value, format string, args ...any) error {
	message := fmt.Sprintf(format, args...)
	if line, column := d.position(key, value); line > 0 {
		return fmt.Errorf("%s:%d:%d: %s", d.name, line, column, message)
	}
	return fmt.Errorf("%s: %s", d.name, message)
}

// Element is where a table of an array stands, FILE:LINE.
func (d *Document) Element(array string, n int) string {
	if d.statements == nil {
		d.index()
	}
	if lines := d.elements[array]; n < len(lines) {
		return fmt.Sprintf("%s:%d", d.name, lines[n])
	}
	return d.name // written inline
}

// position finds a key, or a string in its value; line 0 where it is not there.
func (d *Document) position(key toml.Key, value string) (line, column int) {
	if d.statements == nil {
		d.index()
	}
	at := d.statements[key.String()]
	if at.first == 0 {
		return 0, 0
	}
	if value != "" {
		for n := at.first; n <= at.last; n++ {
			for _, quoted := range []string{`"` + value + `"`, "'" + value + "'"} {
				if column := strings.Index(d.text(n), quoted); column >= 0 {
					return n, column + 1
				}
			}
		}
	}
	return at.first, d.indent(at.first) + 1
}

// indent is how many blanks a line begins with.
func (d *Document) indent(line int) int {
	text := d.text(line)
	return len(text) - len(strings.TrimLeft(text, " \t"))
}

// text is a line of the file, "" where it has none of that number.
func (d *Document) text(line int) string {
	lines := strings.Split(d.data, "\n")
	if line < 1 || line > len(lines) {
		return ""
	}
	return lines[line-1]
}

// index finds the statements. The parser does not tell where they are, so they
// are parsed again one by one, each under the header of its table: as many lines
// as make a whole one.
func (d *Document) index() {
	d.statements, d.elements = map[string]statement{}, map[string][]int{}
	var header, text string
	first := 1
	n := 0
	for line := range strings.SplitAfterSeq(d.data, "\n") {
		n++
		text += line
		isHeader := strings.HasPrefix(strings.TrimLeft(text, " \t"), "[")
		source := header + text
		if isHeader {
			source = text
		}
		meta, err := toml.Decode(source, &map[string]any{})
		if err != nil {
			continue // in the middle of a value of several lines
		}
		for _, key := range meta.Keys() {
			for end := range key {
				name := key[:end+1].String()
				if _, found := d.statements[name]; !found {
					d.statements[name] = statement{first, n}
				}
			}
		}
		if isHeader && strings.HasPrefix(strings.TrimLeft(text, " \t"), "[[") {
			d.elements[meta.Keys()[0].String()] = append(d.elements[meta.Keys()[0].String()], first)
		}
		if isHeader {
			header = strings.TrimRight(text, "\r\n") + "\n"
		}
		text, first = "", n+1
	}
}

// unknown walks the key along the type. It returns the index of the first
// segment that the type does not have and the names that it has there, or -1.
func unknown(t reflect.Type, key toml.Key) (int, []string) {
	for i, segment := range key {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice { // of a slice, each element
			t = t.Elem()
		}
		switch t.Kind() {
		case reflect.Map:
			t = t.Elem()
		case reflect.Struct:
			names := make([]string, 0, t.NumField())
			for f := range t.NumField() {
				names = append(names, t.Field(f).Tag.Get("toml"))
			}
			at := slices.Index(names, segment)
			if at < 0 {
				return i, names
			}
			t = t.Field(at).Type
		default:
			return i, nil
		}
	}
	return -1, nil
}
