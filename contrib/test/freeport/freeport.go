// Package freeport gives tests an address that another program is to listen on,
// or that nobody is to listen on.
package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// The kernel gives ports from 32768 on to whoever names none
// (net.ipv4.ip_local_port_range): one that was taken from there and given back
// can be anybody's before it is used. These are nobody's that does not name them.
const first, last = 12000, 31999

var (
	mu   sync.Mutex
	next = first + rand.IntN(last-first+1) //nolint:gosec // no secret: processes are to begin apart
)

// Address returns HOST:PORT with a port on which nothing listens at any of the
// machine's addresses, and that this process was not given before.
func Address(host string) (string, error) {
	mu.Lock()
	defer mu.Unlock()
	for range last - first + 1 {
		port := strconv.Itoa(next)
		if next++; next > last {
			next = first
		}
		listener, err := net.Listen("tcp", ":"+port)
		if err != nil {
			continue
		}
		return net.JoinHostPort(host, port), listener.Close()
	}
	return "", fmt.Errorf("every port from %d to %d is in use", first, last)
}
