package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/footprintai/containarium/daemon/config"
)

// FuzzParse: whatever a file holds, it is refused with an error that names the
// file, or it is a configuration whose paths are absolute and whose bounds hold.
func FuzzParse(f *testing.F) {
	data, err := os.ReadFile(example)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(data))
	f.Add("[server]\naddress = \"a:1\"\nallow_from = [\"::ffff:10.0.0.0/104\"]\n")
	f.Add("[audit]\nfile = \"journal\"\n[limits]\nrate = 10000\n")
	f.Add("server.address = 1\n[server]\n")
	f.Add("[containers]\ncpu = \"0-\"\nmemory = \"1e9\"\ncreate_timeout = \"-1s\"\n")
	f.Fuzz(func(t *testing.T, data string) {
		c, err := config.Parse("/etc/c.toml", []byte(data))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "/etc/c.toml") || c != nil {
				t.Errorf("%v, %v: an error that names no file, or a configuration beside it", c, err)
			}
			return
		}
		if !filepath.IsAbs(c.Server.Key) || !filepath.IsAbs(c.Policy.File) || c.Server.DrainTimeout <= 0 || c.Limits.Rate < 1 || c.Server.MaxConnections < 1 {
			t.Errorf("%q gives %+v", data, c.File)
		}
	})
}
