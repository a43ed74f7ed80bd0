package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/client"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

func sshConfigCommand() *cli.Command {
	return &cli.Command{
		Name:  "ssh-config",
		Usage: "write the containers of all servers for ssh to know",
		Description: describe(`Writes a file for your own ssh configuration to include, with SERVER.USER and,
where one server alone has that user, USER for each container that you may see, on
all servers or on those of --server. ssh, scp, rsync and editors then reach them
through the jump hosts, and beside it FILE.known_hosts has the host keys, so that
nothing is asked. Run it again after changes: what is between the lines BEGIN and
END is replaced, all else stays, and nothing is written where nothing has changed.
A server that does not answer keeps what it had. With - the configuration goes to
standard output, and the host keys to a file of the program's own.`,
			"containarium ssh-config",
			"containarium ssh-config --server jump-1,jump-2 --output-file ~/.ssh/config.d/containers",
			"scp notes.txt jump-1.alice:"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output-file", Usage: "write to this `FILE`; - is standard output", DefaultText: "~/.ssh/containarium_config", TakesFile: true},
			&cli.StringFlag{Name: "identity", Aliases: []string{"i"}, Usage: "log in with this private key, a `FILE`; else with the one in ~/.ssh that opens the container", TakesFile: true},
		},
		Action: sshConfig,
	}
}

func sshConfig(c *cli.Context) error {
	if _, err := operands(c, 0, 0); err != nil {
		return err
	}
	keys, err := newIdentities(c.String("identity"))
	if err != nil {
		return usagef(c, "--identity: %s", err)
	}
	file, err := newSSHFile(c.String("output-file"))
	if err != nil {
		return err
	}
	t, err := everywhere(c, readTimeout, "")
	if err != nil {
		return err
	}
	if err := distinct(c, t.servers); err != nil {
		return err
	}
	file.taken = hostsOf(t)
	answers, failed := askAll(c, t, func(ctx context.Context, s *session) (*pb.ListContainersResponse, error) {
		return s.Containers.ListContainers(ctx, &pb.ListContainersRequest{})
	})
	lists := map[string]*pb.ListContainersResponse{}
	for _, answer := range answers {
		lists[answer.Server.Name] = answer.Value
	}
	for _, server := range t.servers {
		list, answered := lists[server.Name]
		if !answered {
			file.keep(sshName(server.Name))
			continue
		}
		warnStale(terminalOf(c), server.Name, list.GetFreshness())
		if len(list.GetContainers()) > 0 && len(list.GetJumpHostKeys()) == 0 {
			terminalOf(c).warnf("%s does not tell the host keys of its jump host: ssh goes by your own known_hosts there", server.Name)
		}
		for _, container := range list.GetContainers() {
			host, err := newSSHHost(server, container, list.GetJumpHostKeys())
			if err != nil {
				leftOut(terminalOf(c), server, container, err)
				continue
			}
			host.identity = keys.of(container)
			file.add(host)
		}
	}
	if c.Err() != nil && failed != nil {
		return failed // interrupted: what is there is better
	}
	if err := file.write(terminalOf(c)); err != nil {
		return err
	}
	return failed
}

// hostsOf are the names of servers and of their hosts, and this machine's.
func hostsOf(t *targets) map[string]bool {
	names := map[string]bool{"localhost": true}
	for _, server := range slices.Concat(t.servers, slices.Collect(maps.Values(t.config.Servers))) {
		names[server.Name] = true
		if host, _, err := net.SplitHostPort(server.Address); err == nil {
			names[host] = true
		}
	}
	return names
}

// distinct refuses servers that ssh could not tell apart.
func distinct(c *cli.Context, servers []client.Server) error {
	names := map[string]string{}
	for _, server := range servers {
		name := sshName(server.Name)
		if other, ok := names[name]; ok {
			return usagef(c, "%s and %s would be one name for ssh: containarium server add gives them names", other, server.Name)
		}
		names[name] = server.Name
	}
	return nil
}

// leftOut says why a container is not in the file, where that is not plain: one
// that is being made has no address.
func leftOut(t *terminal, server client.Server, c *pb.Container, err error) {
	if errors.Is(err, errNoAddress) {
		return
	}
	t.warnf("%s is left out: %s", place{c.GetUsername(), server}, err)
}

// sshFile is the file to include, and that of the pins beside it.
type sshFile struct {
	path, knownPath string // path may be standard
	known           string // as sshPath returns it
	isNew           bool
	old, oldKnown   managed
	// blocks are what is to be in it, pins the lines of the other.
	blocks []sshBlock
	pins   []string
	// taken are names that mean something else to ssh's user: no container gets one
	// for its own.
	taken map[string]bool
}

// sshBlock is one container in it.
type sshBlock struct {
	server, user string
	options      string // see sshHost.options
}

func (b sshBlock) alias() string { return b.server + "." + b.user }

