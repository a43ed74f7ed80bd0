package main

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/daemon/config/strict"
)

// sortKey is what two rows are compared by; a field uses one of the two.
type sortKey struct {
	number float64
	text   string
}

// sortKeys are the fields that --sort takes. ok is false where a row has no such
// value: it comes last, whichever way the others go.
type sortKeys[T any] map[string]func(row T) (key sortKey, ok bool)

// flag is --sort; usage says what the order is without it.
func (keys sortKeys[T]) flag(usage string) cli.Flag {
	return &cli.StringFlag{Name: "sort", Usage: "sort by this `FIELD`, with - before it the other way round: " + strings.Join(slices.Sorted(maps.Keys(keys)), ", "), DefaultText: usage}
}

// order is what --sort said, as a function that sorts rows; without it they stay
// as they are. Equal rows stay as they are, too.
func (keys sortKeys[T]) order(c *cli.Context) (func(rows []T), error) {
	if !c.IsSet("sort") {
		return func([]T) {}, nil
	}
	given := c.String("sort")
	field, down := strings.CutPrefix(given, "-")
	key, ok := keys[field]
	if !ok {
		names := slices.Sorted(maps.Keys(keys))
		return nil, usagef(c, "--sort: no field %q: %s%s", given, strings.Join(names, ", "), strict.Suggest(field, names))
	}
	return func(rows []T) { sortBy(rows, key, down) }, nil
}

func sortBy[T any](rows []T, key func(T) (sortKey, bool), down bool) {
	slices.SortStableFunc(rows, func(a, b T) int {
		keyA, okA := key(a)
		keyB, okB := key(b)
		switch {
		case !okA && !okB:
			return 0
		case !okA:
			return 1
		case !okB:
			return -1
		case down:
			keyA, keyB = keyB, keyA
		}
		return cmp.Or(cmp.Compare(keyA.number, keyB.number), cmp.Compare(keyA.text, keyB.text))
	})
}

// byText is the key of a text, which there is unless it is empty.
func byText(text string) (sortKey, bool) { return sortKey{text: text}, text != "" }

// byMost is the key of a number, the largest first; nil is unknown.
func byMost[N uint64 | float64](n *N) (sortKey, bool) {
	if n == nil {
		return sortKey{}, false
	}
	return sortKey{number: -float64(*n)}, true
}
