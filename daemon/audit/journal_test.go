package audit_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/footprintai/containarium/daemon/audit"
)

// journald is a socket that takes what journald would.
type journald struct {
	*net.UnixConn
	path string
}

func listen(t *testing.T, path string) journald {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	check(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return journald{conn, path}
}

// entry reads an entry, as its fields.
func (j journald) entry(t *testing.T) map[string]string {
	t.Helper()
	check(t, j.SetReadDeadline(time.Now().Add(10*time.Second)))
	b := make([]byte, 64<<10)
	n, err := j.Read(b)
	check(t, err)
	fields := map[string]string{}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(b[:n]), "\n"), "\n") {
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			t.Errorf("no field: %q", line)
		}
		fields[key] = value
	}
	return fields
}

func TestTheJournal(t *testing.T) {
	// Not t.TempDir, which is too long for a socket.
	dir, err := os.MkdirTemp("", "audit")
	check(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "socket")
	if _, err := audit.NewJournal(path); err == nil {
		t.Error("opened a journal that is not there")
	}
	j := listen(t, path)
	l, err := audit.NewJournal(path)
	check(t, err)
	log := ""
	for _, c := range []struct{ decision, priority string }{{"allow", "6"}, {"deny", "5"}} {
		check(t, l.Write(audit.Record{CN: "alice", Decision: c.decision}))
		got := j.entry(t)
		line := got["MESSAGE"]
		log += line + "\n"
		want := map[string]string{"SYSLOG_IDENTIFIER": "containarium-audit", "SYSLOG_FACILITY": "10", "PRIORITY": c.priority, "MESSAGE": line}
		if diff := cmp.Diff(want, got); diff != "" || !strings.Contains(line, `"cn":"alice"`) {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	}

	// Without journald the line is lost, and said to be; once it is back the chain
	// goes on as if it had never been.
	check(t, j.Close())
	remove(t, path)
	if err := l.Write(audit.Record{CN: "lost"}); err == nil {
		t.Error("no error without journald")
	}
	j = listen(t, path)
	check(t, l.Write(audit.Record{CN: "bob"}))
	log += j.entry(t)["MESSAGE"] + "\n"
	told(t, []string{"alice", "alice", "bob"}, memory("journal", log))
	if r := verify(t, memory("journal", log)); r.Lines != 3 || r.Hash != l.Last() {
		t.Errorf("%+v", r)
	}

	// A journald that takes nothing does not hold up a call for ever.
	began := time.Now()
	for err = nil; err == nil && time.Since(began) < time.Minute; {
		err = l.Write(audit.Record{CN: "carol"})
	}
	if err == nil {
		t.Error("a journald that takes nothing takes everything")
	}
	check(t, l.Close())
	if err := l.Write(audit.Record{}); err == nil {
		t.Error("no error after the end")
	}
}
