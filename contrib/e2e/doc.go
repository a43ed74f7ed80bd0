// Package e2e holds the tests that use the real thing: the containarium binary,
// a daemon of its own, an sshd as the jump host and an Incus that it may kill.
package e2e
