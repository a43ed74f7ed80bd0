package incusx

import (
	"context"
	_ "embed"
	"fmt"
	"strings"

	incus "github.com/lxc/incus/v6/client"
)

// accountScript makes a user's account in the guest, or brings its keys up to
// date. It is constant: the user name and the keys are its arguments. They come
// whole or not at all, where an input may be cut off.
//
//go:embed account.sh
var accountScript string

// The exit codes by which account.sh tells what the image lacks.
const (
	exitNoSSHD = 64
	exitNoSudo = 65
	exitNoTool = 66
)

// ensureAccount gives the guest the user's account with sudo and exactly these
// keys in the managed part of its authorized_keys, by a single exec. It reports
// whether the guest has a Docker engine. *ImageError where the image lacks sshd,
// sudo or a command that the script needs.
func ensureAccount(ctx context.Context, server incus.InstanceServer, username string, keys []string) (docker bool, err error) {
	argv := append([]string{"/bin/sh", "-c", accountScript, "containarium-account", username}, keys...)
	result, err := exec(ctx, server, InstanceName(username), argv, "")
	if err != nil {
		return false, err
	}
	switch result.code {
	case 0:
		return strings.Contains(result.stdout, "docker"), nil
	case exitNoSSHD:
		return false, &ImageError{"the image has no sshd"}
	case exitNoSudo:
		return false, &ImageError{"the image has no sudo"}
	case exitNoTool:
		return false, &ImageError{"the image has no " + tail(result.stdout)}
	}
	return false, fmt.Errorf("make the account of %s in the guest: exit code %d: %s", username, result.code, result.stderr)
}
