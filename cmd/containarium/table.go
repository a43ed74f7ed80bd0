package main

import (
	"encoding/csv"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// identifiers are the headings of what a user needs whole to act: it is never cut.
var identifiers = []string{"SERVER", "USER", "ADDRESS", "NAME", "STATE", "FINGERPRINT", "SERIAL"}

const (
	// gap is between two columns.
	gap = 2
	// ellipsis ends a cell that was cut.
	ellipsis = "…"
)

// table prints rows in columns; the first is the heading. Empty cells are "-", so
// that every line has as many words. A table that is wider than the terminal is
// cut, the columns at the right first, unless wide was asked for. In CSV what is
// unknown is empty.
func (t *terminal) table(rows [][]string) error {
	if t.format == formatCSV {
		return t.writeRecords(t.body(rows))
	}
	columns := 0
	if t.format != formatWide {
		columns, _ = t.size()
	}
	return t.writeLines(t.lines(rows, columns))
}

// list prints rows of a word with a colon and what it means. There is no CSV of it.
func (t *terminal) list(rows [][]string) error {
	if t.format == formatCSV {
		return errNoTable
	}
	return t.writeLines(layout(cells(rows), nil))
}

func (t *terminal) writeLines(lines []string) error {
	if len(lines) == 0 {
		return nil
	}
	return t.write(strings.Join(lines, "\n") + "\n")
}

// lines are those of a table that fits into so many columns; 0 is any number.
func (t *terminal) lines(rows [][]string, columns int) []string {
	heads, rows := rows[0], t.body(rows)
	table := cells(rows)
	if columns > 0 {
		fit(heads, table, columns)
	}
	if !t.colour {
		return layout(table, nil)
	}
	return layout(table, func(row, column int) string { return cellStyle(heads[column], rows[row][column]) })
}

// body is the table without its heading, where none is wanted.
func (t *terminal) body(rows [][]string) [][]string {
	if t.headless {
		return rows[1:]
	}
	return rows
}

// cellStyle is the colour of what stands below a heading; most have none.
func cellStyle(head, cell string) string {
	switch {
	case head == "STATE":
		return stateStyles[cell]
	case head == "SEEN" && cell != head && cell != seenNow:
		return yellowStyle
	}
	return ""
}

// cells are rows that are safe to print, in which nothing is empty.
func cells(rows [][]string) [][]string {
	table := make([][]string, len(rows))
	for i, row := range rows {
		table[i] = make([]string, len(row))
		for j, cell := range row {
			if cell = clean(cell); cell == "" {
				cell = unknown
			}
			table[i][j] = cell
		}
	}
	return table
}

// fit cuts cells until the table is no wider than columns, or only what is needed
// whole is left. The first column and the identifiers stay as they are; of the
// others the one at the right goes first, at first to what is still readable.
func fit(heads []string, table [][]string, columns int) {
	widths := widthsOf(table)
	over := -columns - gap
	for _, w := range widths {
		over += w + gap
	}
	for _, least := range []int{8, 1} {
		for i := len(widths) - 1; i > 0 && over > 0; i-- {
			if i < len(heads) && slices.Contains(identifiers, heads[i]) || widths[i] <= least {
				continue
			}
			to := max(least, widths[i]-over)
			over -= widths[i] - to
			widths[i] = to
			for _, row := range table {
				if i < len(row) {
					row[i] = shorten(row[i], to)
				}
			}
		}
	}
}

// layout puts cells below each other. A style is what to print before a cell.
func layout(table [][]string, styles func(row, column int) string) []string {
	widths := widthsOf(table)
	lines := make([]string, len(table))
	var b strings.Builder
	for i, row := range table {
		b.Reset()
		for j, cell := range row {
			style := ""
			if styles != nil {
				style = styles(i, j)
			}
			if style == "" {
				b.WriteString(cell)
			} else {
				b.WriteString(style + cell + plainStyle)
			}
			if j < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[j]+gap-cellWidth(cell)))
			}
		}
		lines[i] = b.String()
	}
	return lines
}

func widthsOf(table [][]string) []int {
	var widths []int
	for _, row := range table {
		for j, cell := range row {
			if j == len(widths) {
				widths = append(widths, 0)
			}
			widths[j] = max(widths[j], cellWidth(cell))
		}
	}
	return widths
}

// cellWidth is how many columns of a terminal a text takes.
func cellWidth(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

// runeWidth is 2 for the wide characters of East Asia (Unicode Standard Annex 11)
// and 0 for what is put over the one before.
func runeWidth(r rune) int {
	switch {
	case r < 0x300: // nearly all
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	default:
		return 1
	}
}

// shorten cuts a text to at most so many columns, of which the last then says so.
func shorten(s string, columns int) string {
	if cellWidth(s) <= columns {
		return s
	}
	n := 0
	for i, r := range s {
		if n += runeWidth(r); n > columns-1 {
			return s[:i] + ellipsis
		}
	}
	return s
}

// writeRecords prints rows as CSV.
func (t *terminal) writeRecords(rows [][]string) error {
	var out strings.Builder
	w := csv.NewWriter(&out)
	for _, row := range rows {
		record := make([]string, len(row))
		for i, cell := range row {
			if record[i] = clean(cell); cell == unknown {
				record[i] = ""
			}
		}
		if err := w.Write(record); err != nil {
			return err
		}
	}
	w.Flush()
	return t.write(out.String())
}
