package strict_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/footprintai/containarium/daemon/config/strict"
)

type file struct {
	Server struct {
		Address string `toml:"address"`
		Port    int    `toml:"port"`
	} `toml:"server"`
	Names map[string]struct {
		List []string `toml:"list"`
	} `toml:"names"`
}

func TestDecodeErrors(t *testing.T) {
	for name, test := range map[string]struct{ data, want string }{
		"syntax":            {"[server]\naddress = \n", "f.toml:2:11: "},
		"type":              {"[server]\n\nport = \"x\"\n", "f.toml:3:1: "},
		"unknown key":       {"[server]\n# c\nadress = \"x\"\n", `f.toml:3:1: unknown key "server.adress"; did you mean "address"?`},
		"other case":        {"[server]\nAddress = \"x\"\n", `f.toml:2:1: unknown key "server.Address"; did you mean "address"?`},
		"unknown table":     {"[server]\n[sever]\na = 1\nb = 2\n", `f.toml:2:1: unknown key "sever"; did you mean "server"?`},
		"nothing near":      {"zzzzzz = 1\n", `f.toml:1:1: unknown key "zzzzzz"`},
		"in a map":          {"[names.a]\nlist = [\n \"x\",\n]\nlits = 1\n", `f.toml:5:1: unknown key "names.a.lits"; did you mean "list"?`},
		"in a quoted name":  {"[names.\"a b\"]\nlist2 = 1\n", `f.toml:2:1: unknown key "names.\"a b\".list2"; did you mean "list"?`},
		"in a dotted key":   {"server.port = 1\nserver.prot = 1\n", `f.toml:2:1: unknown key "server.prot"; did you mean "port"?`},
		"after many lines":  {"[names.a]\nlist = [\n]\n[names.b]\nlist = [\n\n]\nx = [\n1]\n", `f.toml:8:1: unknown key "names.b.x"`},
		"twice":             {"[server]\nport = 1\nport = 2\n", "f.toml:3:10: "},
		"two spellings":     {"[server]\nport = 1\nPort = 2\n", `f.toml:3:1: unknown key "server.Port"`},
		"in a plain string": {"[server]\naddress = \"port2 = 1\"\nport2 = 1\n", "f.toml:3:1: "},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := strict.Decode("f.toml", []byte(test.data), &file{})
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("error %v, want %s", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %v", err)
			}
		})
	}
}

func TestErrorfFindsTheValue(t *testing.T) {
	var f file
	d, err := strict.Decode("f.toml", []byte("[names.a]\n# x\nlist = [\n  \"one\",\n  'two',\n]\n"), &f)
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]string{"one": "f.toml:4:3: m", "two": "f.toml:5:3: m", "": "f.toml:3:1: m", "none": "f.toml:3:1: m"} {
		if got := d.Errorf([]string{"names", "a", "list"}, value, "m").Error(); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
	if got := d.Errorf([]string{"nowhere"}, "", "m").Error(); got != "f.toml: m" {
		t.Errorf("missing key: %s", got)
	}
}

func TestReadFileRefusesWhatOthersCanWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.toml")
	if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for mode, ok := range map[os.FileMode]bool{0o600: true, 0o644: true, 0o664: false, 0o646: false, 0o666: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := strict.ReadFile(path)
		if (err == nil) != ok {
			t.Errorf("mode %04o: %v", mode, err)
		}
		if err != nil && !strings.Contains(err.Error(), "chmod go-w "+path) {
			t.Errorf("mode %04o: the error does not say what to do: %v", mode, err)
		}
	}
	if _, err := strict.ReadFile(t.TempDir()); err == nil {
		t.Error("read a directory")
	}
}