func newSSHFile(path string) (*sshFile, error) {
	f := &sshFile{path: path, knownPath: path + ".known_hosts"}
	var err error
	switch path {
	case standard:
		var dir string
		if dir, err = stateDir(); err == nil {
			f.knownPath = filepath.Join(dir, "known_hosts")
		}
	case "":
		var home string
		if home, err = os.UserHomeDir(); err == nil {
			dir := filepath.Join(home, ".ssh")
			f.path = filepath.Join(dir, "containarium_config")
			f.knownPath = f.path + ".known_hosts"
			err = os.MkdirAll(dir, 0o700)
		}
	}
	if err != nil {
		return nil, err
	}
	if f.known, err = sshPath(f.knownPath); err != nil {
		return nil, err
	}
	if f.oldKnown, err = readManaged(f.knownPath); err != nil || path == standard {
		return f, err
	}
	f.old, err = readManaged(f.path)
	if _, missing := os.Stat(f.path); missing != nil {
		f.isNew = true
	}
	return f, err
}

func (f *sshFile) add(h *sshHost) {
	f.blocks = append(f.blocks, sshBlock{h.server, h.user, h.options(f.known)})
	f.pins = append(f.pins, h.pins()...)
}

// keep takes over what the file has of a server.
func (f *sshFile) keep(server string) {
	names := map[string]bool{server + hopSuffix: true}
	for _, block := range parseBlocks(f.old.body) {
		if block.server == server {
			f.blocks = append(f.blocks, block)
			names[block.alias()] = true
		}
	}
	for line := range strings.Lines(f.oldKnown.body) {
		if name, _, _ := strings.Cut(line, " "); names[name] {
			f.pins = append(f.pins, strings.TrimSuffix(line, "\n"))
		}
	}
}

// keepPins takes over the old pins of all names that have no new one.
func (f *sshFile) keepPins() {
	now := map[string]bool{}
	for _, line := range f.pins {
		name, _, _ := strings.Cut(line, " ")
		now[name] = true
	}
	for line := range strings.Lines(f.oldKnown.body) {
		if name, _, _ := strings.Cut(line, " "); !now[name] {
			f.pins = append(f.pins, strings.TrimSuffix(line, "\n"))
		}
	}
}

// serverMark begins a server's blocks.
const serverMark = "# server "

// parseBlocks reads what text wrote.
func parseBlocks(body string) []sshBlock {
	var blocks []sshBlock
	server := ""
	open := false // whether lines belong to the last block
	for line := range strings.Lines(body) {
		if name, ok := strings.CutPrefix(line, serverMark); ok {
			server, open = strings.TrimSpace(name), false
			continue
		}
		if names, ok := strings.CutPrefix(line, "Host "); ok && !strings.HasSuffix(strings.TrimSpace(names), hopSuffix) {
			alias, _, _ := strings.Cut(strings.TrimSpace(names), " ")
			user, ours := strings.CutPrefix(alias, server+".")
			if open = ours; open {
				blocks = append(blocks, sshBlock{server: server, user: user})
			}
			continue
		}
		if open {
			blocks[len(blocks)-1].options += line
		}
	}
	return blocks
}

// text is the configuration: of each server its containers, and each of them
// under the user's name alone where no other server has that user, and the name is
// not that of a server: whoever names users would take over logins to that.
func (f *sshFile) text() string {
	count := map[string]int{}
	for _, block := range f.blocks {
		count[block.user]++
	}
	var b strings.Builder
	server := ""
	for _, block := range f.blocks {
		if block.server != server {
			server = block.server
			b.WriteString(serverMark + server + "\n")
		}
		b.WriteString("Host " + block.alias())
		if count[block.user] == 1 && !f.taken[block.user] {
			b.WriteString(" " + block.user)
		}
		b.WriteString("\n" + block.options)
	}
	if server != "" {
		b.WriteString("Host *\n") // what stands behind is not about the last one
	}
	return b.String()
}

// write writes both files where they change, the pins first: a name without its
// pin lets nobody in.
func (f *sshFile) write(t *terminal) error {
	if f.path == standard {
		f.keepPins() // who knows what else was printed, and is in use
	}
	slices.Sort(f.pins)
	var pins strings.Builder
	for _, line := range slices.Compact(f.pins) {
		pins.WriteString(line + "\n")
	}
	known, data := f.oldKnown.with(pins.String()), f.old.with(f.text())
	if len(known) > maxManaged || len(data) > maxManaged { // it could not be read again
		return fmt.Errorf("%s would be larger than %d bytes, and nothing was changed: --server names fewer servers", f.path, maxManaged)
	}
	if err := keepFile(f.knownPath, known); err != nil {
		return err
	}
	if f.path == standard {
		return t.writeOutput(standard, data, 0o600, true)
	}
	if err := keepFile(f.path, data); err != nil {
		return err
	}
	what := fmt.Sprintf("%d containers are", len(f.blocks))
	if len(f.blocks) == 1 {
		what = "1 container is"
	}
	t.notef("%s in %s", what, f.path)
	if f.isNew {
		t.notef(`once, at the top of your own ssh configuration (~/.ssh/config): Include "%s"`, f.path)
	}
	return nil
}
