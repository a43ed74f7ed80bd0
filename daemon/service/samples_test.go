package service

import (
	"testing"
	"time"

	"github.com/footprintai/containarium/incusx"
)

// look is what alice's container used after so many seconds.
func look(seconds float64, cpu, received uint64) incusx.Usage {
	return incusx.Usage{
		Container:      incusx.Container{Username: "alice", State: incusx.StateRunning, HostInterface: "veth1"},
		At:             time.Unix(1_000_000, 0).Add(time.Duration(seconds * float64(time.Second))),
		CPUNanoseconds: &cpu, ReceivedBytes: &received,
	}
}

func TestRates(t *testing.T) {
	const none = -1
	var s samples
	for i, test := range []struct {
		at               float64
		cpu, received    uint64
		cores, perSecond float64
	}{
		{0, 1e9, 0, none, none},
		{0.5, 2e9, 100, none, none}, // too near
		{2, 5e9, 300, 2, 150},
		{2.5, 6e9, 300, 2, 120}, // over the span since the first: the one before is too near
		{4, 5e9, 800, 0, 250},   // since the third
		{5, 4e9, 800, none, 0},  // the counter began anew
		{125, 5e9, 900, 1.0 / 120, 100.0 / 120},
		{246, 5e9, 900, none, none}, // 121 s
		{247, 6e9, 900, 1, 0},
	} {
		got := s.add(look(test.at, test.cpu, test.received))
		for name, pair := range map[string][2]float64{"cores": {value(got.cores), test.cores}, "received": {value(got.received), test.perSecond}} {
			if difference := pair[0] - pair[1]; difference > 1e-9 || difference < -1e-9 {
				t.Errorf("look %d, at %v s: %s: got %v, want %v", i, test.at, name, pair[0], pair[1])
			}
		}
		if got.sent != nil || got.read != nil {
			t.Errorf("look %d: rates of what was not counted: %+v", i, got)
		}
	}
}

// value is -1 for none.
func value(rate *float64) float64 {
	if rate == nil {
		return -1
	}
	return *rate
}

// TestRatesOfAnotherRun: what counts anew is another thing, even where it is more.
func TestRatesOfAnotherRun(t *testing.T) {
	for name, edit := range map[string]func(*incusx.Container){
		"another start":     func(c *incusx.Container) { c.HostInterface = "veth2" },
		"another container": func(c *incusx.Container) { c.CreatedAt = time.Unix(1, 0) },
	} {
		var s samples
		s.add(look(0, 1e9, 0))
		next := look(2, 5e9, 0)
		edit(&next.Container)
		if got := s.add(next); got.cores != nil {
			t.Errorf("%s: %v cores", name, *got.cores)
		}
	}
	var s samples
	s.add(look(0, 1e9, 0))
	s.keep(nil)
	if got := s.add(look(2, 5e9, 0)); got.cores != nil || len(s.known) != 1 {
		t.Errorf("what was deleted in between: %v cores", *got.cores)
	}
}

func TestDisksAreRemembered(t *testing.T) {
	var s samples
	used := uint64(5)
	alice, bob := look(0, 0, 0), look(0, 0, 0)
	bob.Container.Username = "bob"
	alice.DiskBytes = &used
	s.sawDisk(alice)
	at := func(u incusx.Usage, seconds float64) incusx.Usage {
		u.At, u.DiskBytes = look(seconds, 0, 0).At, nil
		return u
	}
	if old := s.oldDisks([]incusx.Usage{at(alice, 59), at(bob, 59)}); len(old) != 1 || old[0] != 1 {
		t.Errorf("to look at after 59 s: %v, want but bob", old)
	}
	bob.At = look(30, 0, 0).At
	s.sawDisk(bob) // Incus can not tell
	if old := s.oldDisks([]incusx.Usage{at(bob, 89), at(alice, 89)}); len(old) != 1 || old[0] != 1 {
		t.Errorf("to look at after 89 s: %v, want but alice", old)
	}
	if old := s.oldDisks([]incusx.Usage{at(bob, 200), at(alice, 200)}); len(old) != 2 || old[0] != 1 {
		t.Errorf("to look at after 200 s: %v, want alice first", old)
	}
	for seconds, want := range map[float64]bool{1: true, 600: true, 601: false} {
		later := at(alice, seconds)
		s.addDisk(&later)
		if told := later.DiskBytes != nil; told != want {
			t.Errorf("after %v s the disk is told: %t", seconds, told)
		}
	}
}
