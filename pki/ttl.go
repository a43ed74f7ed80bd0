package pki

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ParseTTL reads a lifetime: days as "90d", or what time.ParseDuration knows, as
// "12h". It does not check bounds.
func ParseTTL(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16) // 65535 days fit a Duration
		if err != nil {
			return 0, fmt.Errorf("%q is not a lifetime such as 90d or 12h", s)
		}
		return time.Duration(n) * day, nil
	}
	ttl, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a lifetime such as 90d or 12h", s)
	}
	return ttl, nil
}

// FormatTTL writes a lifetime as ParseTTL reads it.
func FormatTTL(ttl time.Duration) string {
	if ttl != 0 && ttl%day == 0 {
		return fmt.Sprintf("%dd", ttl/day)
	}
	s := ttl.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// date writes an instant for people.
func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
