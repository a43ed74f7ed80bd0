package limit

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
)

// Config says whom a Listener lets in. Zero numbers are the defaults.
type Config struct {
	// AllowFrom are the networks that may connect; empty: all.
	AllowFrom AllowFrom
	// Connections and PerAddress bound the open connections, in all and from one
	// address (IPv6: one /64). CheckConnections has checked them.
	Connections, PerAddress int
	Log                     logrus.FieldLogger
	Now                     func() time.Time

	// For tests; see the constants.
	handshakes, handshakesPerAddress int
	newPerSecond, newBurst           int
	sending                          time.Duration
}

// Listener lets connections in by its Config. One that it does not let in it
// closes at once and counts; none ever waits. It is safe for concurrent use.
//
// A connection is in its handshake until Conn.Done, and counts until it is
// closed.
type Listener struct {
	net.Listener
	*gate
	closed chan struct{}
	end    sync.Once
}

// gate is what Listeners that are beside each other share: their bounds, and what they
// have let in.
type gate struct {
	config Config
	fresh  *Bucket[netip.Addr]

	mu        sync.Mutex
	addresses map[netip.Addr]*address // those with an open connection
	counts    Counts
	lines     [reasons]line
}

// address is one that has connections.
type address struct {
	open int
	// pending are those in their handshake, the oldest first.
	pending []*Conn
}

// NewListener wraps a listener. Where the process may not open as many files as
// there may be connections, it lowers the number and says so in the log.
func NewListener(inner net.Listener, config Config) *Listener {
	for _, number := range []struct {
		at       *int
		standard int
	}{
		{&config.Connections, Connections},
		{&config.PerAddress, PerAddress},
		{&config.handshakes, handshakes},
		{&config.handshakesPerAddress, handshakesPerAddress},
		{&config.newPerSecond, newPerSecond},
		{&config.newBurst, newBurst},
	} {
		if *number.at == 0 {
			*number.at = number.standard
		}
	}
	if config.sending == 0 {
		config.sending = sending
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if most := openable(); config.Connections > most {
		config.Log.Warnf("max_connections is %d, and with its limit of open files this process can hold %d: raise LimitNOFILE", config.Connections, most)
		config.Connections = most
	}
	return &Listener{Listener: inner, closed: make(chan struct{}), gate: &gate{
		config:    config,
		fresh:     newBucket[netip.Addr](config.newPerSecond, config.newBurst, addresses, config.Now),
		addresses: map[netip.Addr]*address{},
	}}
}

// Beside wraps another listener of the same process, which shares the bounds and the
// counts of l.
func (l *Listener) Beside(inner net.Listener) *Listener {
	return &Listener{Listener: inner, closed: make(chan struct{}), gate: l.gate}
}

// openable is how many connections the process' limit of open files leaves, at
// least MinConnections.
func openable() int {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur > MaxConnections+descriptors {
		return MaxConnections
	}
	return max(int(files.Cur)-descriptors, MinConnections)
}

// Accept waits for a connection that is let in. It is over only with the
// listener: a lack of files or memory is waited out.
func (l *Listener) Accept() (net.Conn, error) {
	var pause time.Duration
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			if !passing(err) {
				return nil, err
			}
			pause = min(max(2*pause, minPause), maxPause)
			if err := l.wait(err, pause); err != nil {
				return nil, err
			}
			continue
		}
		pause = 0
		if conn := l.admit(raw); conn != nil {
			return conn, nil
		}
	}
}

// The pauses after a failed Accept: the first is over before a person notices,
// the last one asks once a second for what is gone for longer.
const minPause, maxPause = 5 * time.Millisecond, time.Second

// wait waits out a failed Accept, or the end of the listener.
func (l *Listener) wait(err error, pause time.Duration) error {
	l.log(acceptFailed, l.config.Log.WithError(err))
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-l.closed:
		return net.ErrClosed
	}
}

