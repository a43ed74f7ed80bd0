package audit

import (
	"bytes"
	"net"
	"time"
)

// journalSocket is where journald takes its native protocol,
// https://systemd.io/JOURNAL_NATIVE_PROTOCOL.
const journalSocket = "/run/systemd/journal/socket"

// journalTimeout bounds how long a full journald may hold up a call.
const journalTimeout = time.Second

// journal writes lines as datagrams, so that a line is there whole or not at all.
type journal struct {
	address net.UnixAddr
	conn    *net.UnixConn
	buf     []byte
}

func openJournal(socket string) (*journal, error) {
	j := &journal{address: net.UnixAddr{Name: socket, Net: "unixgram"}}
	return j, j.dial()
}

func (j *journal) dial() (err error) {
	j.conn, err = net.DialUnix("unixgram", nil, &j.address)
	return err
}

// write sends one line, and once more over a new connection where journald was
// restarted. Facility 10 is authpriv.
func (j *journal) write(lines []byte, p priority) (int, error) {
	b := append(j.buf[:0], "SYSLOG_IDENTIFIER=containarium-audit\nSYSLOG_FACILITY=10\nPRIORITY="...)
	b = append(b, byte(p))
	b = append(b, "\nMESSAGE="...)
	b = append(b, bytes.TrimSuffix(lines, []byte("\n"))...)
	j.buf = append(b, '\n')
	if j.send() == nil {
		return len(lines), nil
	}
	_ = j.close() // broken already
	if err := j.dial(); err != nil {
		return 0, err
	}
	if err := j.send(); err != nil {
		return 0, err
	}
	return len(lines), nil
}

func (j *journal) send() error {
	if j.conn == nil {
		return net.ErrClosed
	}
	if err := j.conn.SetWriteDeadline(time.Now().Add(journalTimeout)); err != nil {
		return err
	}
	_, err := j.conn.Write(j.buf)
	return err
}

func (j *journal) close() error {
	if j.conn == nil {
		return nil
	}
	conn := j.conn
	j.conn = nil
	return conn.Close()
}
