package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/footprintai/containarium/daemon/config"
	"github.com/footprintai/containarium/daemon/config/strict"
)

const example = "../../config.example.toml"

// The example is the reference: it has every key there is, with its default.
func TestExampleIsComplete(t *testing.T) {
	data, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse(example, data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(config.Defaults(), c.File); diff != "" {
		t.Errorf("the example differs from the defaults (-default +example):\n%s", diff)
	}
	doc, err := strict.Decode(example, data, &config.File{})
	if err != nil {
		t.Fatal(err)
	}
	tables := reflect.TypeFor[config.File]()
	for i := range tables.NumField() {
		table := tables.Field(i)
		for j := range table.Type.NumField() {
			if key := []string{table.Tag.Get("toml"), table.Type.Field(j).Tag.Get("toml")}; !doc.IsDefined(key...) {
				t.Errorf("the example lacks %s", strings.Join(key, "."))
			}
		}
	}
}

func TestParseErrors(t *testing.T) {
	for name, test := range map[string]struct{ data, want string }{
		"unknown key":    {"[server]\naddres = \"x\"\n", `c.toml:2:1: unknown key "server.addres"; did you mean "address"?`},
		"no port":        {"[server]\naddress = \"host\"\n", "c.toml:2:1: server.address must be HOST:PORT"},
		"bad port":       {"[server]\naddress = \"host:70000\"\n", "c.toml:2:1: server.address must be HOST:PORT"},
		"no certificate": {"[server]\ncert = \"\"\n", "c.toml:2:1: server.cert must name a file"},
		"http port":      {"[http]\naddress = \"host\"\n", "c.toml:2:1: http.address must be HOST:PORT"},
		"one port":       {"[http]\naddress = \"0.0.0.0:50051\"\n", "c.toml:2:1: http.address must be another than server.address"},
		"no collector":   {"[traces]\nendpoint = \"host\"\nca = \"x\"\n", "c.toml:2:1: traces.endpoint must be HOST:PORT"},
		"no roots":       {"[traces]\nendpoint = \"host:4317\"\n", "c.toml: traces.ca must name a file"},
		"half a pair":    {"[traces]\ncert = \"x\"\n", "c.toml:2:1: traces.cert and key are a pair"},
		"no share":       {"[traces]\nsample = 0.0\n", "c.toml:2:1: traces.sample must be above 0"},
		"bad duration":   {"[server]\ndrain_timeout = \"soon\"\n", `c.toml:2:18: invalid duration: "soon"`},
		"too long":       {"[containers]\ncreate_timeout = \"2h\"\n", "c.toml:2:1: containers.create_timeout must be between 10s and 1h0m0s"},
		"log level":      {"[log]\nlevel = \"trace\"\n", "c.toml:2:1: log.level must be debug, info, warn or error"},
		"log format":     {"[log]\nformat = \"xml\"\n", "c.toml:2:1: log.format must be text or json"},
		"plain remote":   {"[incus.remotes]\nx = \"http://example.com\"\n", "c.toml:1:1: incus.remotes must map names without a colon to https URLs"},
		"cpu":            {"[containers]\ncpu = \"0\"\n", "c.toml:2:1: containers.cpu must be between 1"},
		"memory":         {"[containers]\nmemory = \"1\"\n", "c.toml:2:1: containers.memory must be a whole number with a unit"},
		"disk":           {"[containers]\ndisk = \"1MiB\"\n", "c.toml:2:1: containers.disk must be at least 512MiB"},
		"ssh port":       {"[containers]\nssh_port = 0\n", "c.toml:2:1: containers.ssh_port must be between 1 and 65535"},
		"group":          {"[jump]\ngroup = \"a b\"\n", "c.toml:2:1: jump.group must be the name of a group"},
		"jump address":   {"[jump]\naddress = \"a b\"\n", "c.toml:2:1: jump.address must be HOST:PORT"},
		"no list":        {"[server]\ncrl = \"\"\n", "c.toml:2:1: server.crl must name a file"},
		"trust from":     {"[tls]\ntrust_from = \"jump-1\"\n", "c.toml:2:1: tls.trust_from must be HOST:PORT"},
		"trust interval": {"[tls]\ntrust_interval = \"1ms\"\n", "c.toml:2:1: tls.trust_interval must be between 1s and 1h0m0s"},
		"asks as nobody": {"[tls]\ntrust_from = \"a:1\"\nclient_cert = \"\"\n", "c.toml:3:1: tls.client_cert must name a file"},
		"follows itself": {"[tls]\ntrust_from = \"a:1\"\n[ca]\ndir = \"pki\"\n", "c.toml:2:1: tls.trust_from must be empty where this daemon hosts the CA"},
		"no CA to open":  {"[ca]\npassphrase_file = \"x\"\n", "c.toml:2:1: ca.passphrase_file opens nothing without [ca] dir"},
		"host keys":      {"[jump]\nhost_keys = \"/etc/ssh/[\"\n", "c.toml:2:1: jump.host_keys must be a pattern of file names"},
		"jump port":      {"[jump]\naddress = \"a:0\"\n", "c.toml:2:1: jump.address must be HOST:PORT"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.Parse("c.toml", []byte(test.data))
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("error %v, want %s", err, test.want)
			}
		})
	}
}

func TestEveryMistakeIsNamed(t *testing.T) {
	_, err := config.Parse("c.toml", []byte("[log]\nlevel = \"x\"\nformat = \"x\"\n[jump]\ngroup = \"\"\n"))
	if err == nil || strings.Count(err.Error(), "c.toml:") != 3 {
		t.Errorf("error %v, want all three", err)
	}
}

func TestPathsAreRelativeToTheFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "c.toml")
	if err := os.WriteFile(path, []byte("[server]\ncert = \"tls/x.crt\"\n[ca]\ndir = \"pki\"\n[audit]\nfile = \"-\"\n[jump]\naddress = \"jump.example\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "tls/x.crt"); c.Server.Cert != want || c.Audit.File != "-" || c.CA.Dir != filepath.Join(dir, "pki") || c.CA.PassphraseFile != "" || c.Server.Key != config.Defaults().Server.Key {
		t.Errorf("cert %s, want %s; audit %s; key %s; CA %+v", c.Server.Cert, want, c.Audit.File, c.Server.Key, c.CA)
	}
}

// Without accounts the default is not meant, since this host is not the jump host.
func TestToldHostKeys(t *testing.T) {
	for data, want := range map[string]string{
		"":                           config.Defaults().Jump.HostKeys,
		"[jump]\naccounts = false\n": "",
		"[jump]\naccounts = false\nhost_keys = \"/a/*.pub\"": "/a/*.pub",
		"[jump]\nhost_keys = \"a/*.pub\"":                    "/etc/a/*.pub",
		"[jump]\nhost_keys = \"\"":                           "",
	} {
		c, err := config.Parse("/etc/c.toml", []byte(data))
		if err != nil || c.Jump.ToldHostKeys() != want {
			t.Errorf("%q: %+v, %v, want %q", data, c, err, want)
		}
	}
}

func TestAuditSinksAreNoPaths(t *testing.T) {
	for _, sink := range []string{"-", "journal"} {
		c, err := config.Parse("/etc/c.toml", []byte("[audit]\nfile = \""+sink+"\"\n"))
		if err != nil || c.Audit.File != sink {
			t.Errorf("%s: %v, %v", sink, c, err)
		}
	}
}

func TestLoadRefusesAFileThatOthersCanWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(path); err == nil || !strings.Contains(err.Error(), "chmod go-w") {
		t.Errorf("error %v, want a refusal", err)
	}
}
