package main

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/daemon/config/strict"
	"github.com/footprintai/containarium/incusx"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

func lsCommand() *cli.Command {
	return &cli.Command{
		Name:    "ls",
		Aliases: []string{"list"},
		Usage:   "list the containers that you may see",
		Description: describe(`Lists containers, by server and user. An empty limit is shown as -. -o wide has
more columns, and so has -o csv.`,
			"containarium ls",
			"containarium ls --state running --label team=web --user 'team-*'",
			"containarium ls --all --sort -memory -o wide",
			"containarium ls --all --state stopped --quiet | xargs containarium start",
			"containarium ls -o json | jq -r '.containers[].username'"),
		Flags: append(filterFlags(),
			containerKeys.flag("server, then user"),
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print names alone: USER, or SERVER:USER where several servers are asked", DisableDefaultText: true},
		),
		Action: ls,
	}
}

// filterFlags say which containers are meant; filterOf reads them.
func filterFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "state", Usage: "only those in this `STATE`: " + strings.Join(stateWords(), ", ")},
		&cli.StringSliceFlag{Name: "user", Usage: "only those of this `USER`, in which * stands for any text; of several, of any"},
		&cli.StringSliceFlag{Name: "label", Usage: "only those with this label, `KEY=VALUE`; of several, with all"},
	}
}

// filter is which containers are meant. The server knows states and labels, the
// users are looked at here.
type filter struct {
	request *pb.ListContainersRequest
	users   []string
}

func filterOf(c *cli.Context) (*filter, error) {
	labels, err := labelArguments(c)
	if err != nil {
		return nil, err
	}
	f := &filter{&pb.ListContainersRequest{Labels: labels}, c.StringSlice("user")}
	for _, word := range c.StringSlice("state") {
		state, ok := pb.ContainerState_value["CONTAINER_STATE_"+strings.ToUpper(word)]
		if !ok || !slices.Contains(stateWords(), strings.ToLower(word)) {
			return nil, usagef(c, "no state %q: %s%s", word, strings.Join(stateWords(), ", "), strict.Suggest(word, stateWords()))
		}
		f.request.States = append(f.request.States, pb.ContainerState(state))
	}
	return f, nil
}

func (f *filter) fits(user string) bool {
	return len(f.users) == 0 || slices.ContainsFunc(f.users, func(pattern string) bool { return matches(pattern, user) })
}

func ls(c *cli.Context) error {
	if _, err := operands(c, 0, 0); err != nil {
		return err
	}
	f, err := filterOf(c)
	if err != nil {
		return err
	}
	sorted, err := containerKeys.order(c)
	if err != nil {
		return err
	}
	if c.Bool("quiet") && terminalOf(c).format != formatTable {
		return usagef(c, "--quiet and --output exclude each other")
	}
	t, err := targetsOf(c, readTimeout)
	if err != nil {
		return err
	}
	call := func(ctx context.Context, s *session) (*pb.ListContainersResponse, error) {
		response, err := s.Containers.ListContainers(ctx, f.request)
		if err != nil {
			return nil, err
		}
		rows := listed(s.Server().Name, slices.DeleteFunc(response.GetContainers(), func(c *pb.Container) bool { return !f.fits(c.GetUsername()) }))
		sorted(rows)
		for i, row := range rows { // for the document
			response.Containers[i] = row.Container
		}
		response.Containers = response.GetContainers()[:len(rows)]
		return response, nil
	}
	if !t.fleet {
		return lsOne(c, t, call)
	}
	answers, failed := askAll(c, t, call)
	for _, answer := range answers {
		warnStale(terminalOf(c), answer.Server.Name, answer.Value.GetFreshness())
	}
	return showAll(c, t, answers, failed, func(term *terminal) error {
		var rows []container
		for _, answer := range answers {
			rows = append(rows, listed(answer.Server.Name, answer.Value.GetContainers())...)
		}
		sorted(rows)
		if len(rows) == 0 && failed == nil {
			term.notef("no containers on %d servers that you may see and that match", len(t.servers))
		}
		return lsTable(c, rows, true)
	})
}

// lsOne lists the containers of one server.
func lsOne(c *cli.Context, t *targets, call func(ctx context.Context, s *session) (*pb.ListContainersResponse, error)) error {
	s, err := t.dial(c, t.servers[0])
	if err != nil {
		return err
	}
	defer s.close()
	ctx, cancel := s.call(c.Context)
	defer cancel()
	response, err := call(ctx, s)
	if err != nil {
		return s.failed(err, "ls", "")
	}
	warnStale(terminalOf(c), s.Server().Name, response.GetFreshness())
	return show(c, response, func(t *terminal) error {
		if len(response.GetContainers()) == 0 {
			t.notef("no containers on %s that you may see and that match", s.Server().Name)
		}
		return lsTable(c, listed(s.Server().Name, response.GetContainers()), false)
	})
}

