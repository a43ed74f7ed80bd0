package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/urfave/cli/v2"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/footprintai/containarium/daemon/config/strict"
)

// The formats of --output.
const (
	formatTable = "table"
	formatWide  = "wide" // a table with all columns there are, however wide
	formatJSON  = "json"
	formatYAML  = "yaml"
	formatCSV   = "csv" // the wide table
)

var formats = []string{formatTable, formatWide, formatJSON, formatYAML, formatCSV}

// isTable reports whether the format is for what table and printf print, and
// isDocument whether it is for the daemon's answer.
func isTable(format string) bool    { return !isDocument(format) }
func isDocument(format string) bool { return format == formatJSON || format == formatYAML }

// tabular are the commands that print a table and nothing beside it, by what is
// typed: only they have CSV.
var tabular = []string{
	"ls", "metrics", "top", "watch", "system", "whoami", "key ls", "snapshot ls", "image ls", "server ls", "remote list", "remote list-all",
	"pki ls", "policy show", "audit ls",
}

// checkFormat runs before every command: one that changes something and then can
// not say so has done too much.
func checkFormat(c *cli.Context) error {
	format, err := formatOf(c)
	if err == nil && format == formatCSV && !slices.Contains(tabular, commandPath(c)) {
		err = noCSV(c)
	}
	return err
}

func formatOf(c *cli.Context) (string, error) {
	format := c.String("output")
	if format == "" { // an empty environment variable
		format = formatTable
	}
	for _, f := range formats {
		if f == format {
			return f, nil
		}
	}
	return "", usagef(c, "no output format %q: %s%s", format, strings.Join(formats, ", "), strict.Suggest(format, formats))
}

// show prints a daemon's answer: as the command's table, or whole, as a document.
func show(c *cli.Context, m proto.Message, table func(t *terminal) error) error {
	format, err := formatOf(c)
	if err != nil {
		return err
	}
	if isTable(format) {
		return showTable(c, table)
	}
	data, err := document(m)
	if err != nil {
		return err
	}
	return terminalOf(c).document(format, data)
}

// showValue is show for what no daemon answered.
func showValue(c *cli.Context, v any, table func(t *terminal) error) error {
	format, err := formatOf(c)
	if err != nil {
		return err
	}
	if isTable(format) {
		return showTable(c, table)
	}
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return terminalOf(c).document(format, data)
}

func showTable(c *cli.Context, table func(t *terminal) error) error {
	err := table(terminalOf(c))
	if errors.Is(err, errNoTable) {
		return noCSV(c)
	}
	return err
}

// errNoTable says that a command's result is no table this time.
var errNoTable = errors.New("the result is no table")

func noCSV(c *cli.Context) error {
	return usagef(c, "the result is no table, so that there is no csv of it; -o json is for programs")
}

// document is the message in the JSON mapping of protobuf: lowerCamelCase names,
// enums by name, 64-bit numbers as strings. Fields that are false, 0, "" or empty
// are there, so that a script finds them; optional ones that the daemon left out
// are not, since that means unknown.
func document(m proto.Message) ([]byte, error) {
	return protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
}

// document prints a JSON document as JSON or YAML. Both are the same document, its
// fields in the same order, and the same answer always gives the same bytes:
// protojson varies its blanks on purpose, so they are set anew.
func (t *terminal) document(format string, data []byte) error {
	t.endProgress()
	var out bytes.Buffer
	if data = escape(format, data); format == formatYAML {
		var node yaml.Node
		if err := yaml.Unmarshal(data, &node); err != nil {
			return err
		}
		plain(&node)
		// Commands with several answers print several documents.
		out.WriteString("---\n")
		encoder := yaml.NewEncoder(&out)
		encoder.SetIndent(2)
		if err := encoder.Encode(&node); err != nil {
			return err
		}
	} else {
		if err := json.Indent(&out, data, "", "  "); err != nil {
			return err
		}
		out.WriteString("\n")
	}
	_, err := t.out.Write(escape(format, out.Bytes()))
	return err
}

// plain drops the quotes of JSON where no reader of YAML, old or new, takes the
// string for anything else.
func plain(node *yaml.Node) {
	node.Style = 0
	if node.Kind == yaml.ScalarNode && node.Tag == "!!str" && !plainString.MatchString(node.Value) ||
		slices.Contains(oldBooleans, strings.ToLower(node.Value)) {
		node.Style = yaml.DoubleQuotedStyle
	}
	for _, child := range node.Content {
		plain(child)
	}
}

var (
	plainString = regexp.MustCompile(`^[A-Za-z][ -~]*$`)
	// oldBooleans are strings to YAML 1.2 alone.
	oldBooleans = []string{"y", "n", "yes", "no", "on", "off"}
)

// escape spells out what clean does. It can only stand within double quotes, where
// \u means the same in JSON and in YAML.
func escape(format string, data []byte) []byte {
	if !bytes.ContainsFunc(data, func(r rune) bool { return r != '\n' && unsafe(r) }) {
		return data
	}
	var b bytes.Buffer
	for _, r := range string(data) {
		high, low := utf16.EncodeRune(r)
		switch {
		case r == '\n' || !unsafe(r):
			b.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		case format == formatYAML:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		}
	}
	return b.Bytes()
}
