package client_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/footprintai/containarium/client"
)

const twoServers = `# mine
default = "jump-1"

[servers.jump-1]
address = "jump-1.example.org"
cert = "/certs/one.crt"
key = "/certs/one.key"
ca = "/certs/ca.crt"

[servers.jump-2]
address = "192.0.2.7:50052"
cert = "two/tls.crt"
`

func write(t *testing.T, data string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, path string) *client.Config {
	t.Helper()
	config, err := client.LoadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func TestLoadConfig(t *testing.T) {
	path := write(t, twoServers)
	dir := filepath.Dir(path)
	want := &client.Config{
		Path:    path,
		Default: "jump-1",
		Servers: map[string]client.Server{
			"jump-1": {Name: "jump-1", Address: "jump-1.example.org:50051", Cert: "/certs/one.crt", Key: "/certs/one.key", CA: "/certs/ca.crt"},
			"jump-2": {
				Name: "jump-2", Address: "192.0.2.7:50052",
				Cert: filepath.Join(dir, "two/tls.crt"), Key: filepath.Join(dir, "tls.key"), CA: filepath.Join(dir, "ca.crt"),
			},
		},
		Identities: map[string]client.Identity{},
		Groups:     map[string][]string{},
	}
	if diff := cmp.Diff(want, load(t, path)); diff != "" {
		t.Error(diff)
	}
}

func TestLoadConfigHome(t *testing.T) {
	t.Setenv("HOME", "/home/ops")
	config := load(t, write(t, "[servers.a]\naddress = \"a\"\ncert = \"~/tls.crt\"\n"))
	if got := config.Servers["a"].Cert; got != "/home/ops/tls.crt" {
		t.Errorf("~ is %s", got)
	}
}

// Revocation lists are looked for beside the CA, unless the entry says where.
func TestConfigCRL(t *testing.T) {
	path := write(t, "[servers.a]\naddress = \"a\"\nca = \"/fleet/ca.crt\"\n[servers.b]\naddress = \"b\"\ncrl = \"lists/b.pem\"\n")
	config := load(t, path)
	for name, want := range map[string]string{"a": "/fleet/crl.pem", "b": filepath.Join(filepath.Dir(path), "lists/b.pem")} {
		if got := config.Servers[name].Files().CRL; got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if err := config.Save(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(config, load(t, path)); diff != "" {
		t.Error(diff)
	}
	host, err := config.Resolve("b:50051")
	if err != nil || host.CRL != config.Servers["b"].CRL {
		t.Errorf("a host with the address of b: %+v, %v", host, err)
	}
}

func TestLoadConfigRefuses(t *testing.T) {
	for name, test := range map[string]struct{ data, want string }{
		"syntax":           {"default = \n", ":1: "},
		"type":             {"[servers.a]\naddress = 1\n", ":2: "},
		"top":              {"\ndefalt = \"a\"\n", `:2: unknown key "defalt"`},
		"table":            {"[server.a]\naddress = \"a\"\n", `:1: unknown key "server.a"`},
		"crl of a type":    {"[servers.a]\naddress = \"a\"\ncrl = 1\n", ":3: "},
		"in an entry":      {"[servers.a]\naddress = \"a\"\ntoken = \"x\"\n", `:3: unknown key "servers.a.token"`},
		"another case":     {"[servers.a]\nAddress = \"a\"\n", `:2: unknown key "servers.a.Address"`},
		"deeper":           {"[servers.a]\naddress = \"a\"\n[servers.a.tls]\nx = 1\n", `:3: unknown key "servers.a.tls"`},
		"address":          {"\n[servers.a]\naddress = \"https://a\"\n", ":2: address "},
		"no address":       {"[servers.a]\ncert = \"x\"\n", ":1: address "},
		"name":             {"[servers.\"a:1\"]\naddress = \"a\"\n", ":1: "},
		"default is wrong": {"default = \"b\"\n[servers.a]\naddress = \"a\"\n", ":1: default \"b\""},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, test.data)
			_, err := client.LoadConfig(path)
			if err == nil || !strings.HasPrefix(err.Error(), path+test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line that begins with %s", err, path+test.want)
			}
		})
	}
}

func TestLoadConfigRefusesWhatOthersCanWrite(t *testing.T) {
	path := write(t, twoServers)
	for mode, ok := range map[os.FileMode]bool{0o600: true, 0o644: true, 0o620: false, 0o602: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := client.LoadConfig(path)
		if (err == nil) != ok {
			t.Errorf("mode %04o: %v", mode, err)
		}
		if err != nil && !strings.Contains(err.Error(), "chmod go-w "+path) {
			t.Errorf("mode %04o: the error does not say what to do: %v", mode, err)
		}
	}
	if _, err := client.LoadConfig(t.TempDir()); err == nil {
		t.Error("read a directory")
	}
}

