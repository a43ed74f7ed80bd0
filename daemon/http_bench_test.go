package daemon_test

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/footprintai/containarium/pki/live"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// BenchmarkHTTP compares a call over HTTP with the same call over gRPC, by the
// processor time that the daemon's process takes for each and by how long they take.
// The callers are processes of their own, and take turns, so that what else the
// machine does meets both.
func BenchmarkHTTP(b *testing.B) {
	d := daemonOf(b, 100)
	files := d.ClientFiles(b, "admin")
	for name, path := range map[string]string{"get": "/v1/containers/user-00042", "list_100": "/v1/containers"} {
		b.Run(name, func(b *testing.B) {
			over := map[string]*caller{"grpc": newCaller(b, "grpc", d.Address, path, files), "http": newCaller(b, "http", d.URL, path, files)}
			for b.Loop() {
				for _, c := range over {
					c.turn(b)
				}
			}
			ours, peer := over["http"], over["grpc"]
			b.ReportMetric(median(ours.cpu), "http-cpu-us/call")
			b.ReportMetric(median(peer.cpu), "grpc-cpu-us/call")
			_, _ = fmt.Fprintf(os.Stdout, "figure: http_cpu_ratio_%s %.2f x\n", name, median(ours.cpu)/median(peer.cpu))
			_, _ = fmt.Fprintf(os.Stdout, "figure: http_time_ratio_%s %.2f x\n", name, median(ours.took)/median(peer.took))
		})
	}
}

func median[T cmp.Ordered](values []T) T {
	slices.Sort(values)
	return values[len(values)/2]
}

// callsInTurn are few enough for the turns to be short, and many enough for the
// processor time to be seen.
const callsInTurn = 100

// caller is a process that makes calls.
type caller struct {
	in  io.Writer
	out *bufio.Scanner
	// Of each turn, microseconds for a call.
	cpu, took []float64
}

const callerVariable = "CONTAINARIUM_BENCH_CALLER"

func newCaller(b *testing.B, over, address, path string, files live.Files) *caller {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^TestBenchCaller$") //nolint:gosec // this test itself
	cmd.Env = append(os.Environ(), callerVariable+"="+strings.Join([]string{over, address, path, files.Cert, files.Key, files.CA}, " "))
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = errors.Join(in.Close(), cmd.Wait()) })
	c := &caller{in: in, out: bufio.NewScanner(out)}
	c.turn(b) // it connects
	c.cpu, c.took = nil, nil
	return c
}

// turn has it make its calls.
func (c *caller) turn(b *testing.B) {
	b.Helper()
	began, before := time.Now(), cpuTime(b)
	_, err := fmt.Fprintln(c.in, "go")
	if err != nil || !c.out.Scan() || c.out.Text() != "done" {
		b.Fatalf("the caller: %v, %q", err, c.out.Text())
	}
	c.cpu = append(c.cpu, float64((cpuTime(b)-before).Microseconds())/callsInTurn)
	c.took = append(c.took, float64(time.Since(began).Microseconds())/callsInTurn)
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// TestBenchCaller is the process of a caller, and no test where it is not started as one.
func TestBenchCaller(t *testing.T) {
	how := strings.Fields(os.Getenv(callerVariable))
	if len(how) == 0 {
		return
	}
	over, address, path := how[0], how[1], how[2]
	config, err := live.Files{Cert: how[3], Key: how[4], CA: how[5]}.ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	call := callOverHTTP
	if over == "grpc" {
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close() //nolint:errcheck // the process ends
		client := pb.NewContainerServiceClient(conn)
		call = func(ctx context.Context, _ *http.Client, _ string) error {
			username, one := strings.CutPrefix(path, "/v1/containers/")
			if !one {
				_, err := client.ListContainers(ctx, &pb.ListContainersRequest{})
				return err
			}
			_, err := client.GetContainer(ctx, &pb.GetContainerRequest{Username: username})
			return err
		}
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		for range callsInTurn {
			if err := call(t.Context(), client, address+path); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := fmt.Fprintln(os.Stdout, "done"); err != nil {
			t.Fatal(err)
		}
	}
}

func callOverHTTP(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil) //nolint:gosec // the address of this test's daemon
	if err != nil {
		return err
	}
	response, err := client.Do(request) //nolint:gosec // the same
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // read to its end
	_, err = io.Copy(io.Discard, response.Body)
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	return err
}
