package incustest

import (
	"bytes"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/crypto/ssh"
)

// The marks between which account.sh writes keys.
const (
	keysBegin = "# BEGIN containarium"
	keysEnd   = "# END containarium"
)

// account does to the guest's files what incusx/account.sh does.
func (s *Server) account(g *guest, user string, keys []string, std stdio) int {
	switch image := g.instance.image; {
	case image.NoSSHD:
		return exitNoSSHD
	case image.NoSudo:
		return exitNoSudo
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := g.users[user]; !ok {
		g.users[user] = 999 + len(g.users)
		passwd := g.files["/etc/passwd"]
		passwd.content = fmt.Appendf(passwd.content, "%[1]s:x:%[2]d:%[2]d::/home/%[1]s:/bin/bash\n", user, g.users[user])
		g.files["/etc/passwd"] = passwd
	}
	g.files["/etc/sudoers.d/90-containarium"] = file{fmt.Appendf(nil, "%s ALL=(ALL:ALL) NOPASSWD:ALL\n", user), 0o440}

	path := keysPath(user)
	var out bytes.Buffer
	ours := false
	there := g.files[path]
	if there.mode&int(fs.ModeSymlink) != 0 { // what it leads to is read, and the link replaced
		there = g.files[string(there.content)]
	}
	for line := range bytes.Lines(there.content) {
		switch string(bytes.TrimRight(line, "\n")) {
		case keysBegin:
			ours = true
			continue
		case keysEnd:
			if ours {
				ours = false
				continue
			}
		}
		if !ours {
			out.Write(bytes.TrimRight(line, "\n"))
			out.WriteByte('\n') // also where the last line was left open
		}
	}
	out.WriteString(keysBegin + "\n")
	for _, key := range keys {
		out.WriteString(key + "\n")
	}
	out.WriteString(keysEnd + "\n")
	g.files[path] = file{out.Bytes(), 0o600}
	if g.instance.image.Docker {
		_, _ = fmt.Fprintln(std.out, "docker")
	}
	return 0
}

func keysPath(user string) string { return "/home/" + user + "/.ssh/authorized_keys" }

// authorized reports whether the guest lets user in with key. It fails closed: no
// user, no file, no such key.
func (s *Server) authorized(g *guest, user string, key ssh.PublicKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := g.users[user]; !ok {
		return false
	}
	for line := range bytes.Lines(g.files[keysPath(user)].content) {
		parsed, _, _, _, err := ssh.ParseAuthorizedKey(line)
		if err == nil && slices.Equal(parsed.Marshal(), key.Marshal()) {
			return true
		}
	}
	return false
}
