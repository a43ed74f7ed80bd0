package metrics_test

import (
	"testing"

	"github.com/footprintai/containarium/daemon/audit"
)

// BenchmarkCall is what each call pays for being counted, alone and where calls end on
// every processor.
func BenchmarkCall(b *testing.B) {
	m := newMetrics(b)
	record := &audit.Record{Method: list, Code: "OK", Role: "admin", DurationMS: 1.5}
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m.Call(record, true, false)
		}
	})
	b.Run("all", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				m.Call(record, true, false)
			}
		})
	})
}
