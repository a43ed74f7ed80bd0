package client_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/pki/live"
	"github.com/footprintai/containarium/pki/pkitest"
)

// serversOf are n servers with those files, which nobody has to call.
func serversOf(n int, files live.Files) []client.Server {
	var servers []client.Server
	for i := range n {
		servers = append(servers, with(client.Server{Name: fmt.Sprintf("jump-%d", i), Address: fmt.Sprintf("192.0.2.7:%d", i+1)}, files))
	}
	return servers
}

// Each server is asked once and answers once, in the order of the servers and not
// in that of the answers.
func TestAskEachOnce(t *testing.T) {
	ca := pkitest.New(t)
	servers := serversOf(50, ca.Client(t, "alice").WriteFiles(t, t.TempDir(), ca))
	asked := make([]atomic.Int32, len(servers))
	var counts []int
	answered := map[string]int{}
	fan := client.Fan{Answered: func(count int, server client.Server, err error) { // one at a time: the race detector looks
		counts = append(counts, count)
		answered[server.Name]++
		if (err != nil) != strings.HasSuffix(server.Name, "7") {
			t.Errorf("%s: %v", server.Name, err)
		}
	}}
	synctest.Test(t, func(t *testing.T) {
		answers := client.Ask(t.Context(), fan, servers, func(ctx context.Context, c *client.Client) (string, error) {
			n := 0
			_, _ = fmt.Sscanf(c.Server().Name, "jump-%d", &n)
			asked[n].Add(1)
			wait(ctx, time.Duration(len(servers)-n)*time.Second/10) // the last is the first to answer
			if strings.HasSuffix(c.Server().Name, "7") {
				return "", errors.New("broken")
			}
			return "of " + c.Server().Name, nil
		})
		for n, answer := range answers {
			want := "of " + servers[n].Name
			if strings.HasSuffix(servers[n].Name, "7") {
				want = ""
			}
			if answer.Server != servers[n] || answer.Value != want || (answer.Err == nil) != (want != "") {
				t.Errorf("answer %d: %+v", n, answer)
			}
			if want := time.Duration(len(servers)-n) * time.Second / 10; answer.Took != want {
				t.Errorf("answer %d took %s, want %s", n, answer.Took, want)
			}
		}
		if len(answers) != len(servers) {
			t.Errorf("%d answers", len(answers))
		}
	})
	for n := range asked {
		if got := asked[n].Load(); got != 1 || answered[servers[n].Name] != 1 {
			t.Errorf("%s was asked %d times, and told of %d times", servers[n].Name, got, answered[servers[n].Name])
		}
	}
	for n, count := range counts {
		if count != n+1 {
			t.Fatalf("counted %v", counts)
		}
	}
	if got := client.Ask(t.Context(), fan, nil, func(context.Context, *client.Client) (int, error) { return 0, nil }); len(got) != 0 {
		t.Errorf("of no servers: %v", got)
	}
}

// wait is for calls in a bubble: until ctx ends, or for so long.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// No more than AtOnce are asked at a time, and no fewer where there are more.
func TestAskIsBounded(t *testing.T) {
	ca := pkitest.New(t)
	servers := serversOf(200, ca.Client(t, "alice").WriteFiles(t, t.TempDir(), ca))
	for atOnce, want := range map[int]int32{0: 128, -1: 128, 1: 1, 7: 7, 1000: 200} {
		synctest.Test(t, func(t *testing.T) {
			var running, most atomic.Int32
			release, done := make(chan struct{}), make(chan int)
			go func() {
				answers := client.Ask(t.Context(), client.Fan{AtOnce: atOnce}, servers, func(context.Context, *client.Client) (int, error) {
					if now := running.Add(1); now > most.Load() {
						most.Store(now)
					}
					<-release
					running.Add(-1)
					return 0, nil
				})
				done <- len(answers)
			}()
			synctest.Wait() // all that may have been asked
			if got := running.Load(); got != want {
				t.Errorf("at once %d: %d are asked, want %d", atOnce, got, want)
			}
			close(release)
			if got := <-done; got != len(servers) || most.Load() > want {
				t.Errorf("at once %d: %d answers, at most %d at a time", atOnce, got, most.Load())
			}
		})
	}
}

