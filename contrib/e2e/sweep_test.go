//go:build e2e

package e2e_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// What marks the accounts of the tests: the daemon's own mark, and ours on those
// that stand for somebody else's. An account of this machine that happens to be
// called e2e-... has neither.
const (
	jumpComment    = "containarium jump account"
	foreignComment = "containarium e2e, somebody else's account"
)

// tearDown removes all that the tests made, and reports what stays.
func tearDown() error {
	if !siteWanted { // no test needed the site
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), setUp)
	defer cancel()
	var errs []error
	if shared != nil {
		for _, p := range []*process{shared.daemon, shared.sshd} {
			if p != nil {
				errs = append(errs, endedBy(p.end(syscall.SIGTERM), syscall.SIGTERM))
			}
		}
	}
	if err := sweep(ctx); err != nil {
		errs = append(errs, fmt.Errorf("tear down: %w", err))
	}
	return errors.Join(errs...)
}

// endedBy takes an end by a signal that was sent for an orderly one.
func endedBy(err error, signal syscall.Signal) error {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && (status.Signaled() && status.Signal() == signal || status.ExitStatus() == 255) {
			return nil
		}
	}
	return err
}

// sweep removes everything with the names of the site, whichever run made it.
func sweep(ctx context.Context) error {
	var errs []error
	errs = append(errs, sweepProcesses(), sweepDisks(ctx), sweepCluster(ctx), sweepAccounts(ctx), sweepProjects())
	errs = append(errs, incusScript(ctx, "down"), os.RemoveAll(siteDir))
	if _, err := os.Lstat(incusDir); err == nil { // with mounts in it, perhaps: not for RemoveAll
		errs = append(errs, fmt.Errorf("%s is still there", incusDir))
	}
	return errors.Join(errs...)
}

// sweepProcesses ends the programs that work with the site's folder.
func sweepProcesses() error {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	for _, file := range files {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if line, err := os.ReadFile(file); err == nil && strings.Contains(string(line), siteDir+"/") && pid != os.Getpid() {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return err
			}
		}
	}
	return nil
}

func sweepAccounts(ctx context.Context) error {
	var errs []error
	for _, account := range passwd() {
		if !strings.HasPrefix(account.name, prefix) || account.comment != jumpComment && account.comment != foreignComment {
			continue
		}
		// It ends what still runs as the account, which userdel would trip over.
		_ = exec.CommandContext(ctx, "pkill", "-KILL", "-u", account.name).Run()
		errs = append(errs, quiet(exec.CommandContext(ctx, "userdel", "--force", account.name)), os.RemoveAll(account.home))
	}
	left, err := filepath.Glob(filepath.Join(homes, prefix+"*"))
	errs = append(errs, err)
	for _, home := range left {
		if _, err := os.Stat(filepath.Join(home, foreignMark)); err == nil {
			errs = append(errs, os.RemoveAll(home))
		}
	}
	for _, group := range []string{siteGroup, clusterGroup} {
		if _, err := exec.CommandContext(ctx, "getent", "group", group).Output(); err == nil {
			errs = append(errs, quiet(exec.CommandContext(ctx, "groupdel", group)))
		}
	}
	return errors.Join(errs...)
}

// account is a line of /etc/passwd.
type account struct{ line, name, comment, home string }

func passwd() []account {
	file, err := os.Open("/etc/passwd")
	if err != nil {
		return nil
	}
	defer file.Close() //nolint:errcheck // only read
	var accounts []account
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if fields := strings.Split(lines.Text(), ":"); len(fields) == 7 {
			accounts = append(accounts, account{lines.Text(), fields[0], fields[4], fields[5]})
		}
	}
	return accounts
}

func hasAccount(username string) bool {
	for _, account := range passwd() {
		if account.name == username {
			return true
		}
	}
	return false
}

func hasHome(username string) bool {
	_, err := os.Lstat(filepath.Join(homes, username))
	return !errors.Is(err, fs.ErrNotExist)
}
