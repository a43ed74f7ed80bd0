// Package limit keeps strangers and runaway scripts from taking what everybody
// else needs: who may connect at all and how many connections there are, before
// the TLS handshake, and how many calls each identity makes, after it.
package limit

import (
	"fmt"
	"time"
)

// The defaults of the configuration, and where they come from.
const (
	// Connections bounds the open connections. A person's CLI has one for as long
	// as a command takes, a program that manages the host one for its life: this is
	// some forty times what a host of a hundred containers sees. One that is open
	// and idle costs about 80 KiB, so all of them 320 MiB.
	Connections = 4096
	// PerAddress bounds those of one address, an eighth of all: behind it may be
	// an office, or a CI that runs a few hundred jobs.
	PerAddress = 512
	// Rate is how many calls an identity makes each second over time, Burst how
	// many at once. A script that lists and inspects a hundred containers is within
	// the burst; 50 lists a second are a quarter of a core.
	Rate  = 50
	Burst = 200
)

// The bounds of what a configuration may say.
const (
	// MinConnections: below, an operator could be kept out of a host by its own users.
	MinConnections = 16
	// MaxConnections are what 4 GiB of memory hold.
	MaxConnections = 50_000
	// MinRate and MaxRate: above, it is no limit to what a host can do.
	MinRate = 1
	MaxRate = 10_000
	// MinBurst lets a command make the few calls that it consists of.
	MinBurst = 10
	MaxBurst = 100_000
)

// What no configuration changes.
const (
	// handshakes bounds the connections in their handshake: at two round trips of
	// 200 ms each it lets 2,500 a second finish, about what two cores can do. One
	// costs 17 KiB.
	handshakes = 1024
	// handshakesPerAddress is the share of one address: 64 stalled connections
	// a handshake time-out is all that it gets out of the many.
	handshakesPerAddress = 64
	// stalled is when a connection in its handshake may be closed for another of
	// its own address: an honest one has long finished, over the worst of lines.
	stalled = 2 * time.Second
	// newPerSecond and newBurst bound the new connections of one address: each
	// costs the daemon a signature before it knows who asks. A script that runs the
	// CLI in a loop makes about 30 a second; a restart brings a whole office at once.
	newPerSecond, newBurst = 50, 512
	// addresses and identities bound the memory for those that are watched, to
	// about 2 MiB each. An identity that has not called for Burst/Rate seconds is
	// not watched.
	addresses, identities = 16_384, 16_384
	// sending is how long a peer may take to take 16 KiB, a TLS record: who is
	// slower than that holds memory and gets nothing done.
	sending = 20 * time.Second
	// descriptors are kept for what is no connection: files, Incus, the log.
	descriptors = 256
	// logEvery is how often refusals for one reason are logged.
	logEvery = 10 * time.Second
)

// CheckConnections checks [server] max_connections and
// max_connections_per_address.
func CheckConnections(all, perAddress int) error {
	switch {
	case all < MinConnections || all > MaxConnections:
		return fmt.Errorf("max_connections must be between %d and %d", MinConnections, MaxConnections)
	case perAddress < 1 || perAddress > all:
		return fmt.Errorf("max_connections_per_address must be between 1 and max_connections (%d)", all)
	}
	return nil
}

// CheckRate checks [limits] rate and burst.
func CheckRate(rate, burst int) error {
	switch {
	case rate < MinRate || rate > MaxRate:
		return fmt.Errorf("rate must be between %d and %d calls per second", MinRate, MaxRate)
	case burst < MinBurst || burst > MaxBurst:
		return fmt.Errorf("burst must be between %d and %d calls", MinBurst, MaxBurst)
	}
	return nil
}
