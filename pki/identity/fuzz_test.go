package identity

import (
	"strings"
	"testing"
)

// FuzzCheckCommonName: a name that passes needs no quoting anywhere, and one that
// does not is not repeated raw.
func FuzzCheckCommonName(f *testing.F) {
	for _, cn := range []string{"ops-laptop", "alice@example.org", "", "..", "a b", "аlice", "a\x00b", "{cn}", "*", strings.Repeat("a", 65)} {
		f.Add(cn)
	}
	f.Fuzz(func(t *testing.T, cn string) {
		err := CheckCommonName(cn)
		if err != nil {
			if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r == 0x7f }) || len(err.Error()) > 400 {
				t.Errorf("%q is repeated raw: %q", cn, err)
			}
			return
		}
		if cn == "" || len(cn) > MaxCommonName || strings.Trim(cn, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@-") != "" {
			t.Errorf("%q passed", cn)
		}
	})
}
