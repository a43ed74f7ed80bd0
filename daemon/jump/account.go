package jump

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

func (a *Accounts) prepare(ctx context.Context, username string) (made bool, err error) {
	account, err := a.find(ctx, username)
	if err != nil {
		return false, err
	}
	if account == nil {
		if made, err = a.addUser(ctx, username); err != nil {
			return made, err
		}
	}
	// Root's own, so that the account can change nothing of it; sshd reads the
	// keys as the account, so they are readable.
	for _, dir := range []string{a.home(username), a.sshDir(username)} {
		if err := ownDir(dir); err != nil {
			return made, fmt.Errorf("make the home of %s: %w", username, err)
		}
	}
	return made, nil
}

func (a *Accounts) addUser(ctx context.Context, username string) (made bool, err error) {
	group, err := groupID(ctx, a.Group)
	if err != nil {
		return false, err
	}
	if group == "" {
		if err := shadow.run(ctx, "groupadd", "--system", "--", a.Group); err != nil {
			return false, err
		}
	}
	err = shadow.run(ctx, "useradd",
		"--no-create-home", "--home-dir", a.home(username),
		"--no-user-group", "--gid", a.Group,
		"--shell", nologin, "--comment", comment,
		// "*" is no password and yet not locked; "!" would shut out keys where
		// sshd runs with UsePAM no.
		"--password", "*",
		// A password that ages would shut out keys where it runs with UsePAM yes.
		"--key", "PASS_MAX_DAYS=-1", "--inactive", "-1", "--expiredate", "",
		// Beside the range that Incus takes for root, subordinate ids are left for
		// 13 accounts, and ours need none.
		"--key", "SUB_UID_COUNT=0", "--key", "SUB_GID_COUNT=0",
		"--", username)
	if err == nil {
		return true, nil
	}
	// It can fail with the account made, when one of its files was not written.
	account, lookupErr := a.find(context.WithoutCancel(ctx), username)
	return lookupErr == nil && account != nil, err
}

// ownDir makes a directory that is root's own, and enterable whatever the umask.
// Something else in its place is ErrForeign, a symbolic link too.
func ownDir(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) { //nolint:gosec // sshd enters it as the account
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || !info.IsDir() || int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s %w", dir, ErrForeign)
	}
	return os.Chmod(dir, 0o755) //nolint:gosec // sshd enters it as the account
}

// exitBusy is userdel's exit code where the user still has a process.
const exitBusy = 8

// deleteUser ends the account's sessions and deletes it; a session whose key was
// accepted a moment ago may begin in between.
func (a *Accounts) deleteUser(ctx context.Context, account *entry) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		if err := endSessions(ctx, account.uid); err != nil {
			return err
		}
		err := shadow.run(ctx, "userdel", "--", account.name)
		if err == nil {
			return endSessions(ctx, account.uid)
		}
		if exitCode(err) != exitBusy {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-ticker.C:
		}
	}
}

// aloneWithID refuses an account that shares its user id with another: ending
// its sessions would end the other's.
func aloneWithID(ctx context.Context, account *entry) error {
	entries, err := passwd(ctx)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.uid == account.uid && e.name != account.name {
			return fmt.Errorf("the user id of %s is also that of %s, which %w", account.name, e.name, ErrForeign)
		}
	}
	return nil
}

func (a *Accounts) sshDir(username string) string { return filepath.Join(a.home(username), ".ssh") }
