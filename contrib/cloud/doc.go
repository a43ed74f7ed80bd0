// Package cloud holds the script that makes a jump server of a bare host, and what
// calls it. Its tests need no host; those that do are in contrib/e2e.
package cloud
