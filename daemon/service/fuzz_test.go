package service

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// FuzzUsername: a name that passes is one for a host account, an instance and a
// DNS label alike, and one that does not is InvalidArgument, not repeated.
func FuzzUsername(f *testing.F) {
	for _, name := range []string{"alice", "a", "a-b", "", "-a", "a-", "Alice", "root\n", "аlice", "../a", strings.Repeat("a", 32)} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		err := checkUsername(name)
		if err != nil {
			if status.Code(err) != codes.InvalidArgument || strings.ContainsAny(err.Error(), "\n\x00\x1b") {
				t.Errorf("%q: %v", name, err)
			}
			return
		}
		plain := strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
		if !plain || name == "" || len(name) > 31 || name[0] < 'a' || name[0] > 'z' || name[len(name)-1] == '-' {
			t.Errorf("%q passed", name)
		}
	})
}
