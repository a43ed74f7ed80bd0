// Package notify tells systemd how the daemon does, by the protocol of sd_notify(3).
package notify

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// What systemd says to a service, by environment: where it listens, how often in
// microseconds it wants to hear of it, and which process that is about.
const (
	socketVariable   = "NOTIFY_SOCKET"
	intervalVariable = "WATCHDOG_USEC"
	processVariable  = "WATCHDOG_PID"
)

// sendTimeout bounds a message; systemd that is busy reads it later, and one that
// does not read at all must not hold up the daemon.
const sendTimeout = time.Second

// Notifier sends to the systemd that started this process. One that is nil sends
// nothing: the daemon runs as well by hand. A message that does not arrive is
// logged, and no reason to stop: systemd decides what follows from its silence.
type Notifier struct {
	socket   *net.UnixAddr
	interval time.Duration
	log      logrus.FieldLogger
}

// FromEnvironment takes what systemd said, and takes it out of the environment:
// it is not for the programs that the daemon starts. It fails where systemd said
// something that can not be followed, since it would wait for us in vain.
func FromEnvironment(log logrus.FieldLogger) (*Notifier, error) {
	socket, usec, process := os.Getenv(socketVariable), os.Getenv(intervalVariable), os.Getenv(processVariable)
	for _, name := range []string{socketVariable, intervalVariable, processVariable} {
		if err := os.Unsetenv(name); err != nil {
			return nil, err
		}
	}
	if socket == "" {
		return nil, nil // nobody to tell, and no mistake
	}
	// "@" is the first byte of an abstract socket's name, which Go writes so, too.
	if !strings.HasPrefix(socket, "/") && !strings.HasPrefix(socket, "@") {
		return nil, fmt.Errorf("%s=%q is neither a path nor an abstract socket", socketVariable, socket)
	}
	n := &Notifier{socket: &net.UnixAddr{Name: socket, Net: "unixgram"}, log: log}
	if usec == "" || process != "" && process != strconv.Itoa(os.Getpid()) {
		return n, nil
	}
	interval, err := strconv.ParseUint(usec, 10, 63)
	if err != nil || interval == 0 || interval > uint64(time.Duration(1<<63-1)/time.Microsecond) {
		return nil, fmt.Errorf("%s=%q is no time in microseconds", intervalVariable, usec)
	}
	n.interval = time.Duration(interval) * time.Microsecond
	return n, nil
}

// Ready says that the service serves, after its start or a reload; text is what
// "systemctl status" shows.
func (n *Notifier) Ready(text string) { n.send("READY=1", status(text)) }

// Status changes the text alone.
func (n *Notifier) Status(text string) { n.send(status(text)) }

// Reloading says that a reload began; Ready ends it.
func (n *Notifier) Reloading() {
	// The clock that tells systemd to which of its reloads this belongs.
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil && n != nil {
		n.log.WithError(err).Warn("systemd is not told of the reload")
		return
	}
	n.send("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/int64(time.Microsecond)))
}

// Stopping says that the service ends.
func (n *Notifier) Stopping(text string) { n.send("STOPPING=1", status(text)) }

// Watch says that the service is alive, twice in the time that systemd gives it,
// until ctx ends. Each time it asks alive before, which waits for whoever does the
// work: while they do not answer systemd hears nothing, and kills what hangs.
// Where systemd does not watch, Watch returns at once.
func (n *Notifier) Watch(ctx context.Context, alive func(context.Context) error) {
	if n == nil || n.interval == 0 {
		return
	}
	ticker := time.NewTicker(n.interval / 2)
	defer ticker.Stop()
	for {
		if alive(ctx) != nil {
			return // ctx ended
		}
		n.send("WATCHDOG=1")
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// status is one line, whatever an error has in it: the next would be a message of
// its own.
func status(text string) string { return "STATUS=" + strings.Join(strings.Fields(text), " ") }

func (n *Notifier) send(lines ...string) {
	if n == nil {
		return
	}
	if err := n.write(strings.Join(lines, "\n")); err != nil {
		n.log.WithError(err).Warnf("systemd is not told %s", lines[0])
	}
}

func (n *Notifier) write(message string) error {
	conn, err := net.DialUnix("unixgram", nil, n.socket)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // it was sent, or not
	if err := conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	_, err = conn.Write([]byte(message))
	return err
}
