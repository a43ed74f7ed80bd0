package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/footprintai/containarium/contrib"
)

// snippetFile is the name of what sshd includes of us.
const snippetFile = "containarium.conf"

// snippet is what sshd refuses to the accounts of the group.
func snippet(group string) []byte {
	return []byte(strings.Replace(contrib.SSHD, "Match Group containarium\n", "Match Group "+group+"\n", 1))
}

// sshdStep installs what sshd refuses to our accounts.
func (h *host) sshdStep() step {
	path := filepath.Join(h.answers.SSHDir, snippetFile)
	text := snippet(h.config.Jump.Group)
	s := h.file("sshd", path, 0o644, "", func() ([]byte, error) { return text, nil }, func() (string, error) {
		have, err := os.ReadFile(path)
		if err == nil && !bytes.Equal(have, text) {
			return "it is not ours: contrib/sshd/containarium.conf says what the daemon's accounts must not do", nil
		}
		return "", err
	})
	look, install := s.look, s.make
	s.look = func() (seen, error) {
		if !h.config.Jump.Accounts {
			return seen{stepSkipped, "the daemon keeps no accounts"}, nil
		}
		if h.answers.SSHDir == "" {
			return seen{stepSkipped, "with another configuration than the host's own --sshd-dir says where"}, nil
		}
		if sshdProgram() == "" {
			return seen{stepSkipped, "there is no sshd: users have no jump host here"}, nil
		}
		if _, err := os.Stat(h.answers.SSHDir); err != nil {
			return seen{stepSkipped, "sshd has no directory " + h.answers.SSHDir}, nil
		}
		return look()
	}
	s.make = func(ctx context.Context) error {
		_, before := tool(ctx, sshdProgram(), "-t")
		if err := install(ctx); err != nil {
			return err
		}
		// A sshd that takes its files no more would lock everybody out. One that took
		// them no more before may not have been started yet.
		if _, err := tool(ctx, sshdProgram(), "-t"); err != nil && before == nil {
			gone := func(item madeItem) bool { return item.Kind == madeFile && item.Path == path }
			return errors.Join(err, os.Remove(path), h.record.forget(gone))
		}
		return reloadSSHD(ctx)
	}
	return s
}

// sshdProgram is sshd by its whole path, which it insists on; "" where there is none.
func sshdProgram() string {
	if path, err := exec.LookPath("sshd"); err == nil {
		return path
	}
	const usual = "/usr/sbin/sshd" // not everybody's PATH has that directory
	if _, err := os.Stat(usual); err != nil {
		return ""
	}
	return usual
}

// reloadSSHD has sshd read its files anew, if systemd runs one; where it runs one
// for each connection, there is nothing to do.
func reloadSSHD(ctx context.Context) error {
	if noSystemd(ctx) != "" {
		return nil
	}
	for _, unit := range []string{"ssh.service", "sshd.service"} {
		if _, err := systemctl(ctx, "is-active", "--quiet", unit); err == nil {
			_, err := systemctl(ctx, "reload", unit)
			return err
		}
	}
	return nil
}
