package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/footprintai/containarium/pki"
)

func TestMatches(t *testing.T) {
	for _, test := range []struct {
		pattern, name string
		want          bool
	}{
		{"ci-7", "ci-7", true}, {"ci-7", "ci-70", false}, {"ci-*", "ci-7", true}, {"ci-*", "ci-", true}, {"ci-*", "ci", false},
		{"*", "", true}, {"*-7", "ci-7", true}, {"*-7", "ci-77", false}, {"c*-*7", "ci-x7", true}, {"a*b*c", "abc", true}, {"a*b*c", "acb", false},
		{"c?", "ci", false}, {"[c]i", "ci", false}, {"", "ci", false},
	} {
		if got := matches(test.pattern, test.name); got != test.want {
			t.Errorf("%q, %q: %t", test.pattern, test.name, got)
		}
	}
}

// What pki ls shows of a journal with everything in it.
func TestListViews(t *testing.T) {
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	at := func(days int) time.Time { return now.AddDate(0, 0, days) }
	when := func(days int) *time.Time { t := at(days); return &t }
	entries := []pki.Entry{
		{Name: "root", Kind: pki.Root, Serial: "1", NotAfter: at(1000)},
		{Name: "old", Kind: pki.Client, Serial: "2", NotAfter: at(-1)},
		{Name: "ci-1", Kind: pki.Client, Serial: "3", NotAfter: at(20)},
		{Name: "ci-1", Kind: pki.Client, Serial: "4", NotAfter: at(80), Replaces: "3"},
		{Name: "jump", Kind: pki.Server, Serial: "5", NotAfter: at(10)},
		{Name: "lost", Kind: pki.Client, Serial: "6", NotAfter: at(15), Revoked: when(-2), Reason: pki.KeyCompromise},
		{Name: "soon", Kind: pki.Client, Serial: "7", NotAfter: at(15), Revoked: when(1)},
	}
	for what, test := range map[string]struct {
		filter listFilter
		want   string
	}{
		"nothing":           {listFilter{}, "5 6 7 3 4 1"},
		"all":               {listFilter{all: true}, "2 5 6 7 3 4 1"},
		"expired":           {listFilter{expired: true}, "2"},
		"revoked":           {listFilter{revoked: true}, "6 7"},
		"a kind":            {listFilter{kind: pki.Server}, "5"},
		"a name":            {listFilter{name: "ci-*"}, "3 4"},
		"expiring":          {listFilter{expiring: 21 * 24 * time.Hour}, "5 7"},
		"expiring, a kind":  {listFilter{expiring: 21 * 24 * time.Hour, kind: pki.Client}, "7"},
		"revoked, a name":   {listFilter{revoked: true, name: "nobody"}, ""},
		"expired, revoked":  {listFilter{revoked: true, expired: true}, ""},
		"expiring sometime": {listFilter{expiring: 2000 * 24 * time.Hour}, "5 7 4 1"},
	} {
		test.filter.now = now
		var serials []string
		for _, v := range listViews(entries, test.filter) {
			serials = append(serials, v.Serial)
		}
		if diff := cmp.Diff(test.want, strings.Join(serials, " ")); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	states := map[string]string{}
	for _, v := range listViews(entries, listFilter{all: true, now: now}) {
		states[v.Serial] = v.stateText(now)
	}
	if diff := cmp.Diff(map[string]string{
		"1": "good", "2": "expired", "3": "replaced", "4": "good", "5": "good",
		"6": "revoked 2026-05-30 00:00 UTC (key-compromise)", "7": "good, revoked from 2026-06-02 00:00 UTC",
	}, states); diff != "" {
		t.Error(diff)
	}
}

// BenchmarkListViews is pki ls without reading the journal.
func BenchmarkListViews(b *testing.B) {
	now := time.Now()
	entries := make([]pki.Entry, 100_000)
	for i := range entries {
		entries[i] = pki.Entry{Name: fmt.Sprintf("ci-%d", i%1000), Kind: pki.Client, Serial: fmt.Sprintf("%040X", i), NotAfter: now.Add(time.Duration(i) * time.Minute)}
	}
	for b.Loop() {
		if got := len(listViews(entries, listFilter{now: now})); got < len(entries)-1 {
			b.Fatal(got)
		}
	}
}
