package incusx_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/footprintai/containarium/incusx"
)

func TestParseCPU(t *testing.T) {
	for s, want := range map[string]incusx.CPU{
		"1":     {Cores: 1, Highest: -1, Limit: "1"},
		"02":    {Cores: 2, Highest: -1, Limit: "2"},
		"4096":  {Cores: 4096, Highest: -1, Limit: "4096"},
		"1.5":   {Cores: 1.5, Highest: -1, Limit: "2", Allowance: "150ms/100ms"},
		"0.05":  {Cores: 0.05, Highest: -1, Limit: "1", Allowance: "5ms/100ms"},
		"2.0":   {Cores: 2, Highest: -1, Limit: "2", Allowance: "200ms/100ms"},
		"0-3":   {Cores: 4, Highest: 3, Limit: "0-3"},
		"0-0":   {Cores: 1, Highest: 0, Limit: "0-0"},
		"0,2":   {Cores: 2, Highest: 2, Limit: "0,2"},
		"2-3,3": {Cores: 2, Highest: 3, Limit: "2-3,3"},
	} {
		got, err := incusx.ParseCPU(s)
		if err != nil {
			t.Errorf("%q: %v", s, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", s, diff)
		}
	}
	for _, s := range []string{
		"", "0", "00", "-1", "4097", "abc", "1 ", "0.04", "0.0", "1.", ".5", "1.555", "3-1", "0-4096", "0-", "-3", "0,,1", "1e3", "50%", "１",
	} {
		if got, err := incusx.ParseCPU(s); err == nil {
			t.Errorf("%q: got %+v, want an error", s, got)
		}
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{
		"64MiB": 64 << 20, "1GiB": 1 << 30, "1GB": 1_000_000_000, "67108864B": 64 << 20, "65536KiB": 64 << 20, "1TB": 1_000_000_000_000,
		"100000kB": 100_000_000,
	} {
		got, err := incusx.ParseSize(s, incusx.MinMemory)
		if err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{
		"", "0", "512", "0MiB", "63MiB", "-1GiB", "1.5GiB", "1 GiB", "10XB", "GiB", "50%", "1gib", "999999999999999TiB", "1GiB\n",
	} {
		if got, err := incusx.ParseSize(s, incusx.MinMemory); err == nil {
			t.Errorf("%q: got %d, want an error", s, got)
		}
	}
}

func FuzzParseCPU(f *testing.F) {
	for _, s := range []string{"1", "1.5", "0-3", "0,2", "3-1", "0.05"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		cpu, err := incusx.ParseCPU(s)
		if err == nil && (cpu.Cores < 0.05 || cpu.Cores > 4096 || cpu.Limit == "" || cpu.Highest >= 4096) {
			t.Errorf("%q: %+v", s, cpu)
		}
	})
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"64MiB", "1GB", "999999999999999TiB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := incusx.ParseSize(s, incusx.MinMemory); err == nil && n < incusx.MinMemory {
			t.Errorf("%q: %d", s, n)
		}
	})
}
