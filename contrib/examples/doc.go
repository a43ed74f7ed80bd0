// Package examples holds programs that use Containarium, in several languages. Its
// tests run each against a live daemon.
package examples
