//go:build e2e

package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lxc/incus/v6/shared/api"
	"golang.org/x/crypto/ssh"
)

const (
	// pairs is how many times a create is measured against its floor, one after the
	// other, so that a busy machine slows down both.
	pairs = 9
	// crowd is how many are made at once, crowdPairs how many times.
	crowd      = 10
	crowdPairs = 3
)

// BenchmarkCreateToSSH measures how long it takes from the start of "containarium
// create" until the owner has logged in to the container, against the floor: from
// the start of "incus launch" of the same image until its sshd has gone through a
// key exchange. That sshd knows no user, so the floor has no login, which is left
// to our side to bear.
func BenchmarkCreateToSSH(b *testing.B) {
	s := theSite(b)
	for b.Loop() {
		s.printSizes(b)
		// The first of each unpacks the image, or fills caches.
		s.floor(b, []string{"warm"})
		s.ours(b, []string{"warm"})
		execs := s.countExecs(b)
		ratio := s.compare(b, "", pairs, func(i int) []string { return []string{fmt.Sprintf("one-%d", i)} })
		fmt.Printf("figure: create_execs %.2g count\n", float64(execs())/pairs)
		s.compare(b, fmt.Sprintf("_%d_at_once", crowd), crowdPairs, func(i int) []string {
			names := make([]string, crowd)
			for n := range names {
				names[n] = fmt.Sprintf("crowd-%d-%d", i, n)
			}
			return names
		})
		b.ReportMetric(ratio, "x-floor")
		b.ReportMetric(0, "ns/op")
	}
}

// compare prints the medians of both, and returns their ratio.
func (s *site) compare(b *testing.B, what string, times int, names func(int) []string) float64 {
	b.Helper()
	var floor, ours []time.Duration
	for i := range times {
		// Neither is always the one that the other has warmed the machine for.
		if i%2 == 0 {
			floor = append(floor, s.floor(b, names(i)))
		}
		ours = append(ours, s.ours(b, names(i)))
		if i%2 == 1 {
			floor = append(floor, s.floor(b, names(i)))
		}
	}
	slices.Sort(floor)
	slices.Sort(ours)
	median := func(sorted []time.Duration) time.Duration { return sorted[len(sorted)/2] }
	for _, side := range []struct {
		name  string
		times []time.Duration
	}{{"floor", floor}, {"create", ours}} {
		fmt.Printf("%s%s: median %d ms, %d to %d ms, of %d\n", side.name, what, median(side.times).Milliseconds(),
			side.times[0].Milliseconds(), side.times[times-1].Milliseconds(), times)
	}
	ratio := float64(median(ours)) / float64(median(floor))
	fmt.Printf("figure: launch_to_ssh%s_%s %d ms\n", what, s.driver, median(floor).Milliseconds())
	fmt.Printf("figure: create_to_ssh%s_%s %d ms\n", what, s.driver, median(ours).Milliseconds())
	fmt.Printf("figure: create_to_ssh%s_ratio_%s %.2f x\n", what, s.driver, ratio)
	return ratio
}

// ours returns the time that creates at once and the logins of their owners take.
func (s *site) ours(b *testing.B, names []string) time.Duration {
	b.Helper()
	owners := make([]*owner, len(names))
	for i, name := range names {
		owners[i] = newOwner(b, name)
	}
	took := atOnceTook(owners, func(o *owner) {
		o.create(b)
		client, err := o.login(b, o.address(), o.container.GetNetwork().GetSshHostKey(), o.key)
		if err != nil {
			b.Error(err)
			return
		}
		session, err := client.NewSession()
		if err != nil {
			b.Error(err)
			return
		}
		if got, err := session.Output("id -un"); err != nil || strings.TrimSpace(string(got)) != o.name {
			b.Errorf("id says %q, %v", got, err)
		}
	})
	for _, o := range owners {
		if r := o.as(b, b.Context(), admin, "rm", o.name, "--force"); r.code != 0 {
			b.Error(r.stderr)
		}
	}
	stopIfFailed(b)
	return took
}