func TestConfigPath(t *testing.T) {
	t.Setenv("HOME", "/home/ops")
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("CONTAINARIUM_CONFIG", "")
	expect := func(want string) {
		t.Helper()
		if got, err := client.ConfigPath(); got != want || err != nil {
			t.Errorf("%s, %v; want %s", got, err, want)
		}
	}
	expect("/home/ops/.config/containarium/config.toml")
	t.Setenv("XDG_CONFIG_HOME", "relative")
	expect("/home/ops/.config/containarium/config.toml")
	t.Setenv("XDG_CONFIG_HOME", "/xdg")
	expect("/xdg/containarium/config.toml")
	t.Setenv("CONTAINARIUM_CONFIG", "/etc/c.toml")
	expect("/etc/c.toml")
}

func TestResolve(t *testing.T) {
	config := load(t, write(t, twoServers))
	one, two := config.Servers["jump-1"], config.Servers["jump-2"]
	for asked, want := range map[string]client.Server{
		"":       one,
		"jump-1": one,
		"jump-2": two,
		// No entries: the address of one takes its files, others the default's.
		"192.0.2.7:50052": {Name: "192.0.2.7:50052", Address: "192.0.2.7:50052", Cert: two.Cert, Key: two.Key, CA: two.CA},
		"192.0.2.7":       {Name: "192.0.2.7", Address: "192.0.2.7:50051", Cert: one.Cert, Key: one.Key, CA: one.CA},
		"jump-3:50051":    {Name: "jump-3:50051", Address: "jump-3:50051", Cert: one.Cert, Key: one.Key, CA: one.CA},
	} {
		got, err := config.Resolve(asked)
		if err != nil {
			t.Errorf("%q: %v", asked, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", asked, diff)
		}
	}
	if _, err := config.Resolve("jump-1,jump-2"); err == nil {
		t.Error("a list was taken for one server")
	}
}

func TestResolveWithoutDefault(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none", "config.toml")
	config := load(t, path)
	if _, err := config.Resolve(""); !errors.Is(err, client.ErrNoServer) {
		t.Errorf("no servers: %v", err)
	}
	got, err := config.Resolve("jump-9")
	want := client.Server{
		Name: "jump-9", Address: "jump-9:50051",
		Cert: filepath.Join(filepath.Dir(path), "tls.crt"), Key: filepath.Join(filepath.Dir(path), "tls.key"), CA: filepath.Join(filepath.Dir(path), "ca.crt"),
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	only := client.Server{Name: "a", Address: "a:1", Cert: "/c", Key: "/k", CA: "/ca"}
	config.Servers["a"] = only
	if got, err := config.Resolve(""); got != only || err != nil {
		t.Errorf("the only server: %v, %v", got, err)
	}
	config.Servers["b"] = client.Server{Name: "b", Address: "b:1"}
	if got, err := config.Resolve(""); !errors.Is(err, client.ErrNoServer) {
		t.Errorf("of two servers without a default: %v, %v", got, err)
	}
}

func TestSave(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "config.toml")
	config := load(t, path)
	config.Default = "jump.1"
	config.Servers["jump.1"] = client.Server{Name: "jump.1", Address: "[2001:db8::7]:50051", Cert: `/a "b"/c`, Key: `/k\k`, CA: "/ca"}
	config.Servers["2"] = client.Server{Name: "2", Address: "b:1", Cert: "/c", Key: "/k", CA: "/ca"}
	if err := config.Save(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(config, load(t, path)); diff != "" {
		t.Error(diff)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("left in the directory: %v, %v", entries, err)
	}
}

func TestSaveReplacesNothingByWhatItCanNotRead(t *testing.T) {
	path := write(t, twoServers)
	config := load(t, path)
	config.Default = "nowhere"
	if err := config.Save(); err == nil {
		t.Error("saved a default that is no server")
	}
	if data, err := os.ReadFile(path); string(data) != twoServers || err != nil {
		t.Errorf("the file is now %q, %v", data, err)
	}
}

func TestSaveFollowsALink(t *testing.T) {
	target := write(t, twoServers)
	link := filepath.Join(t.TempDir(), "config.toml")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	config := load(t, link)
	config.Default = "jump-2"
	if err := config.Save(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v", err)
	}
	if got := load(t, target).Default; got != "jump-2" {
		t.Errorf("behind the link the default is %q", got)
	}
}
