package incusx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/lxc/incus/v6/shared/api"
	"github.com/pkg/sftp"
)

// SetKeys writes the keys of a container, lines of authorized_keys, on its
// instance: from then on they are its keys. The guest gets them by SyncKeys.
func (c *Client) SetKeys(ctx context.Context, username string, keys []string) (Container, error) {
	return c.set(ctx, username, map[string]string{keyKeys: strings.Join(keys, "\n")})
}

// SyncKeys gives a running guest the keys that its instance carries: into the
// managed part of the user's authorized_keys, at once and without a command in
// the guest. Where the account is not as it was made, it is made anew.
func (c *Client) SyncKeys(ctx context.Context, container Container) error {
	ctx, cancel := context.WithTimeout(ctx, accountTimeout)
	defer cancel()
	server, err := c.connect(ctx)
	if err != nil {
		return err
	}
	_, instance, _, err := get(server, container.Username)
	if err != nil {
		return err
	}
	if instance.StatusCode == api.Stopped {
		// Incus would mount it for us, and keep the next start waiting for a second.
		return fmt.Errorf("write the keys of %s in the guest: the instance %w", container.Username, ErrStopped)
	}
	err = c.pushKeys(ctx, container)
	if errors.Is(err, errUnusual) {
		_, err = ensureAccount(ctx, server, container.Username, container.SSHKeys)
	}
	if err != nil {
		return err
	}
	_, err = c.patch(server, instance, map[string]string{keySynced: keysDigest(container.SSHKeys)})
	return err
}

// set sets config keys on a container's instance and no others.
func (c *Client) set(ctx context.Context, username string, config map[string]string) (Container, error) {
	server, err := c.connect(ctx)
	if err != nil {
		return Container{}, err
	}
	_, instance, _, err := get(server, username)
	if err != nil {
		return Container{}, err
	}
	return c.patch(server, instance, config)
}

// fileMost bounds what is read of a guest's file, in bytes: its owner may have
// put anything there.
const fileMost = 1 << 20

// errUnusual says that a guest is not as account.sh leaves it.
var errUnusual = errors.New("the account is not as it was made")

// pushKeys writes the managed part of the user's authorized_keys. errUnusual
// where anything on the way is not what account.sh makes: no such user, a link
// or a pipe instead of a file, no folder, too much in it.
func (c *Client) pushKeys(ctx context.Context, container Container) error {
	files, err := c.openFiles(ctx, container.Name)
	if err != nil {
		return err
	}
	defer files.close()
	err = writeKeys(files.Client, container.Username, container.SSHKeys)
	switch {
	case err == nil || errors.Is(err, errUnusual):
		return err
	case ctx.Err() != nil: // the connection was closed for it
		err = ctx.Err()
	case errors.Is(err, sftp.ErrSSHFxConnectionLost):
		err = io.ErrUnexpectedEOF
	}
	return classify("write the keys of "+container.Username+" in the guest", err)
}

func writeKeys(files *sftp.Client, username string, keys []string) error {
	passwd, err := readPlain(files, "/etc/passwd")
	if err != nil {
		return err
	}
	uid, gid, home, ok := passwdEntry(passwd, username)
	if !ok {
		return errUnusual
	}
	folder := path.Join(home, ".ssh")
	if info, err := files.Lstat(folder); errors.Is(err, os.ErrNotExist) || err == nil && !info.IsDir() {
		return errUnusual
	} else if err != nil {
		return err
	}
	name := path.Join(folder, "authorized_keys")
	before, err := readPlain(files, name)
	if err != nil {
		return err
	}
	after := managed(before, keys)
	if bytes.Equal(after, before) {
		return nil
	}
	return replace(files, name, after, uid, gid)
}

// readPlain reads a file that is neither a link nor a pipe nor too large.
func readPlain(files *sftp.Client, name string) ([]byte, error) {
	info, err := files.Lstat(name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, errUnusual
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || info.Size() > fileMost:
		return nil, errUnusual
	}
	file, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, fileMost+1))
	if err == nil && len(content) > fileMost {
		err = errUnusual
	}
	return content, err
}

// replace puts a file for its owner alone in the place of another, at once.
func replace(files *sftp.Client, name string, content []byte, uid, gid int) error {
	temporary := name + ".containarium"
	if err := files.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) { // of one that was cut off
		return err
	}
	file, err := files.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	err = errors.Join(err, file.Chmod(0o600), file.Chown(uid, gid), file.Close())
	if err == nil {
		err = files.PosixRename(temporary, name)
	}
	if err != nil {
		_ = files.Remove(temporary)
	}
	return err
}

// passwdEntry finds a user in /etc/passwd.
func passwdEntry(passwd []byte, username string) (uid, gid int, home string, ok bool) {
	for line := range strings.Lines(string(passwd)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(fields) != 7 || fields[0] != username {
			continue
		}
		uid, errU := strconv.Atoi(fields[2])
		gid, errG := strconv.Atoi(fields[3])
		home := fields[5]
		return uid, gid, home, errU == nil && errG == nil && path.IsAbs(home)
	}
	return 0, 0, "", false
}

// The marks around the managed part of authorized_keys, as in account.sh.
const (
	marksBegin = "# BEGIN containarium"
	marksEnd   = "# END containarium"
)

// managed returns an authorized_keys with exactly these keys in the managed part.
// What others wrote stays. It does what account.sh does.
func managed(content []byte, keys []string) []byte {
	var out bytes.Buffer
	ours := false
	for line := range bytes.Lines(content) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if string(line) == marksBegin {
			ours = true
		}
		if !ours {
			out.Write(line)
			out.WriteByte('\n') // also where the last line was left open
		}
		if string(line) == marksEnd {
			ours = false
		}
	}
	for _, line := range append(append([]string{marksBegin}, keys...), marksEnd) {
		out.WriteString(line)
		out.WriteByte('\n')
	}
	return out.Bytes()
}