// floor returns the time from plain launches of the image at once until their
// sshds have exchanged keys.
func (s *site) floor(b *testing.B, names []string) time.Duration {
	b.Helper()
	took := atOnceTook(names, func(name string) {
		instance := prefix + "floor-" + name
		r := run(b, b.Context(), "", []string{"INCUS_DIR=" + incusDir, "INCUS_CONF=" + siteDir + "/incus", "INCUS_PROJECT=" + siteName},
			"incus", "launch", "local:"+s.image, "local:"+instance)
		if r.code != 0 {
			b.Errorf("incus launch: %s", r.stderr)
			return
		}
		paced(b, "sshd of "+instance, func() bool {
			state, _, err := s.incus().GetInstanceState(instance)
			if err != nil {
				b.Error(err)
				return true
			}
			for _, address := range state.Network["eth0"].Addresses {
				if address.Family == "inet" {
					return exchangesKeys(b.Context(), net.JoinHostPort(address.Address, "22"))
				}
			}
			return false
		})
	})
	for _, name := range names {
		s.discard(b, prefix+"floor-"+name)
	}
	stopIfFailed(b)
	return took
}

// paced is waitFor with the daemon's own pauses: each look costs Incus a process
// in the guest's network, and more of them would slow the floor down.
func paced(b *testing.B, what string, condition func() bool) {
	b.Helper()
	deadline := time.After(patience)
	for pause := 20 * time.Millisecond; !condition(); pause = min(pause*5/4, 250*time.Millisecond) {
		select {
		case <-deadline:
			b.Errorf("waited in vain for %s", what)
			return
		case <-time.After(pause):
		}
	}
}

func stopIfFailed(b *testing.B) {
	b.Helper()
	if b.Failed() {
		b.FailNow()
	}
}

// atOnceTook does something for each at once and returns how long all took.
func atOnceTook[T any](each []T, do func(T)) time.Duration {
	begun := time.Now()
	var wg sync.WaitGroup
	for _, one := range each {
		wg.Go(func() { do(one) })
	}
	wg.Wait()
	return time.Since(begun)
}

// exchangesKeys reports whether an sshd at the address proves a host key.
func exchangesKeys(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	defer conn.Close() //nolint:errcheck // only tried
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	proved := false
	_, _, _, _ = ssh.NewClientConn(conn, address, &ssh.ClientConfig{ //nolint:dogsled // nobody can log in
		User:              "nobody",
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
		HostKeyCallback: func(string, net.Addr, ssh.PublicKey) error {
			proved = true
			return nil
		},
	})
	return proved
}

// countExecs counts what is executed in guests, by Incus's own events, until the
// returned function is called.
func (s *site) countExecs(b *testing.B) func() int64 {
	b.Helper()
	events, err := s.incus().GetEvents()
	if err != nil {
		b.Fatal(err)
	}
	var count atomic.Int64
	if _, err := events.AddHandler([]string{"lifecycle"}, func(event api.Event) {
		var lifecycle api.EventLifecycle
		if json.Unmarshal(event.Metadata, &lifecycle) == nil && lifecycle.Action == api.EventLifecycleInstanceExec {
			count.Add(1)
		}
	}); err != nil {
		b.Fatal(err)
	}
	return func() int64 {
		defer events.Disconnect()
		return count.Load()
	}
}

// printSizes prints what the daemon takes while nobody asks it anything.
func (s *site) printSizes(b *testing.B) {
	b.Helper()
	s.do(b, "ls") // so that it has met Incus
	info, err := os.Stat(s.binary)
	if err != nil {
		b.Fatal(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.daemon.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		var kilobytes float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kilobytes); err == nil {
			fmt.Printf("figure: daemon_rss_idle %.1f MiB\n", kilobytes/1024)
		}
	}
	fmt.Printf("figure: binary_size %.1f MiB\n", float64(info.Size())/(1<<20))
}
