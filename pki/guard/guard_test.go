package guard_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/footprintai/containarium/pki/guard"
)

func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		mode   os.FileMode
		access guard.Access
		limit  int64
		want   string // of the error, empty: none
	}{
		{0o600, guard.Secret, 5, ""},
		{0o640, guard.Secret, 5, "can be read by others (mode 0640): chmod 600 " + path},
		{0o602, guard.Secret, 5, "chmod 600"},
		{0o644, guard.Public, 5, ""},
		{0o664, guard.Public, 5, "can be written by others (mode 0664): chmod go-w " + path},
		{0o646, guard.Public, 5, "chmod go-w"},
		{0o644, guard.Ruling, 5, ""},
		{0o664, guard.Ruling, 5, "chmod go-w"},
		{0o600, guard.Public, 4, "is larger than 4 bytes"},
	} {
		if err := os.Chmod(path, test.mode); err != nil {
			t.Fatal(err)
		}
		data, err := guard.ReadFile(path, test.access, test.limit)
		if test.want == "" && (err != nil || string(data) != "12345") {
			t.Errorf("mode %04o: %q, %v", test.mode, data, err)
		}
		if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || data != nil) {
			t.Errorf("mode %04o, limit %d: %q, %v; want %s", test.mode, test.limit, data, err, test.want)
		}
	}
	if _, err := guard.ReadFile(t.TempDir(), guard.Public, 5); err == nil || !strings.Contains(err.Error(), "is not a regular file") {
		t.Errorf("a directory: %v", err)
	}
}

// Who owns a policy decides it.
func TestRulingFilesBelongToRootOrUs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: a file that is given to somebody else, which root alone can do: sudo make test")
	}
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 12345, -1); err != nil {
		t.Fatal(err)
	}
	if _, err := guard.ReadFile(path, guard.Ruling, 5); err == nil || !strings.Contains(err.Error(), "belongs to another user (uid 12345): chown 0 "+path) {
		t.Errorf("error %v", err)
	}
}