// passing reports whether a failed Accept is about a connection or a lack that
// may pass (accept(2)), and not about the listener.
func passing(err error) bool {
	for _, errno := range []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, // a lack
		syscall.ECONNABORTED, syscall.EPROTO, syscall.EPERM, syscall.EINTR, // a connection
		syscall.ENETDOWN, syscall.ENOPROTOOPT, syscall.EHOSTDOWN, syscall.EHOSTUNREACH, syscall.EOPNOTSUPP, syscall.ENETUNREACH,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// Close ends Accept. The connections stay.
func (l *Listener) Close() error {
	l.end.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// admit lets a connection in, or closes it and returns nil.
func (l *Listener) admit(raw net.Conn) net.Conn {
	peer := raw.RemoteAddr()
	if !l.config.AllowFrom.Allows(peer) {
		return l.refuse(raw, notAllowed)
	}
	from := neighbourhood(peer)
	if ok, _ := l.fresh.Allow(from); !ok {
		return l.refuse(raw, tooFast)
	}
	conn, victim, why := l.enter(raw, from)
	if victim != nil {
		l.log(evicted, l.config.Log.WithField("peer", victim.RemoteAddr().String()))
		reset(victim.Conn)
	}
	if conn == nil {
		return l.refuse(raw, why)
	}
	return conn
}

// enter counts a connection in, if there is room. A victim has made room for it:
// it is no longer counted, and to be closed.
func (l *Listener) enter(raw net.Conn, from netip.Addr) (conn, victim *Conn, why reason) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.addresses[from]
	if a == nil {
		a = &address{}
	}
	if victim, why = l.room(a); victim != nil {
		l.leave(victim)
	} else if why != none {
		return nil, nil, why
	}
	l.addresses[from] = a // also where its last connection was the victim
	conn = &Conn{Conn: raw, listener: l, from: from, since: l.config.Now(), pending: true}
	a.open++
	a.pending = append(a.pending, conn)
	l.counts.Open++
	l.counts.Handshaking++
	l.counts.Accepted++
	return conn, victim, none
}

// room looks for room for one more connection of the address. Who has not said
// who they are make room for who may: a stranger can not keep out a caller by
// saying nothing. It returns the reason that there is none, and the connection
// that has to go for it, or nil where none can.
func (l *Listener) room(a *address) (victim *Conn, why reason) {
	switch {
	case a.open >= l.config.PerAddress:
		return l.stalling(a), addressFull
	case len(a.pending) >= l.config.handshakesPerAddress:
		return l.stalling(a), addressHandshakes
	case l.counts.Handshaking >= l.config.handshakes:
		return l.greediest(a), handshakesFull
	case l.counts.Open >= l.config.Connections:
		return l.greediest(a), full
	}
	return nil, none
}

// stalling returns the oldest handshake of the address if it takes too long to be
// honest. Younger ones do not make room: where many honest ones come at once,
// each would be closed for the next and none would finish.
func (l *Listener) stalling(a *address) *Conn {
	if len(a.pending) == 0 || l.config.Now().Sub(a.pending[0].since) < stalled {
		return nil
	}
	return a.pending[0]
}

// greediest returns the oldest handshake of the address that has the most of
// them, if the newcomer's has fewer even with one more, or if it stalls.
func (l *Listener) greediest(newcomer *address) *Conn {
	var most *address
	for _, a := range l.addresses {
		switch {
		case len(a.pending) == 0:
		case most == nil, len(a.pending) > len(most.pending),
			len(a.pending) == len(most.pending) && a.pending[0].since.Before(most.pending[0].since):
			most = a
		}
	}
	switch {
	case most == nil:
		return nil
	case len(most.pending) > len(newcomer.pending)+1:
		return most.pending[0]
	}
	return l.stalling(most)
}

// leave counts a connection out, once.
func (l *Listener) leave(c *Conn) {
	if c.gone {
		return
	}
	c.gone = true
	l.finish(c)
	a := l.addresses[c.from]
	if a.open--; a.open == 0 {
		delete(l.addresses, c.from)
	}
	l.counts.Open--
}

// finish counts a handshake out, once.
func (l *Listener) finish(c *Conn) {
	if !c.pending {
		return
	}
	c.pending = false
	a := l.addresses[c.from]
	a.pending = slices.DeleteFunc(a.pending, func(other *Conn) bool { return other == c })
	l.counts.Handshaking--
}
