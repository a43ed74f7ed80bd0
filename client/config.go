package client

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/footprintai/containarium/pki/guard"
)

// ErrNoServer says that no server was asked for and none is the default.
var ErrNoServer = errors.New("no server is known")

// Config is the user's servers file:
//
//	default = "jump-1"
//
//	[identities.ops]
//	cert = "/home/ops/ops-laptop/tls.crt"
//	key = "/home/ops/ops-laptop/tls.key"
//	ca = "/home/ops/ops-laptop/ca.crt"
//
//	[servers.jump-1]
//	address = "jump-1.example.org:50051"
//	identity = "ops"
//
//	[groups]
//	eu = ["jump-1", "jump-2"]
//
// A server's entry may have cert, key and ca itself instead of an identity.
// Relative paths are taken from the file's directory. Without cert, key or ca it
// is tls.crt, tls.key or ca.crt in that directory; crl may name a file with
// revocation lists elsewhere than in crl.pem beside ca.
type Config struct {
	// Path is the file that it came from and goes to.
	Path string
	// Default names the server that is meant where none is asked for; may be empty.
	Default string
	// Servers are the entries by name.
	Servers map[string]Server
	// Identities are the files that entries share, by name.
	Identities map[string]Identity
	// Groups are the names of servers by the name of their group, which is not that
	// of a server.
	Groups map[string][]string
}

// Identity is what proves who we are to several servers: Server says what the
// files are.
type Identity struct {
	Cert string `toml:"cert,omitempty"`
	Key  string `toml:"key,omitempty"`
	CA   string `toml:"ca,omitempty"`
	CRL  string `toml:"crl,omitempty"`
}

// configFile is the file as it is written.
type configFile struct {
	Default    string                 `toml:"default,omitempty"`
	Identities map[string]Identity    `toml:"identities,omitempty"`
	Servers    map[string]serverEntry `toml:"servers"`
	Groups     map[string][]string    `toml:"groups,omitempty"`
}

type serverEntry struct {
	Address  string `toml:"address"`
	Identity string `toml:"identity,omitempty"`
	Cert     string `toml:"cert,omitempty"`
	Key      string `toml:"key,omitempty"`
	CA       string `toml:"ca,omitempty"`
	CRL      string `toml:"crl,omitempty"`
}

// serverName has no colon, comma or slash: a name never looks like HOST:PORT, a
// list or a path.
var serverName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// CheckName refuses what can not name a server.
func CheckName(name string) error {
	if !serverName.MatchString(name) {
		return fmt.Errorf("%q is not a name for a server: letters, digits and ._- only, at most 63", name)
	}
	return nil
}

// ConfigPath is where the user's servers file is: $CONTAINARIUM_CONFIG, else
// containarium/config.toml in $XDG_CONFIG_HOME or ~/.config.
func ConfigPath() (string, error) {
	if path := os.Getenv("CONTAINARIUM_CONFIG"); path != "" {
		return path, nil
	}
	// The XDG specification has relative values ignored.
	if dir := os.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "containarium", "config.toml"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the configuration: %w", err)
	}
	return filepath.Join(home, ".config", "containarium", "config.toml"), nil
}

// LoadConfig reads the servers file. A missing one is a Config without servers.
// It fails closed: a file that others can write is refused, since it says whom
// to trust, and so is one with an unknown key. Errors start with file and line.
func LoadConfig(path string) (*Config, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	data, err := guard.ReadFile(path, guard.Public, maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return newConfig(path), nil
	}
	if err != nil {
		return nil, err
	}
	return parseConfig(path, string(data))
}

func newConfig(path string) *Config {
	return &Config{Path: path, Servers: map[string]Server{}, Identities: map[string]Identity{}, Groups: map[string][]string{}}
}

func parseConfig(path, data string) (*Config, error) {
	var file configFile
	meta, err := toml.Decode(data, &file)
	if err != nil {
		return nil, parseError(path, err)
	}
	at := func(message string, key ...string) error {
		return fmt.Errorf("%s:%d: %s", path, lineOf(data, key), message)
	}
	for _, key := range meta.Keys() {
		if !knownKey(key) {
			return nil, at(fmt.Sprintf("unknown key %q", key.String()), key...)
		}
	}
	config := newConfig(path)
	config.Default = file.Default
	for _, name := range slices.Sorted(maps.Keys(file.Identities)) {
		if err := CheckName(name); err != nil {
			return nil, at(err.Error(), "identities", name)
		}
		config.Identities[name] = identityOf(config.withFiles(file.Identities[name].of(Server{})))
	}
	for _, name := range slices.Sorted(maps.Keys(file.Servers)) {
		entry := file.Servers[name]
		if err := CheckName(name); err != nil {
			return nil, at(err.Error(), "servers", name)
		}
		address, err := ParseAddress(entry.Address)
		if err != nil {
			return nil, at("address "+err.Error(), "servers", name)
		}
		server := Server{Name: name, Address: address, Identity: entry.Identity, Cert: entry.Cert, Key: entry.Key, CA: entry.CA, CRL: entry.CRL}
		if entry.Identity != "" {
			identity, ok := config.Identities[entry.Identity]
			if !ok {
				return nil, at(fmt.Sprintf("identity %q is not among the identities", entry.Identity), "servers", name, "identity")
			}
			// Fails closed: with files of both it would be open which of them count.
			if identityOf(server) != (Identity{}) {
				return nil, at("with an identity there is no cert, key, ca or crl", "servers", name, "identity")
			}
			server = identity.of(server)
		}
		config.Servers[name] = config.withFiles(server)
	}
	for _, name := range slices.Sorted(maps.Keys(file.Groups)) {
		if err := CheckName(name); err != nil {
			return nil, at(err.Error(), "groups", name)
		}
		if _, ok := config.Servers[name]; ok {
			return nil, at(fmt.Sprintf("group %q has the name of a server", name), "groups", name)
		}
		for _, member := range file.Groups[name] {
			if _, ok := config.Servers[member]; !ok {
				return nil, at(fmt.Sprintf("group %q: %q is not among the servers", name, member), "groups", name)
			}
		}
		config.Groups[name] = file.Groups[name]
	}
	if _, ok := config.Servers[config.Default]; config.Default != "" && !ok {
		return nil, at(fmt.Sprintf("default %q is not among the servers", config.Default), "default")
	}
	return config, nil
}

