//go:build e2e

package e2e_test

import (
	"flag"
	"fmt"
	"os"
	"syscall"
	"testing"
)

// atOnce is how many tests run side by side. They wait, for guests that boot,
// more than they compute.
const atOnce = "3"

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", atOnce); err != nil {
			panic(err)
		}
	}
	// The site, its accounts and its folder are one for the whole machine: a second
	// run would sweep away what the first is using.
	lock, err := os.OpenFile("/run/containarium-e2e.lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e: another run has the machine (/run/containarium-e2e.lock):", err)
		os.Exit(1) //nolint:forbidigo // nothing was made yet
	}
	code := m.Run()
	if err := tearDown(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = max(code, 1)
	}
	os.Exit(code) //nolint:forbidigo // the end of a test binary; nothing is deferred
}
