package client_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/footprintai/containarium/client"
)

const fleet = `default = "jump-2"

[servers.jump-3]
address = "c"
[servers.jump-1]
address = "a"
[servers.jump-2]
address = "b:50052"
[servers.again]
address = "a:50051"

[groups]
eu = ["jump-3", "jump-1", "jump-3"]
us = ["jump-2"]
none = []
`

func names(servers []client.Server) string {
	var all []string
	for _, s := range servers {
		all = append(all, s.Name)
	}
	return strings.Join(all, " ")
}

func TestSelect(t *testing.T) {
	config := load(t, write(t, fleet))
	for asked, want := range map[string]string{
		"":                        "jump-2", // the default
		" , ":                     "jump-2",
		"jump-3":                  "jump-3",
		"jump-3,jump-1":           "jump-3 jump-1", // as they were named
		" jump-3 , jump-1 ,":      "jump-3 jump-1",
		"jump-1|jump-3":           "jump-1 jump-3",
		"eu":                      "jump-3 jump-1",
		"jump-1,eu":               "jump-1 jump-3",
		"eu,us|jump-1":            "jump-3 jump-1 jump-2",
		"jump-1,jump-1":           "jump-1",
		"jump-1,a:50051,again":    "jump-1", // one address is one server
		"a,jump-1":                "a",
		"jump-1,192.0.2.7:1,eu":   "jump-1 192.0.2.7:1 jump-3",
		"b:50052,jump-2,b:50051":  "b:50052 b:50051",
		"[2001:db8::7],[::1]:123": "[2001:db8::7] [::1]:123",
	} {
		got, err := config.Select(strings.Split(asked, "|")...)
		if err != nil || names(got) != want {
			t.Errorf("%q: %q, %v; want %q", asked, names(got), err, want)
		}
	}
	got, err := config.Select("eu")
	if diff := cmp.Diff([]client.Server{config.Servers["jump-3"], config.Servers["jump-1"]}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	for asked, want := range map[string]string{
		"https://a":      "is not HOST or HOST:PORT",
		"jump-1,a:0":     "the port must be",
		"none":           `group "none" has no servers`,
		"jump-1,none,us": `group "none" has no servers`,
	} {
		if got, err := config.Select(asked); err == nil || got != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v; want %q", asked, got, err, want)
		}
	}
}

func TestSelectAll(t *testing.T) {
	config := load(t, write(t, fleet))
	// Of two entries for one address the first by name.
	if got, err := config.All(); err != nil || names(got) != "again jump-2 jump-3" {
		t.Errorf("all: %q, %v", names(got), err)
	}
	empty := load(t, filepath.Join(t.TempDir(), "config.toml"))
	if got, err := empty.All(); !errors.Is(err, client.ErrNoServer) || got != nil {
		t.Errorf("all of none: %v, %v", got, err)
	}
	if got, err := empty.Select(); !errors.Is(err, client.ErrNoServer) || got != nil {
		t.Errorf("the default of none: %v, %v", got, err)
	}
	if got, err := empty.Select("jump-1"); err != nil || names(got) != "jump-1" {
		t.Errorf("a host that has no entry: %v, %v", got, err)
	}
}

const shared = `[identities.ops]
cert = "ops/tls.crt"
key = "/certs/ops.key"
[identities.site]

[servers.jump-1]
address = "a"
identity = "ops"
[servers.jump-2]
address = "b"
identity = "ops"
[servers.jump-3]
address = "c"
identity = "site"
[servers.jump-4]
address = "d"
cert = "/certs/four.crt"

[groups]
eu = ["jump-1", "jump-4"]
`

