package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/footprintai/containarium/pki"
	"github.com/footprintai/containarium/pki/live"
)

const (
	// hookTimeout bounds a hook: restarting a service takes seconds, and one that
	// hangs must not keep the next renewal away.
	hookTimeout = 5 * time.Minute
	// hookFirstRetry and hookLastRetry are the first and the longest wait after a
	// hook that failed.
	hookFirstRetry = 5 * time.Second
	hookLastRetry  = 10 * time.Minute
)

// hook is a command that has to run after a renewal. The certificate for which
// it ran last is noted in a file beside the certificate's, so that neither a crash
// between the two nor a hook that failed loses a run.
type hook struct {
	command string // "": there is none
	files   live.Files
	output  io.Writer
}

func (h *hook) note() string { return h.files.Cert + ".hook" }

// begin notes the certificate that there is before the first renewal.
func (h *hook) begin() error {
	if h.command == "" {
		return nil
	}
	if _, err := os.Stat(h.note()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	current, err := h.fingerprint()
	if err != nil {
		return err
	}
	return replaceFile(h.note(), []byte(current+"\n"), 0o644)
}

// run runs the command if the certificate is another than that of its last run.
func (h *hook) run(ctx context.Context) error {
	if h.command == "" {
		return nil
	}
	current, err := h.fingerprint()
	if err != nil {
		return err
	}
	if last, err := os.ReadFile(h.note()); err == nil && strings.TrimSpace(string(last)) == current {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, hookTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", h.command) //nolint:gosec // what the user wants to run
	cmd.Stdout, cmd.Stderr = h.output, h.output            // standard output is for what was asked
	cmd.Env = os.Environ()
	for name, path := range map[string]string{"CERT": h.files.Cert, "KEY": h.files.Key, "CA": h.files.CA, "CRL": h.files.CRL} {
		if path, err = filepath.Abs(path); err != nil {
			return err
		}
		cmd.Env = append(cmd.Env, "CONTAINARIUM_"+name+"="+path)
	}
	// What the shell started ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		// As text: the exit code of the hook is not ours.
		return errors.New("pki renew: the hook failed and is due again: " + err.Error())
	}
	return replaceFile(h.note(), []byte(current+"\n"), 0o644)
}

func (h *hook) fingerprint() (string, error) {
	chain, err := live.ReadCertificates(h.files.Cert)
	if err != nil {
		return "", err
	}
	return pki.Fingerprint(chain[0]), nil
}
