package audit_test

import (
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/footprintai/containarium/daemon/audit"
)

func TestReopenGoesOnInTheNewFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := start(t, path)
	write(t, l, "alice")
	check(t, l.Reopen()) // nothing was rotated
	check(t, os.Rename(path, path+".1"))
	write(t, l, "bob") // before the signal
	check(t, l.Reopen())
	write(t, l, "carol")
	told(t, []string{"start", "alice", "bob"}, files(path+".1")...)
	told(t, []string{"reopen", "carol"}, files(path)...)
	if r := verify(t, files(path+".1", path)...); r.Lines != 5 || !r.Whole() {
		t.Errorf("%+v", r)
	}
	if r := verify(t, files(path)...); r.Lines != 2 || r.Whole() {
		t.Errorf("the new file alone: %+v", r)
	}
	if _, err := audit.Start(path, ""); err == nil {
		t.Error("the new file is not locked")
	}
	start(t, path+".1") // the old one is free
}

func TestWhereReopenFailsTheOldFileStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := start(t, path)
	check(t, os.Rename(path, path+".1"))
	check(t, os.Mkdir(path, 0o700))
	if err := l.Reopen(); err == nil {
		t.Error("reopened a directory")
	}
	write(t, l, "alice")
	remove(t, path)
	check(t, l.Reopen())
	told(t, []string{"start", "alice", "reopen"}, files(path+".1", path)...)
	verify(t, files(path+".1", path)...)
	check(t, l.Close())
	if err := l.Reopen(); err == nil {
		t.Error("reopened a log that was closed")
	}
}

// A log that has no file has nothing to reopen.
func TestReopenOfAnotherSink(t *testing.T) {
	check(t, audit.New(&faulty{}).Reopen())
}

// A log may be rotated while the daemon is down, and packed.
func TestRotatedWhileTheDaemonWasDown(t *testing.T) {
	for name, to := range map[string]string{"numbers": ".1", "dates": "-20260131", "packed": ".1.gz", "packed, dates": "-20260131-1769846400.gz"} {
		for _, empty := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "audit.log")
				l := start(t, path)
				write(t, l, "alice")
				check(t, l.Close())
				rotate(t, path, path+to)
				if empty { // as logrotate's "create" leaves it
					check(t, os.WriteFile(path, nil, 0o600))
				}
				write(t, start(t, path), "bob")
				told(t, []string{"start", "bob"}, files(path)...)
				if r := verify(t, files(path+to, path)...); r.Lines != 4 || !r.Whole() {
					t.Errorf("%+v", r)
				}
			})
		}
	}
}

// A crash may leave an unfinished line, or one without its newline, in a file that
// is rotated then.
func TestRotatedWithAnUnfinishedLine(t *testing.T) {
	for cut, want := range map[int64][]string{20: {"start", "torn", "start", "bob"}, 1: {"start", "alice", "start", "bob"}} {
		path := filepath.Join(t.TempDir(), "audit.log")
		l := start(t, path)
		write(t, l, "alice")
		check(t, l.Close())
		info, err := os.Stat(path)
		check(t, err)
		check(t, os.Truncate(path, info.Size()-cut))
		check(t, os.Rename(path, path+".1"))
		write(t, start(t, path), "bob")
		told(t, want, files(path+".1", path)...)
		r := verify(t, files(path+".1", path)...)
		if torn := cut > 1; torn != (len(r.Torn) == 1 && r.Torn[0] == audit.Place{File: path + ".1", Line: 2}) {
			t.Errorf("%d bytes cut off: %+v", cut, r)
		}
		if !strings.HasPrefix(read(t, path), "{") {
			t.Errorf("%d bytes cut off: the new file begins with %.20q", cut, read(t, path))
		}
	}
}

// rotate packs where the name says so.
func rotate(t testing.TB, from, to string) {
	t.Helper()
	if filepath.Ext(to) != ".gz" {
		check(t, os.Rename(from, to))
		return
	}
	data, err := os.ReadFile(from)
	check(t, err)
	f, err := os.Create(to)
	check(t, err)
	z := gzip.NewWriter(f)
	_, err = z.Write(data)
	check(t, err)
	check(t, z.Close())
	check(t, f.Close())
	remove(t, from)
}

func TestRotatedNamesTheOldestFirst(t *testing.T) {
	old := time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct{ there, want []string }{
		"none":            {[]string{"audit.log", "other.log.1", "audit.log.bak", "audit.logs.1", "audit.log.1.swp", "audit.log-2026"}, nil},
		"numbers":         {[]string{"audit.log.1", "audit.log.10.gz", "audit.log.2.gz", "audit.log.9.gz"}, []string{"audit.log.10.gz", "audit.log.9.gz", "audit.log.2.gz", "audit.log.1"}},
		"dates":           {[]string{"audit.log-20260131", "audit.log-20251224.gz", "audit.log-20260101.gz"}, []string{"audit.log-20251224.gz", "audit.log-20260101.gz", "audit.log-20260131"}},
		"while it packs":  {[]string{"audit.log.2", "audit.log.2.gz", "audit.log.1"}, []string{"audit.log.2", "audit.log.1"}},
		"packed by xz":    {[]string{"audit.log.1.xz"}, []string{"audit.log.1.xz"}},
		"a new directory": {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for i, file := range c.there { // times that say nothing
				check(t, os.WriteFile(filepath.Join(dir, file), nil, 0o600))
				check(t, os.Chtimes(filepath.Join(dir, file), old, old.Add(time.Duration(i%2)*time.Hour)))
			}
			var want []string
			for _, file := range c.want {
				want = append(want, filepath.Join(dir, file))
			}
			got, err := audit.Rotated(filepath.Join(dir, "audit.log"))
			check(t, err)
			if diff := cmp.Diff(want, got); diff != "" && len(want)+len(got) > 0 {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if got, err := audit.Rotated(filepath.Join(t.TempDir(), "no", "audit.log")); err != nil || len(got) > 0 {
		t.Errorf("of a directory that is not there: %v, %v", got, err)
	}
}
