package incustest

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/crypto/ssh"
)

// The simulated bridge: guests have loopback addresses, so that they can be
// reached without rights. Where the system has but one (Linux has them all), they
// share it, and the user's name tells which guest is meant.
const (
	bridgeGateway = "127.77.0.1"
	loneAddress   = "127.0.0.1"
)

// sshSite is where the guests' sshd listen: each at its own address, all at one
// port.
type sshSite struct {
	port    int
	gateway string
	subnet  netip.Prefix
	reserve net.Listener // holds the port, at the gateway
	front   *sshd        // serves all guests where they share the address, else nil

	mu      sync.Mutex
	guests  map[*guest]*sshd
	refused int // keys
}

// newSSHSite takes port, or a free one, for the guests.
func newSSHSite(port int, gateway string) (*sshSite, error) {
	site := &sshSite{gateway: gateway, guests: map[*guest]*sshd{}}
	bits := 16
	if site.gateway == loneAddress {
		bits = 32
	}
	site.subnet = netip.PrefixFrom(netip.MustParseAddr(gateway), bits).Masked()
	var err error
	if site.reserve, err = net.Listen("tcp", net.JoinHostPort(gateway, strconv.Itoa(port))); err != nil {
		return nil, fmt.Errorf("listen for the SSH of guests: %w", err)
	}
	if address, ok := site.reserve.Addr().(*net.TCPAddr); ok {
		site.port = address.Port
	}
	return site, nil
}

// ForgetHostKey takes a guest's SSH host key away, as its owner may: the next boot
// makes another.
func (s *Server) ForgetHostKey(project, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.projects[project]; p != nil && p.instances[name] != nil {
		p.instances[name].guest.hostKey = nil
	}
}

// KeysRefused returns how many SSH keys guests have refused.
func (s *Server) KeysRefused() int {
	s.ssh.mu.Lock()
	defer s.ssh.mu.Unlock()
	return s.ssh.refused
}

// gatewayHere is the address of the bridge on this system.
func gatewayHere() string {
	if runtime.GOOS == "linux" {
		return bridgeGateway
	}
	return loneAddress
}

// shared says that all guests have one address.
func (site *sshSite) shared() bool { return site.gateway == loneAddress }

func (site *sshSite) close() {
	_ = site.reserve.Close()
	site.mu.Lock()
	defer site.mu.Unlock()
	for _, d := range site.guests {
		d.shut()
	}
	if site.front != nil {
		site.front.shut()
	}
}

// sshd is the SSH server of a running guest, or of all.
type sshd struct {
	site     *sshSite
	guest    *guest // nil for all
	listener net.Listener

	mu    sync.Mutex
	conns map[net.Conn]struct{} // nil after shut
}

// serve starts the sshd of a guest at its address.
func (site *sshSite) serve(s *Server, g *guest, address string) (*sshd, error) {
	if site.shared() {
		return site.join(s, g), nil
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(site.port)))
	if err != nil {
		return nil, err
	}
	d := &sshd{site: site, guest: g, listener: listener, conns: map[net.Conn]struct{}{}}
	site.mu.Lock()
	site.guests[g] = d
	site.mu.Unlock()
	d.accept(s, g.hostKey)
	return d, nil
}

// join adds a guest to those at the one address; the first one's host key is
// that of all.
func (site *sshSite) join(s *Server, g *guest) *sshd {
	site.mu.Lock()
	defer site.mu.Unlock()
	if site.front == nil {
		site.front = &sshd{site: site, listener: site.reserve, conns: map[net.Conn]struct{}{}}
		site.front.accept(s, g.hostKey)
	}
	d := &sshd{site: site, guest: g}
	site.guests[g] = d
	return d
}

