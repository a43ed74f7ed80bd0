package limit

import (
	"net"
	"time"

	"github.com/sirupsen/logrus"
)

// Counts are what a Listener has and what it did.
type Counts struct {
	// Open are the connections now, and Handshaking those of them in their handshake.
	Open, Handshaking int
	// Accepted are all that were let in; the others were closed at once:
	Accepted uint64
	// NotAllowed are from outside allow_from.
	NotAllowed uint64
	// TooFast are those of an address that makes too many connections a second.
	TooFast uint64
	// Full met max_connections, AddressFull max_connections_per_address.
	Full, AddressFull uint64
	// HandshakesFull met the bound of handshakes in all, AddressHandshakes the one
	// of an address.
	HandshakesFull, AddressHandshakes uint64
	// Evicted were let in, and closed in their handshake to make room.
	Evicted uint64
	// AcceptFailed are attempts to accept that failed, for want of files or memory.
	AcceptFailed uint64
}

// reason is why a connection is refused.
type reason int

const (
	none reason = iota
	notAllowed
	tooFast
	full
	addressFull
	handshakesFull
	addressHandshakes
	evicted
	acceptFailed
	reasons
)

var messages = [reasons]string{
	notAllowed:        "refused a connection from outside allow_from",
	tooFast:           "refused a connection: its address makes too many of them",
	full:              "refused a connection: max_connections are open",
	addressFull:       "refused a connection: its address has max_connections_per_address open",
	handshakesFull:    "refused a connection: too many have not said who they are",
	addressHandshakes: "refused a connection: too many from its address have not said who they are",
	evicted:           "closed a connection that has not said who it is, to make room",
	acceptFailed:      "can not accept connections, and will go on trying",
}

// line is what is said in the log about a reason.
type line struct {
	last time.Time
	kept uint64 // refusals since then
}

// Counts returns what there is now.
func (l *Listener) Counts() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts
}

func (l *Listener) refuse(raw net.Conn, why reason) net.Conn {
	l.log(why, l.config.Log.WithField("peer", raw.RemoteAddr().String()))
	reset(raw)
	return nil
}

// log counts, and writes at most one line for each reason in logEvery: a stranger
// must not be able to fill a disk. The line says how many it stands for.
func (l *Listener) log(why reason, log logrus.FieldLogger) {
	l.mu.Lock()
	*l.counts.of(why)++
	line, now := &l.lines[why], l.config.Now()
	line.kept++
	kept := line.kept
	if quiet := now.Sub(line.last) < logEvery; quiet {
		kept = 0
	} else {
		line.last, line.kept = now, 0
	}
	l.mu.Unlock()
	if kept > 0 {
		log.WithField("count", kept).Warn(messages[why])
	}
}

func (c *Counts) of(why reason) *uint64 {
	return [reasons]*uint64{
		notAllowed:        &c.NotAllowed,
		tooFast:           &c.TooFast,
		full:              &c.Full,
		addressFull:       &c.AddressFull,
		handshakesFull:    &c.HandshakesFull,
		addressHandshakes: &c.AddressHandshakes,
		evicted:           &c.Evicted,
		acceptFailed:      &c.AcceptFailed,
	}[why]
}
