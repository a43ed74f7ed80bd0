package freeport

import (
	"net"
	"testing"
)

func TestAddress(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		address, err := Address("127.77.0.1")
		if err != nil {
			t.Fatal(err)
		}
		if seen[address] {
			t.Fatalf("%s was given twice", address)
		}
		seen[address] = true
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = listener.Close() })
	}
}

// Who listens at one address of the machine has the port at all of them.
func TestAddressIsFreeEverywhere(t *testing.T) {
	mu.Lock()
	before := next
	mu.Unlock()
	taken, err := Address("127.77.0.2")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", taken)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // nobody connects
	mu.Lock()
	next = before
	mu.Unlock()
	for range 3 {
		address, err := Address("127.77.0.2")
		if err != nil {
			t.Fatal(err)
		}
		if address == taken {
			t.Fatalf("%s is taken, and was given", address)
		}
	}
}