// The time of one server begins with its turn: those that hang do not take it from
// those that wait behind them.
func TestAskTimeout(t *testing.T) {
	ca := pkitest.New(t)
	servers := serversOf(6, ca.Client(t, "alice").WriteFiles(t, t.TempDir(), ca))
	for timeout, want := range map[time.Duration]time.Duration{0: 30 * time.Second, time.Second: time.Second} {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			answers := client.Ask(t.Context(), client.Fan{Timeout: timeout, AtOnce: 2}, servers, func(ctx context.Context, c *client.Client) (int, error) {
				if c.Server().Name == "jump-5" {
					return 5, ctx.Err()
				}
				<-ctx.Done()
				return 0, ctx.Err()
			})
			for n, answer := range answers[:5] {
				if !errors.Is(answer.Err, context.DeadlineExceeded) || answer.Took != want {
					t.Errorf("answer %d after %s: %v", n, answer.Took, answer.Err)
				}
			}
			if last := answers[5]; last.Err != nil || last.Value != 5 || last.Took != 0 {
				t.Errorf("the last: %+v", last)
			}
			if took := time.Since(begun); took != 3*want {
				t.Errorf("took %s, want %s", took, 3*want)
			}
		})
	}
}

// When the caller has enough, everyone answers, also those that were never asked.
func TestAskCanceled(t *testing.T) {
	ca := pkitest.New(t)
	servers := serversOf(6, ca.Client(t, "alice").WriteFiles(t, t.TempDir(), ca))
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			synctest.Wait()
			cancel()
		}()
		begun := time.Now()
		answers := client.Ask(ctx, client.Fan{AtOnce: 2}, servers, func(ctx context.Context, c *client.Client) (int, error) {
			if c.Server().Name == "jump-0" {
				return 1, nil
			}
			<-ctx.Done()
			return 0, ctx.Err()
		})
		for n, answer := range answers {
			if answer.Server != servers[n] || errors.Is(answer.Err, context.Canceled) == (n == 0) {
				t.Errorf("answer %d: %+v", n, answer)
			}
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("took %s", took)
		}
	})
}

// One that hangs, one that refuses and one without files hold up nobody, and each
// says what it is with it.
func TestAskOverTheNetwork(t *testing.T) {
	hangs, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hangs.Close() })
	ca := pkitest.New(t)
	files := ca.Client(t, "alice").WriteFiles(t, t.TempDir(), ca)
	config := serverConfig(t, ca.Server(t, "127.0.0.1"), ca)
	addresses := []string{hangs.Addr().String(), serve(t, config, nil), closedPort(t), "127.0.0.1:1", serve(t, config, status.Error(codes.NotFound, "no such user")), serve(t, config, nil)}
	var servers []client.Server
	for n, address := range addresses {
		servers = append(servers, with(client.Server{Name: fmt.Sprintf("jump-%d", n), Address: address}, files))
	}
	servers[3].CA = filepath.Join(t.TempDir(), "none")
	answers := client.Ask(t.Context(), client.Fan{}, servers, func(ctx context.Context, c *client.Client) (string, error) {
		if c.Server().Name == "jump-0" { // the others have all the time they need
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, 100*time.Millisecond)
			defer cancel()
		}
		return c.Server().Name, get(ctx, c)
	})
	for n, want := range []codes.Code{codes.DeadlineExceeded, codes.OK, codes.Unavailable, codes.Unknown, codes.NotFound, codes.OK} {
		answer := answers[n]
		if got := status.Code(answer.Err); got != want || answer.Server.Name != servers[n].Name {
			t.Errorf("%s answers %s: %v", servers[n].Name, got, answer.Err)
		}
	}
	if !errors.Is(answers[0].Err, context.DeadlineExceeded) || !errors.Is(answers[3].Err, fs.ErrNotExist) {
		t.Errorf("%v; %v", answers[0].Err, answers[3].Err)
	}
}
