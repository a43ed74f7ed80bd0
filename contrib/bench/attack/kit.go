package main

import (
	"fmt"
	"os"
	"testing"
)

// kit lets the certificate kit of the tests be used outside of one. What it does
// not have panics.
type kit struct {
	testing.TB
	dir string
}

// broken is what a kit panics with.
type broken string

func (k *kit) Helper()                           {}
func (k *kit) Fatal(args ...any)                 { panic(broken(fmt.Sprint(args...))) }
func (k *kit) Fatalf(format string, args ...any) { panic(broken(fmt.Sprintf(format, args...))) }

func (k *kit) TempDir() string {
	dir, err := os.MkdirTemp(k.dir, "")
	if err != nil {
		k.Fatal(err)
	}
	return dir
}

// with runs a function that uses the kit.
func (k *kit) with(f func()) (err error) {
	defer func() {
		switch cause := recover().(type) {
		case nil:
		case broken:
			err = fmt.Errorf("%s", string(cause))
		default:
			panic(cause)
		}
	}()
	f()
	return nil
}
