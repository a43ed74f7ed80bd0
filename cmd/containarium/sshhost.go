package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/footprintai/containarium/client"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// Why nobody can log in to a container yet.
var (
	errStopped   = errors.New("the container is stopped")
	errNotReady  = errors.New("the container is not ready")
	errNoAddress = errors.New("the container has no address yet")
	errNoHostKey = errors.New("the container's SSH host key is not known yet, and without it nobody can tell who answers")
)

// sshHost is what ssh needs to know to log in to a container. All of it is
// checked: nothing that a server sent begins a line or an option of its own.
type sshHost struct {
	server, user string // server as it is in names, see sshName
	address      string
	port         string
	hostKey      string // type and base64
	jump         string
	jumpPort     string
	// jumpKeys are the jump host's, any of which it may show; where there are none
	// it is the user's own known_hosts that counts.
	jumpKeys []string
	// identity is the private key's file; "" leaves it to ssh.
	identity string
}

var (
	userName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)
	hostName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,252}$`)
	// outsideName finds what names no server, and is in HOST:PORT.
	outsideName = regexp.MustCompile(`[^A-Za-z0-9._-]+`)
)

// hopSuffix is behind the names of jump hosts. No server's and no user's name has
// a plus sign, so that these are no container's.
const hopSuffix = "+hop"

// sshName is a server as it is in ssh's names: of HOST:PORT what a name may have.
func sshName(server string) string {
	return strings.Trim(outsideName.ReplaceAllString(server, "-"), "-")
}

// maxJumpKeys bounds how many host keys a jump host may have: a daemon tells 16.
// They are pinned once for each container, and a server could send a million.
const maxJumpKeys = 16

// newSSHHost fails closed on what is no address, no key or no name.
func newSSHHost(server client.Server, c *pb.Container, jumpKeys []string) (*sshHost, error) {
	network := c.GetNetwork()
	h := &sshHost{server: sshName(server.Name), user: c.GetUsername(), port: "22"}
	if !userName.MatchString(h.user) {
		return nil, fmt.Errorf("the server sends %q, which is no user name", h.user)
	}
	if network.GetIpAddress() == "" {
		return nil, errNoAddress
	}
	address, err := netip.ParseAddr(network.GetIpAddress())
	if err != nil || address.Zone() != "" {
		return nil, fmt.Errorf("the server sends %q, which is no address", network.GetIpAddress())
	}
	h.address = address.String()
	if port := network.GetSshPort(); port > 65535 {
		return nil, fmt.Errorf("the server sends %d, which is no port", port)
	} else if port > 0 {
		h.port = fmt.Sprint(port)
	}
	if network.GetSshHostKey() == "" {
		return nil, errNoHostKey
	}
	if h.hostKey, err = plainHostKey(network.GetSshHostKey()); err != nil {
		return nil, err
	}
	if len(jumpKeys) > maxJumpKeys {
		return nil, fmt.Errorf("the server sends %d host keys of its jump host, more than %d", len(jumpKeys), maxJumpKeys)
	}
	for _, line := range jumpKeys {
		key, err := plainHostKey(line)
		if err != nil {
			return nil, err
		}
		h.jumpKeys = append(h.jumpKeys, key)
	}
	h.jump, h.jumpPort, err = jumpOf(server, network.GetJumpAddress())
	return h, err
}

// plainHostKey returns type and base64 of a host key.
func plainHostKey(line string) (string, error) {
	key, _, options, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil || len(options) > 0 {
		return "", errors.New("the server sends an SSH host key that is none")
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))), nil
}

// jumpOf is where users log in: the HOST or HOST:PORT that the daemon tells, else
// port 22 of the host that was asked.
func jumpOf(server client.Server, told string) (host, port string, err error) {
	address := told
	if address == "" {
		if address, _, err = net.SplitHostPort(server.Address); err != nil {
			address = server.Address
		}
	}
	whole, err := client.ParseAddress(address)
	if err == nil {
		host, port, err = net.SplitHostPort(whole)
	}
	if _, _, given := net.SplitHostPort(address); given != nil {
		port = "22"
	}
	if err != nil || !hostName.MatchString(host) {
		return "", "", fmt.Errorf("%q is no jump host: HOST or HOST:PORT", address)
	}
	return host, port, nil
}

// alias is the name under which ssh knows the container.
func (h *sshHost) alias() string { return h.server + "." + h.user }

// options are the lines of ssh's configuration behind "Host ALIAS", with those of
// the hop. known is the file of pins, as sshPath returns it.
func (h *sshHost) options(known string) string {
	pinned := []string{
		"UserKnownHostsFile " + known,
		"GlobalKnownHostsFile /dev/null", "StrictHostKeyChecking yes", "VerifyHostKeyDNS no", "CheckHostIP no", "UpdateHostKeys no",
	}
	var identity []string
	if h.identity != "" {
		identity = []string{"IdentityFile " + h.identity, "IdentitiesOnly yes"}
	}
	hop := h.alias() + hopSuffix
	lines := slices.Concat([]string{
		"HostName " + h.address, "Port " + h.port, "User " + h.user, "ProxyJump " + hop, "HostKeyAlias " + h.alias(),
	}, pinned, identity)
	text := "\t" + strings.Join(lines, "\n\t") + "\n"
	lines = slices.Concat([]string{"HostName " + h.jump, "Port " + h.jumpPort, "User " + h.user}, identity)
	if len(h.jumpKeys) > 0 {
		lines = append(append(lines, "HostKeyAlias "+h.server+hopSuffix), pinned...)
	}
	return text + "Host " + hop + "\n\t" + strings.Join(lines, "\n\t") + "\n"
}

// pins are the host keys as lines of known_hosts.
func (h *sshHost) pins() []string {
	lines := []string{h.alias() + " " + h.hostKey}
	for _, key := range h.jumpKeys {
		lines = append(lines, h.server+hopSuffix+" "+key)
	}
	return lines
}

// sshPath is a file's name as ssh's configuration has it. It fails closed: what
// ssh would read another way is refused.
func sshPath(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err == nil && (strings.ContainsAny(path, "\"\\\n\r") || strings.Contains(path, "${")) {
		err = fmt.Errorf("ssh can not read a path such as %q", path)
	}
	return `"` + strings.ReplaceAll(path, "%", "%%") + `"`, err
}

// identities finds the private keys' files of public ones.
type identities struct {
	// given is that of --identity, for all.
	given string
	// own are those in ~/.ssh, by the public key's type and base64.
	own map[string]string
}

// newIdentities looks at the user's public keys. Where there are none it is
// ssh that finds out which fits.
func newIdentities(given string) (*identities, error) {
	if given != "" {
		if _, err := os.Stat(given); err != nil {
			return nil, err
		}
		path, err := sshPath(given)
		return &identities{given: path}, err
	}
	i := &identities{own: map[string]string{}}
	home, err := os.UserHomeDir()
	if err != nil {
		return i, nil //nolint:nilerr // who has no home has no key there
	}
	files, _ := filepath.Glob(filepath.Join(home, ".ssh", "*.pub"))
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil || !info.Mode().IsRegular() || info.Size() > maxKeyFile {
			continue
		}
		path, err := sshPath(strings.TrimSuffix(file, ".pub"))
		data, unread := os.ReadFile(file)
		if err != nil || unread != nil {
			continue
		}
		if key := bare(string(data)); i.own[key] == "" {
			i.own[key] = path
		}
	}
	return i, nil
}

// of returns the file that opens a container; "" where none is known to.
func (i *identities) of(c *pb.Container) string {
	if i.given != "" {
		return i.given
	}
	for _, key := range c.GetSshKeys() {
		if path := i.own[bare(key.GetPublicKey())]; path != "" {
			return path
		}
	}
	return ""
}

// bare is a public key without its comment.
func bare(line string) string {
	fields := strings.Fields(line)
	return strings.Join(fields[:min(2, len(fields))], " ")
}
