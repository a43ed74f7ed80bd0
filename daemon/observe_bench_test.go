package daemon_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"
)

// BenchmarkScrape is a scrape as Prometheus makes it, over an open connection, of a
// daemon with so many containers.
func BenchmarkScrape(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			d := daemonOf(b, n)
			client := d.HTTPClient(b, d.CA.Client(b, "admin"), true)
			request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, d.URL+"/metrics", nil)
			if err != nil {
				b.Fatal(err)
			}
			var took []time.Duration
			series := 0
			before := cpuTime(b)
			for b.Loop() {
				began := time.Now()
				response, err := client.Do(request)
				if err != nil {
					b.Fatal(err)
				}
				body, err := io.ReadAll(response.Body)
				_ = response.Body.Close()
				if err != nil || response.StatusCode != http.StatusOK {
					b.Fatalf("%s: %v", response.Status, err)
				}
				took = append(took, time.Since(began))
				series = bytes.Count(body, []byte("\n")) - bytes.Count(body, []byte("\n#"))
			}
			cpu := cpuTime(b) - before
			slices.Sort(took)
			figure := func(name string, value float64, unit string) {
				_, _ = fmt.Fprintf(os.Stdout, "figure: %s_%d %.2f %s\n", name, n, value, unit)
			}
			figure("scrape_p50", float64(took[len(took)/2].Microseconds())/1000, "ms")
			figure("scrape_cpu_both_ends", float64(cpu.Microseconds())/1000/float64(len(took)), "ms")
			figure("scrape_series", float64(series), "")
		})
	}
}