// knownKey compares exactly: the decoder would take "Address" for address, and
// of two spellings it would be open which counts.
func knownKey(key toml.Key) bool {
	switch len(key) {
	case 1:
		return slices.Contains([]string{"default", "identities", "servers", "groups"}, key[0])
	case 2:
		return slices.Contains([]string{"identities", "servers", "groups"}, key[0])
	case 3:
		return slices.Contains([]string{"cert", "key", "ca", "crl"}, key[2]) && key[0] != "groups" ||
			key[0] == "servers" && (key[2] == "address" || key[2] == "identity")
	}
	return false
}

func (i Identity) of(s Server) Server {
	s.Cert, s.Key, s.CA, s.CRL = i.Cert, i.Key, i.CA, i.CRL
	return s
}

func identityOf(s Server) Identity { return Identity{Cert: s.Cert, Key: s.Key, CA: s.CA, CRL: s.CRL} }

// withFiles fills in the files that an entry does not name, and makes paths
// absolute.
func (c *Config) withFiles(server Server) Server {
	dir := filepath.Dir(c.Path)
	for _, file := range []struct {
		path      *string
		otherwise string
	}{{&server.Cert, "tls.crt"}, {&server.Key, "tls.key"}, {&server.CA, "ca.crt"}, {&server.CRL, ""}} {
		if *file.path == "" {
			*file.path = file.otherwise
		}
		if *file.path == "" {
			continue
		}
		if rest, ok := strings.CutPrefix(*file.path, "~/"); ok {
			if home, err := os.UserHomeDir(); err == nil {
				*file.path = filepath.Join(home, rest)
			}
		}
		if !filepath.IsAbs(*file.path) {
			*file.path = filepath.Join(dir, *file.path)
		}
	}
	return server
}

// Resolve finds the server that is meant: one of the entries by name, else
// HOST[:PORT]. An empty string means the default, or the only entry; without
// either it returns ErrNoServer. A host that is no entry is called with the files
// of the entry with the same address, else of the default: one CA serves a fleet.
func (c *Config) Resolve(server string) (Server, error) {
	if server == "" {
		if s, ok := c.defaultServer(); ok {
			return s, nil
		}
		return Server{}, ErrNoServer
	}
	if s, ok := c.Servers[server]; ok {
		return s, nil
	}
	address, err := ParseAddress(server)
	if err != nil {
		return Server{}, err
	}
	from, _ := c.defaultServer()
	for _, name := range slices.Sorted(maps.Keys(c.Servers)) {
		if c.Servers[name].Address == address {
			from = c.Servers[name]
			break
		}
	}
	from.Name, from.Address = server, address
	return c.withFiles(from), nil
}

func (c *Config) defaultServer() (Server, bool) {
	if s, ok := c.Servers[c.Default]; ok {
		return s, true
	}
	if len(c.Servers) == 1 {
		for _, s := range c.Servers {
			return s, true
		}
	}
	return Server{}, false
}

// parseError puts file and line in front of what the decoder says.
func parseError(path string, err error) error {
	var parse toml.ParseError
	if errors.As(err, &parse) {
		return fmt.Errorf("%s:%d: %s", path, parse.Position.Line, parse.Message)
	}
	line := 0 // a value of the wrong type: "toml: line N (last key K): ..."
	_, _ = fmt.Sscanf(err.Error(), "toml: line %d", &line)
	_, message, _ := strings.Cut(err.Error(), "last key ")
	return fmt.Errorf("%s:%d: %s", path, line, strings.Replace(message, "):", ":", 1))
}

// lineOf finds the line of a key, starting at 1, by parsing ever more of the file
// until the key appears: the decoder does not tell.
func lineOf(data string, key toml.Key) int {
	lines := strings.SplitAfter(data, "\n")
	start := 0 // first line of the statement that is being read
	for n := range lines {
		meta, err := toml.Decode(strings.Join(lines[:n+1], ""), &map[string]any{})
		if err != nil {
			continue // in the middle of a value of several lines
		}
		if meta.IsDefined(key...) {
			return start + 1
		}
		start = n + 1
	}
	return 0
}