// lsTable prints rows, or their names alone; servers are told where there may be
// several.
func lsTable(c *cli.Context, rows []container, servers bool) error {
	t := terminalOf(c)
	if !c.Bool("quiet") {
		return t.table(containerTable(rows, servers, t.format != formatTable, time.Now()))
	}
	var names strings.Builder
	for _, row := range rows {
		if !userName.MatchString(row.GetUsername()) { // xargs would make other arguments of it
			t.warnf("%s is left out: the server sends %q, which is no user name", row.server, row.GetUsername())
			continue
		}
		if servers {
			names.WriteString(row.server + ":")
		}
		names.WriteString(row.GetUsername() + "\n")
	}
	return t.write(names.String())
}

// container is one on a server.
type container struct {
	server string
	*pb.Container
}

func listed(server string, containers []*pb.Container) []container {
	rows := make([]container, len(containers))
	for i, c := range containers {
		rows[i] = container{server, c}
	}
	return rows
}

// containerKeys are what containers are sorted by: the smallest limit first, the
// youngest container first.
var containerKeys = sortKeys[container]{
	"server":   func(c container) (sortKey, bool) { return byText(c.server) },
	"location": func(c container) (sortKey, bool) { return byText(c.GetLocation()) },
	"user":     func(c container) (sortKey, bool) { return byText(c.GetUsername()) },
	"state":    func(c container) (sortKey, bool) { return byText(stateWord(c.GetState())) },
	"image":    func(c container) (sortKey, bool) { return byText(c.GetImage()) },
	"address": func(c container) (sortKey, bool) {
		address, err := netip.ParseAddr(c.GetNetwork().GetIpAddress())
		return sortKey{text: string(address.AsSlice())}, err == nil
	},
	"age": func(c container) (sortKey, bool) {
		return sortKey{number: -float64(c.GetCreatedAt().GetSeconds())}, c.GetCreatedAt() != nil
	},
	"cpu": func(c container) (sortKey, bool) {
		cpu, err := incusx.ParseCPU(c.GetResources().GetCpu())
		return sortKey{number: cpu.Cores}, err == nil
	},
	"memory": func(c container) (sortKey, bool) { return bySize(c.GetResources().GetMemory()) },
	"disk":   func(c container) (sortKey, bool) { return bySize(c.GetResources().GetDisk()) },
}

func bySize(limit string) (sortKey, bool) {
	bytes, err := incusx.ParseSize(limit, 0)
	return sortKey{number: float64(bytes)}, err == nil
}

var (
	// containerHeads and wideHeads are above what containerTable shows.
	containerHeads = []string{"USER", "STATE", "ADDRESS", "CPU", "MEMORY", "DISK", "IMAGE", "AGE"}
	wideHeads      = []string{"CONTAINER", "MAC", "DOCKER", "AUTOSTART", "IMAGE-FINGERPRINT", "HOST-KEY", "LABELS"}
)

// containerTable shows containers, the server first where there may be several,
// with all that there is where it may be wide. Where any is on a member of a cluster
// it tells that, too.
func containerTable(containers []container, servers, wide bool, now time.Time) [][]string {
	rows := make([][]string, 0, len(containers)+1)
	clustered := wide || slices.ContainsFunc(containers, func(c container) bool { return c.GetLocation() != "" })
	add := func(server, location string, cells, more []string) {
		var row []string
		if servers {
			row = append(row, server)
		}
		row = append(row, cells...)
		if wide {
			row = append(row, more...)
		}
		if clustered {
			row = append(row, location)
		}
		rows = append(rows, row)
	}
	add("SERVER", "LOCATION", containerHeads, wideHeads)
	for _, c := range containers {
		r := c.GetResources()
		add(c.server, c.GetLocation(), []string{
			c.GetUsername(), stateWord(c.GetState()), c.GetNetwork().GetIpAddress(),
			r.GetCpu(), r.GetMemory(), r.GetDisk(), c.GetImage(), age(c.GetCreatedAt(), now),
		}, []string{
			c.GetName(), c.GetNetwork().GetMacAddress(), dockerWord(c.Container), yesNo(c.GetAutoStart()),
			shortPrint(c.GetImageFingerprint()), c.GetNetwork().GetSshHostKeyFingerprint(), pairs(c.GetLabels(), ","),
		})
	}
	return rows
}

// dockerWord is docker in a word.
func dockerWord(c *pb.Container) string {
	switch {
	case !c.GetDockerEnabled():
		return "off"
	case c.DockerInstalled != nil && !c.GetDockerInstalled():
		return "missing"
	}
	return "on"
}
