package policy

import "strings"

const cnPlaceholder = "{cn}"

// pattern is a name in which "*" stands for any letters, none included, and
// "{cn}" for the caller's Common Name, letter by letter: a "*" in a CN would
// match nothing but itself.
type pattern struct {
	text  string
	parts []string // literals, "*" and "{cn}"
}

func newPattern(text string) pattern {
	p := pattern{text: text}
	for rest := text; rest != ""; {
		n := len(rest)
		for _, special := range []string{"*", cnPlaceholder} {
			if at := strings.Index(rest, special); at == 0 {
				n = len(special)
				break
			} else if at > 0 {
				n = min(n, at)
			}
		}
		p.parts, rest = append(p.parts, rest[:n]), rest[n:]
	}
	return p
}

// matches takes time proportional at most to the square of the name's length: a
// part that does not fit sends it back to the last star alone, which is enough,
// since an earlier star could take no letters that the last one can not.
func (p pattern) matches(cn, name string) bool {
	next, at := 0, 0         // the part to match and where
	afterStar, from := -1, 0 // the part after the last star and where it was tried last
	for {
		if next == len(p.parts) {
			if at == len(name) {
				return true
			}
		} else if part := p.parts[next]; part == "*" {
			next++
			afterStar, from = next, at
			continue
		} else {
			if part == cnPlaceholder {
				part = cn
			}
			if strings.HasPrefix(name[at:], part) {
				next, at = next+1, at+len(part)
				continue
			}
		}
		if afterStar < 0 || from == len(name) {
			return false
		}
		from++
		next, at = afterStar, from
	}
}

func (p pattern) fill(cn string) string { return strings.ReplaceAll(p.text, cnPlaceholder, cn) }

// overlaps reports whether some name matches both patterns. Neither may hold
// "{cn}".
func overlaps(a, b string) bool {
	// meet[j] says whether the start of a so far and b[:j] match a common name.
	meet := make([]bool, len(b)+1)
	meet[0] = true
	for j := range len(b) {
		meet[j+1] = meet[j] && b[j] == '*'
	}
	for i := range len(a) {
		diagonal := meet[0]
		meet[0] = diagonal && a[i] == '*'
		for j := range len(b) {
			before := meet[j+1]
			switch {
			case a[i] == '*' || b[j] == '*': // one star takes the letter of the other, or nothing
				meet[j+1] = before || meet[j]
			default:
				meet[j+1] = diagonal && a[i] == b[j]
			}
			diagonal = before
		}
	}
	return meet[len(b)]
}
