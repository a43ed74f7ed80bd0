// Package jump keeps the accounts on the jump host through which users reach their containers by ssh -J, and nothing else.
package jump

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync"
)

// ErrForeign says that an account, or its home, is there and was not made by us.
var ErrForeign = errors.New("belongs to somebody else on this host")

// comment marks the accounts that we made, beside their group and their home.
const comment = "containarium jump account"

// nologin is the shell of the accounts and what every session of theirs runs.
const nologin = "/usr/sbin/nologin"

// namePattern is the rule for user names. It is held here again because a name
// becomes a path and an argument of root's tools: one that the service let
// through by mistake must not reach them.
var namePattern = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,29}[a-z0-9])?$`)

// Accounts manages the accounts of one host. It is safe for concurrent use.
type Accounts struct {
	// Group is the primary group of every account that we made: an account
	// outside it is never touched.
	Group string
	// Home is the directory in which the accounts' homes are. Only root may be
	// able to write it, and everybody must be able to enter it.
	Home string
	// SSHPort is the only port that an account reaches, on the container's address.
	SSHPort int

	// mu keeps our own changes of the passwd file from fighting over its lock.
	mu sync.Mutex
}

// Check reports whether username can have an account: ErrForeign where the host
// has one of that name, or something at its home, that we did not make.
func (a *Accounts) Check(ctx context.Context, username string) error {
	_, err := a.find(ctx, username)
	return err
}

// Ensure makes the account where it is missing, and gives it exactly keys, lines
// of authorized_keys, each good for nothing but a connection to sshd at address,
// an IP address.
func (a *Accounts) Ensure(ctx context.Context, username, address string, keys []string) error {
	lines, err := keyLines(keys, address, a.SSHPort)
	if err != nil {
		return fmt.Errorf("jump keys of %s: %w", username, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := a.prepare(ctx, username); err != nil {
		return err
	}
	return a.writeKeys(username, lines)
}

// Prepare makes the account where it is missing, without keys. It reports, also
// beside an error, whether this call made it: a rollback removes only that.
func (a *Accounts) Prepare(ctx context.Context, username string) (made bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.prepare(ctx, username)
}

// Remove ends the sessions of an account and removes it with its home. An
// account that is not there is fine; one that is not ours is ErrForeign. What a
// call that failed has left, another one finishes.
func (a *Accounts) Remove(ctx context.Context, username string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if there, err := lookup(ctx, username); err != nil || there == nil {
		return err
	}
	account, err := a.find(ctx, username)
	if err != nil || account == nil {
		return err
	}
	if err := aloneWithID(ctx, account); err != nil {
		return err
	}
	// Without keys first, so that no session begins while the others end.
	if err := os.RemoveAll(a.home(username)); err != nil {
		return fmt.Errorf("remove the home of %s: %w", username, err)
	}
	if err := a.deleteUser(ctx, account); err != nil {
		return fmt.Errorf("remove the account %s: %w", username, err)
	}
	return nil
}

// Usernames returns the accounts that we made, in no order.
func (a *Accounts) Usernames(ctx context.Context) ([]string, error) {
	group, err := groupID(ctx, a.Group)
	if err != nil || group == "" {
		return nil, err
	}
	entries, err := passwd(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if a.ours(e, group) {
			names = append(names, e.name)
		}
	}
	return names, nil
}

// find returns our account of that name, or nil where the name is free; any
// other account, and a home without an account, is ErrForeign.
func (a *Accounts) find(ctx context.Context, username string) (*entry, error) {
	account, err := lookup(ctx, username)
	if err != nil {
		return nil, err
	}
	if account == nil {
		switch _, err := os.Lstat(a.home(username)); {
		case err == nil:
			return nil, fmt.Errorf("%s %w", a.home(username), ErrForeign)
		case !errors.Is(err, os.ErrNotExist): // it can not be seen: not taken for free
			return nil, fmt.Errorf("look for the home of %s: %w", username, err)
		}
		return nil, nil
	}
	group, err := groupID(ctx, a.Group)
	if err != nil {
		return nil, err
	}
	if account.name != username || !a.ours(account, group) {
		return nil, fmt.Errorf("the account %s %w", username, ErrForeign)
	}
	return account, nil
}

// ours fails closed: an account is ours only if every mark says so. Root's user
// id never is, whatever the marks say.
func (a *Accounts) ours(e *entry, group string) bool {
	return group != "" && e.gid == group && e.gecos == comment && e.uid != 0 && e.home == a.home(e.name)
}

func (a *Accounts) home(username string) string { return filepath.Join(a.Home, username) }
