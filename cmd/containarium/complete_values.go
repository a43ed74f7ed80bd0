package main

import (
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/client"
)

// flagValues are what a flag takes. Of values with commas between only the last
// is completed.
func (l *completion) flagValues(flag cli.Flag, word string) []candidate {
	name := flag.Names()[0]
	before := ""
	if n := strings.LastIndex(word, ","); n >= 0 {
		before = word[:n+1]
	}
	switch name {
	case "server", "servers":
		return list(before, l.servers(true)...)
	case "output":
		return list("", formats...)
	case "state":
		return list("", stateWords()...)
	case "place":
		return list("", leastLoaded)
	case "user":
		return list("", l.users(l.asked())...)
	case "identity":
		if config := l.config(); config != nil && len(l.path) > 0 && l.path[0] == "server" {
			return list("", slices.Sorted(maps.Keys(config.Identities))...)
		}
		return nil
	case "group":
		if config := l.config(); config != nil {
			return list("", slices.Sorted(maps.Keys(config.Groups))...)
		}
	case "sort":
		return listAfterColon(flag)
	case "ssh-key":
		return nil
	}
	if file, ok := flag.(*cli.StringFlag); ok && file.TakesFile {
		return nil
	}
	return []candidate{}
}

func list(before string, texts ...string) []candidate {
	all := make([]candidate, len(texts))
	for i, text := range texts {
		all[i].text = before + text
	}
	return all
}

// listAfterColon are the values that a flag's usage names at its end.
func listAfterColon(flag cli.Flag) []candidate {
	documented, ok := flag.(cli.DocGenerationFlag)
	if !ok {
		return []candidate{}
	}
	_, values, _ := strings.Cut(documented.GetUsage(), ": ")
	return list("", strings.Split(values, ", ")...)
}

// operand are what the command takes there, by its ArgsUsage.
func (l *completion) operand(word string) []candidate {
	if l.command == nil {
		return []candidate{}
	}
	if l.ended && l.command.Name == "ssh" {
		return nil // a command on the other side
	}
	wanted := strings.Fields(l.command.ArgsUsage)
	at := len(l.operands)
	if n := len(wanted); n > 0 && strings.HasSuffix(wanted[n-1], "...") {
		at = min(at, n-1)
	}
	if at >= len(wanted) {
		return []candidate{}
	}
	path := strings.Join(l.path, " ")
	switch kind := strings.Trim(strings.TrimSuffix(wanted[at], "..."), "[]"); {
	case path == "create" || path == "remote create":
		if kind == "SERVER" {
			return list("", l.servers(false)...)
		}
		return list("", places(l.servers(false))...) // the user is new
	case kind == "SERVER:]USER":
		return l.userPlaces(word)
	case kind == "USER":
		return list("", l.users(l.asked())...)
	case kind == "SERVER", path == "server rm", path == "server default":
		return list("", l.servers(false)...)
	case kind == "FILE", kind == "KEY", kind == "NAME|SERIAL|FILE":
		return nil
	case strings.Contains(kind, "|") && strings.ToLower(kind) == kind:
		return list("", strings.Split(kind, "|")...)
	}
	return []candidate{}
}

// places are servers before a user.
func places(servers []string) []string {
	for i := range servers {
		servers[i] += ":"
	}
	return servers
}

// userPlaces are USER, and SERVER:USER where the word has come to that.
func (l *completion) userPlaces(word string) []candidate {
	if name, _, with := cutServer(word); with {
		config := l.config()
		if config == nil {
			return []candidate{}
		}
		server, err := config.Resolve(name)
		if err != nil {
			return []candidate{}
		}
		return list(name+":", l.users([]client.Server{server})...)
	}
	all := list("", l.users(l.asked())...)
	if servers := l.servers(false); len(servers) > 1 {
		all = append(all, list("", places(servers)...)...)
	}
	return all
}

// global is the value of a global flag on the line, else of the environment.
func (l *completion) global(name, variable string) string {
	if value, ok := l.values[name]; ok {
		return value
	}
	return os.Getenv(variable)
}

// config is the configuration, or nil where that can not be read.
func (l *completion) config() *client.Config {
	path := l.global("config", "CONTAINARIUM_CONFIG")
	if path == "" {
		var err error
		if path, err = client.ConfigPath(); err != nil {
			return nil
		}
	}
	config, err := client.LoadConfig(path)
	if err != nil {
		return nil
	}
	return config
}

// servers are the names in the configuration.
func (l *completion) servers(groups bool) []string {
	config := l.config()
	if config == nil {
		return nil
	}
	names := slices.Sorted(maps.Keys(config.Servers))
	if groups {
		names = append(names, slices.Sorted(maps.Keys(config.Groups))...)
	}
	return names
}

// asked are the servers that the command line is about so far.
func (l *completion) asked() []client.Server {
	config := l.config()
	if config == nil {
		return nil
	}
	_, all := l.values["all"]
	name, given := l.values["server"]
	if !given && (len(l.path) == 0 || l.path[0] != "ssh") {
		name = os.Getenv("CONTAINARIUM_SERVER")
	}
	if len(l.path) > 0 && l.path[0] == "remote" && len(l.operands) > 0 {
		name = l.operands[0]
	}
	var servers []client.Server
	var err error
	if name == "" && (all || len(l.path) > 0 && l.path[0] == "ssh") {
		servers, err = config.All()
	} else {
		servers, err = config.Select(name)
	}
	if err != nil {
		return nil
	}
	return servers
}

// users are the users of servers, each once.
func (l *completion) users(servers []client.Server) []string {
	for i := range servers {
		for name, file := range map[string]*string{"cert": &servers[i].Cert, "key": &servers[i].Key, "ca": &servers[i].CA} {
			if path := l.global(name, "CONTAINARIUM_"+strings.ToUpper(name)); path != "" {
				*file = path
			}
		}
	}
	return remembered(l.ctx, servers, l.self)
}
