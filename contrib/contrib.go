// Package contrib has those of its files that the program installs on a host.
package contrib

import _ "embed"

// Policy is the policy that a host begins with.
//
//go:embed policy/policy.toml
var Policy string

// SSHD is what sshd on a jump host refuses to our accounts, those of the group
// "containarium".
//
//go:embed sshd/containarium.conf
var SSHD string
