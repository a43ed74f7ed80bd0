package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/client"
)

// changeLines print changes where nobody watches: one line each, as soon as it
// comes.
type changeLines struct {
	c *cli.Context
	t *terminal
	// servers is how wide the longest of their names is.
	servers int
}

func newChangeLines(c *cli.Context, servers []client.Server) *changeLines {
	l := &changeLines{c: c, t: terminalOf(c), servers: len("SERVER")}
	for _, s := range servers {
		l.servers = max(l.servers, cellWidth(clean(s.Name)))
	}
	return l
}

var changeHeads = []string{"TIME", "SERVER", "USER", "WHAT", "STATE", "ADDRESS"}

// heading prints what is above the lines of a table.
func (l *changeLines) heading() error {
	if isDocument(l.t.format) || l.t.headless {
		return nil
	}
	return l.row(changeHeads)
}

// print prints changes. Why a server is stale goes to standard error, but in
// documents it is in the line.
func (l *changeLines) print(changes []change) error {
	for _, change := range changes {
		var err error
		if isDocument(l.t.format) {
			err = l.document(change)
		} else {
			err = l.row([]string{
				change.at.UTC().Format(time.RFC3339), change.server, change.user, change.what,
				stateWord(change.container.GetState()), change.container.GetNetwork().GetIpAddress(),
			})
		}
		if err != nil {
			return fmt.Errorf("standard output: %w", err)
		}
		if change.problem != "" && isTable(l.t.format) {
			l.t.warnf("watch on %s: %s", change.server, change.problem)
		}
	}
	return nil
}

// row prints a line whose columns are as wide as what mostly stands in them.
func (l *changeLines) row(row []string) error {
	if l.t.format == formatCSV {
		return l.t.writeRecords([][]string{row})
	}
	line := cells([][]string{row})[0]
	for i, width := range []int{len("2006-01-02T15:04:05Z"), l.servers, 16, len(isChanged), len("unreachable")} {
		line[i] += strings.Repeat(" ", max(0, width-cellWidth(line[i])))
	}
	return l.t.write(strings.Join(line, strings.Repeat(" ", gap)) + "\n")
}

// changeView is a change as a document.
type changeView struct {
	Time   time.Time `json:"time"`
	Server string    `json:"server"`
	Change string    `json:"change"`
	// User and Container are absent where it is about the server.
	User string `json:"user,omitempty"`
	// Container is absent where it is gone, too.
	Container json.RawMessage `json:"container,omitempty"`
	// Error is why a server is stale.
	Error string `json:"error,omitempty"`
}

func (l *changeLines) document(change change) error {
	view := changeView{Time: change.at.UTC(), Server: change.server, Change: change.what, User: change.user, Error: change.problem}
	if change.container != nil && change.what != isGone {
		var err error
		if view.Container, err = document(change.container); err != nil {
			return err
		}
	}
	data, err := json.Marshal(view)
	if err != nil {
		return err
	}
	if l.t.format == formatYAML {
		return l.t.document(formatYAML, data)
	}
	return l.t.write(string(escape(formatJSON, data)) + "\n")
}