// accept serves connections until the listener is closed.
func (d *sshd) accept(s *Server, hostKey ssh.Signer) {
	config := &ssh.ServerConfig{
		PublicKeyCallback: func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			g := d.guestOf(s, meta.User(), key)
			if g == nil {
				return nil, fmt.Errorf("%s has no such key", meta.User())
			}
			return &ssh.Permissions{ExtraData: map[any]any{guestKey{}: g}}, nil
		},
		AuthLogCallback: func(_ ssh.ConnMetadata, method string, err error) {
			if method == "publickey" && err != nil {
				d.site.mu.Lock()
				d.site.refused++
				d.site.mu.Unlock()
			}
		},
		ServerVersion: "SSH-2.0-OpenSSH_9.2p1 simulated",
	}
	config.AddHostKey(hostKey)
	s.work.Go(func() {
		for {
			conn, err := d.listener.Accept()
			if err != nil {
				return
			}
			if !d.track(conn) {
				continue
			}
			s.work.Go(func() {
				defer d.drop(conn)
				d.converse(s, conn, config)
			})
		}
	})
}

// guestKey is the key of the guest in a login's permissions.
type guestKey struct{}

// guestOf returns the guest that lets user in with key, or nil.
func (d *sshd) guestOf(s *Server, user string, key ssh.PublicKey) *guest {
	candidates := []*guest{d.guest}
	if d.guest == nil {
		d.site.mu.Lock()
		candidates = slices.Collect(maps.Keys(d.site.guests))
		d.site.mu.Unlock()
	}
	for _, g := range candidates {
		if s.authorized(g, user, key) {
			return g
		}
	}
	return nil
}

func (d *sshd) track(conn net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conns == nil {
		_ = conn.Close()
		return false
	}
	d.conns[conn] = struct{}{}
	return true
}

func (d *sshd) drop(conn net.Conn) {
	_ = conn.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.conns, conn)
}

// close ends the sshd and its connections.
func (d *sshd) close() {
	d.site.mu.Lock()
	delete(d.site.guests, d.guest)
	d.site.mu.Unlock()
	d.shut()
}

func (d *sshd) shut() {
	if d.listener != nil {
		_ = d.listener.Close()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for conn := range d.conns {
		_ = conn.Close()
	}
	d.conns = nil
}

// converse serves one connection: sessions, one command each.
func (d *sshd) converse(s *Server, conn net.Conn, config *ssh.ServerConfig) {
	server, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	g, _ := server.Permissions.ExtraData[guestKey{}].(*guest)
	s.work.Go(func() { ssh.DiscardRequests(requests) })
	ctx, cancel := context.WithCancel(s.life)
	defer cancel()
	for channel := range channels {
		if channel.ChannelType() != "session" {
			_ = channel.Reject(ssh.UnknownChannelType, "only sessions are simulated")
			continue
		}
		session, requests, err := channel.Accept()
		if err != nil {
			return
		}
		s.work.Go(func() { s.session(ctx, g, server.User(), session, requests) })
	}
}

// session runs the one command of a session; of a shell, those that come on its
// input, a line each.
func (s *Server) session(ctx context.Context, g *guest, user string, session ssh.Channel, requests <-chan *ssh.Request) {
	defer func() { _ = session.Close() }()
	std := stdio{session, session, session.Stderr()}
	for request := range requests {
		var code int
		switch request.Type {
		case "exec":
			var payload struct{ Command string }
			if ssh.Unmarshal(request.Payload, &payload) != nil {
				_ = request.Reply(false, nil)
				continue
			}
			_ = request.Reply(true, nil)
			code = s.runScript(ctx, g, user, payload.Command, std)
		case "shell":
			_ = request.Reply(true, nil)
			script, _ := io.ReadAll(io.LimitReader(session, 64<<10))
			code = s.runScript(ctx, g, user, string(script), std)
		case "env", "pty-req", "window-change":
			_ = request.Reply(true, nil)
			continue
		default:
			_ = request.Reply(false, nil)
			continue
		}
		status := struct{ Code uint32 }{uint32(code & 0xff)}
		_, _ = session.SendRequest("exit-status", false, ssh.Marshal(status))
		return
	}
}
