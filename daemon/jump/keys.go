package jump

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/footprintai/containarium/daemon/sshkey"
)

// keyLines returns an authorized_keys file. It fails closed: what is not an IP
// address, or not exactly one plain public key, could widen what a line allows.
func keyLines(keys []string, address string, port int) (string, error) {
	ip, err := netip.ParseAddr(address)
	if err != nil || ip.Zone() != "" || ip.IsUnspecified() {
		return "", fmt.Errorf("%q is not the address of a container", address)
	}
	var lines strings.Builder
	for i, line := range keys {
		key, err := sshkey.Parse(line)
		if err != nil {
			return "", fmt.Errorf("key %d %w", i+1, err)
		}
		lines.WriteString(keyLine(key, ip, port) + "\n")
	}
	return lines.String(), nil
}

// keyLine restricts a key to one thing: a connection to sshd of one container.
//
//   - restrict takes everything away, port-forwarding gives TCP forwarding back
//   - permitopen leaves one destination, so the host's own loopback, where the
//     daemon listens, and its unix sockets stay out of reach
//   - permitlisten leaves one address to listen on that only root may take, so
//     remote forwarding is of no use; it can not be said to be "none"
//   - command refuses what a session would run; internal-sftp, for which sshd
//     needs no shell, too
//
// Listening on a unix socket of the host, where the account may make one, is not
// a key's option: contrib/sshd closes it.
func keyLine(key sshkey.Key, ip netip.Addr, port int) string {
	return fmt.Sprintf(`restrict,port-forwarding,permitopen="%s",permitlisten="localhost:1",command="%s" %s`,
		net.JoinHostPort(ip.String(), strconv.Itoa(port)), nologin, key)
}

// writeKeys replaces the account's authorized_keys at once: sshd sees the old
// keys or the new ones.
func (a *Accounts) writeKeys(username, lines string) error {
	file := filepath.Join(a.sshDir(username), "authorized_keys")
	if old, err := os.ReadFile(file); err == nil && string(old) == lines {
		return nil
	}
	next := file + ".new"
	if err := writePublic(next, lines); err != nil {
		return fmt.Errorf("write the jump keys of %s: %w", username, err)
	}
	if err := os.Rename(next, file); err != nil {
		return fmt.Errorf("write the jump keys of %s: %w", username, err)
	}
	return nil
}

// writePublic writes a file that everybody can read, whatever the umask: sshd
// reads it as the account.
func writePublic(file, content string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644) //nolint:gosec // public keys
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	return errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
}
