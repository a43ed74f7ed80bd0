package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/footprintai/containarium/daemon/config"
)

// Without FILE it is the log that the configuration names, and the default where
// there is none.
func TestTheDefaultAuditLog(t *testing.T) {
	for name, c := range map[string]struct{ configuration, want, err string }{
		"none":            {"", config.Defaults().Audit.File, ""},
		"another":         {"[audit]\nfile = \"/srv/audit.log\"\n", "/srv/audit.log", ""},
		"standard output": {"[audit]\nfile = \"-\"\n", "", "standard output"},
		"a mistake":       {"[audit]\nfiel = \"/srv/audit.log\"\n", "", "unknown key"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.toml")
			if c.configuration != "" {
				if err := os.WriteFile(path, []byte(c.configuration), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := auditFile(path)
			if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q, %v; want %q, %s", got, err, c.want, c.err)
			}
		})
	}
}