// Servers that share an identity have its files, and keep sharing it when the file
// is written anew.
func TestIdentities(t *testing.T) {
	path := write(t, shared)
	in := func(name string) string { return filepath.Join(filepath.Dir(path), name) }
	config := load(t, path)
	for name, want := range map[string]client.Server{
		"jump-1": {Identity: "ops", Cert: in("ops/tls.crt"), Key: "/certs/ops.key", CA: in("ca.crt"), Address: "a:50051"},
		"jump-2": {Identity: "ops", Cert: in("ops/tls.crt"), Key: "/certs/ops.key", CA: in("ca.crt"), Address: "b:50051"},
		"jump-3": {Identity: "site", Cert: in("tls.crt"), Key: in("tls.key"), CA: in("ca.crt"), Address: "c:50051"},
		"jump-4": {Cert: "/certs/four.crt", Key: in("tls.key"), CA: in("ca.crt"), Address: "d:50051"},
	} {
		want.Name = name
		if diff := cmp.Diff(want, config.Servers[name]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if err := config.Save(); err != nil {
		t.Fatal(err)
	}
	saved := load(t, path)
	if diff := cmp.Diff(config, saved); diff != "" {
		t.Error(diff)
	}
	// One change reaches all who share it.
	saved.Identities["ops"] = client.Identity{Cert: "/new.crt", Key: "/new.key", CA: "/new-ca.crt", CRL: "/new-crl.pem"}
	if err := saved.Save(); err != nil {
		t.Fatal(err)
	}
	again := load(t, path)
	for _, name := range []string{"jump-1", "jump-2"} {
		if s := again.Servers[name]; s.Cert != "/new.crt" || s.Key != "/new.key" || s.CA != "/new-ca.crt" || s.CRL != "/new-crl.pem" {
			t.Errorf("%s: %+v", name, s)
		}
	}
	if diff := cmp.Diff(config.Groups, again.Groups); diff != "" {
		t.Error(diff)
	}
}

func TestGroupsAndIdentitiesRefused(t *testing.T) {
	server := "[servers.a]\naddress = \"a\"\n"
	for name, test := range map[string]struct{ data, want string }{
		"unknown identity":      {server + "\nidentity = \"ops\"\n", `:4: identity "ops" is not among the identities`},
		"identity and files":    {server + "identity = \"ops\"\ncert = \"x\"\n[identities.ops]\n", ":3: with an identity there is no cert, key, ca or crl"},
		"identity and crl":      {server + "identity = \"ops\"\ncrl = \"x\"\n[identities.ops]\n", ":3: with an identity there is no cert, key, ca or crl"},
		"name of an identity":   {"[identities.\"a:1\"]\n", ":1: "},
		"key of an identity":    {"[identities.ops]\naddress = \"a\"\n", `:2: unknown key "identities.ops.address"`},
		"key of another case":   {"[identities.ops]\nCert = \"a\"\n", `:2: unknown key "identities.ops.Cert"`},
		"type of an identity":   {"[identities]\nops = 1\n", ":2: "},
		"unknown member":        {server + "[groups]\neu = [\"a\", \"b\"]\n", `:4: group "eu": "b" is not among the servers`},
		"member is an address":  {server + "[groups]\neu = [\"a:50051\"]\n", `:4: group "eu": "a:50051" is not among the servers`},
		"group in a group":      {server + "[groups]\neu = [\"a\"]\nall = [\"eu\"]\n", `:5: group "all": "eu" is not among the servers`},
		"group named as server": {server + "[groups]\na = [\"a\"]\n", `:4: group "a" has the name of a server`},
		"name of a group":       {server + "[groups]\n\"x,y\" = [\"a\"]\n", ":4: "},
		"type of a group":       {server + "[groups]\neu = \"a\"\n", ":4: "},
		"table as a group":      {server + "[groups.eu]\na = 1\n", ":3: "},
		"default is a group":    {"default = \"eu\"\n" + server + "[groups]\neu = [\"a\"]\n", `:1: default "eu" is not among the servers`},
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

// What Save could not read again it does not write: a server that is still in a
// group, or an identity that is still used.
func TestSaveKeepsReferences(t *testing.T) {
	path := write(t, shared)
	for name, change := range map[string]func(*client.Config){
		"server of a group": func(c *client.Config) { delete(c.Servers, "jump-4") },
		"identity in use":   func(c *client.Config) { delete(c.Identities, "ops") },
	} {
		config := load(t, path)
		change(config)
		if err := config.Save(); err == nil || !strings.Contains(err.Error(), "is not among the") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := names([]client.Server{load(t, path).Servers["jump-4"]}); got != "jump-4" {
		t.Errorf("the file lost a server: %q", got)
	}
}

// Many that change the file at once lose nothing of what the others wrote.
func TestUpdateConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "config.toml")
	const writers = 20
	done := make(chan error, writers)
	for n := range writers {
		go func() {
			done <- client.UpdateConfig(t.Context(), path, func(c *client.Config) error {
				name := fmt.Sprintf("jump-%d", n)
				c.Servers[name] = client.Server{Name: name, Address: fmt.Sprintf("a:%d", n+1), Cert: "/c", Key: "/k", CA: "/ca"}
				return nil
			})
		}()
	}
	for range writers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got := len(load(t, path).Servers); got != writers {
		t.Errorf("%d servers, want %d", got, writers)
	}
	no := errors.New("no")
	if err := client.UpdateConfig(t.Context(), path, func(c *client.Config) error { clear(c.Servers); return no }); !errors.Is(err, no) {
		t.Errorf("a change that fails: %v", err)
	}
	if got := len(load(t, path).Servers); got != writers {
		t.Errorf("a change that failed was written: %d servers", got)
	}
}

// Whoever waits for a change that hangs waits no longer than its context.
func TestUpdateConfigWaits(t *testing.T) {
	path := write(t, fleet)
	inside, leave, left := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		left <- client.UpdateConfig(t.Context(), path, func(*client.Config) error { close(inside); <-leave; return nil })
	}()
	<-inside
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := client.UpdateConfig(ctx, path, func(*client.Config) error { t.Error("two at once"); return nil })
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), filepath.Dir(path)) {
		t.Errorf("got %v", err)
	}
	close(leave)
	if err := <-left; err != nil {
		t.Error(err)
	}
}
