package policy

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// asRegexp is what a pattern means.
func asRegexp(text, cn string) *regexp.Regexp {
	text = strings.ReplaceAll(regexp.QuoteMeta(text), `\*`, ".*")
	text = strings.ReplaceAll(text, `\{cn\}`, regexp.QuoteMeta(cn))
	return regexp.MustCompile("^(?s:" + text + ")$")
}

func word(r *rand.Rand, letters []string, most int) string {
	var s strings.Builder
	for range r.IntN(most + 1) {
		s.WriteString(letters[r.IntN(len(letters))])
	}
	return s.String()
}

func TestPatternMeansItsRegexp(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	matched := 0
	for range 20_000 {
		text, cn, name := word(r, []string{"a", "b", "*", "{cn}"}, 8), word(r, []string{"a", "b", "*"}, 3), word(r, []string{"a", "b", "*"}, 10)
		want := asRegexp(text, cn).MatchString(name)
		if got := newPattern(text).matches(cn, name); got != want {
			t.Fatalf("%q for %q matches %q: %v, want %v", text, cn, name, got, want)
		}
		if want {
			matched++
		}
	}
	if matched < 500 {
		t.Errorf("only %d of the names matched: the test shows little", matched)
	}
}

func TestOverlaps(t *testing.T) {
	// Every name of up to six letters: enough for patterns of up to four, of
	// which each star need take no more letters than the other has.
	names := []string{""}
	for i := 0; len(names[i]) < 6; i++ {
		names = append(names, names[i]+"a", names[i]+"b")
	}
	patterns := []string{""}
	for i := 0; len(patterns[i]) < 4; i++ {
		patterns = append(patterns, patterns[i]+"a", patterns[i]+"b", patterns[i]+"*")
	}
	matches := map[string][]bool{}
	for _, p := range patterns {
		for _, name := range names {
			matches[p] = append(matches[p], newPattern(p).matches("", name))
		}
	}
	for _, a := range patterns {
		for _, b := range patterns {
			want := slices.ContainsFunc(names, func(name string) bool {
				i := slices.Index(names, name)
				return matches[a][i] && matches[b][i]
			})
			if len(a)+len(b) <= 6 && overlaps(a, b) != want {
				t.Errorf("overlaps(%q, %q) = %v, want %v", a, b, !want, want)
			}
		}
	}
}

// The hardest patterns that a file may hold are no work that anybody notices: a
// second is a hundred times what they need, and trying every way takes fifteen.
func TestHardPatterns(t *testing.T) {
	stars := strings.Repeat("*a", maxStars)
	name := strings.Repeat("a", 64)
	start := time.Now()
	for range 100 {
		if newPattern(stars+"b").matches("", name) || overlaps(stars+strings.Repeat("a", 55)+"b", strings.Repeat("a*", maxStars)+strings.Repeat("a", 55)+"c") {
			t.Fatal("it matches")
		}
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("100 matches take %v", took)
	}
}

// The index gives what looking at every pattern, the longest first, gives.
func TestIdentitiesFindTheLongest(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		var all []identity
		for range 6 {
			text := word(r, []string{"a", "b", "*"}, 5)
			tie := slices.ContainsFunc(all, func(one identity) bool {
				return len(one.pattern.text) == len(text) && overlaps(one.pattern.text, text)
			})
			if strings.Contains(text, "*") && !tie {
				all = append(all, identity{newPattern(text), &role{name: text}})
			}
		}
		index := newIdentities(all)
		for range 10 {
			name := word(r, []string{"a", "b"}, 6)
			var want identity
			for _, one := range all {
				if len(one.pattern.text) > len(want.pattern.text) && one.pattern.matches("", name) {
					want = one
				}
			}
			if got := index.find(name); got != want.role {
				t.Fatalf("%q among %v: %v, want %v", name, all, got, want.role)
			}
		}
	}
}
