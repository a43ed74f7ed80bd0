package main

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// report writes the table and the figures.
type report struct{ io.Writer }

func (r report) printf(format string, args ...any) { _, _ = fmt.Fprintf(r, format, args...) }

func (r report) figure(name string, value float64, unit string) {
	r.printf("figure: attack.%s %.2f %s\n", name, value, unit)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (r report) row(name string, f figures) {
	r.printf("%-14s", name)
	for kind := range kinds {
		r.printf("  %8.2f %8.2f", ms(f.took[kind].p50()), ms(f.took[kind].p99()))
	}
	r.printf("  %6d", f.failed)
}

func (r report) quiet(f figures) {
	r.printf("\n%-14s  %17s  %17s  %17s  %6s  %-17s  %8s\n", "", "WhoAmI [ms]", "List [ms]", "connect [ms]", "failed", "before/peak/after", "recovers")
	r.printf("%-14s", "")
	for range kinds {
		r.printf("  %8s %8s", "p50", "p99")
	}
	r.printf("  %6s  %-17s  %8s\n", "calls", "[MiB]", "[s]")
	r.row("quiet", f)
	r.printf("\n")
	for kind := range kinds {
		r.figure("quiet."+kindNames[kind]+".p50", ms(f.took[kind].p50()), "ms")
		r.figure("quiet."+kindNames[kind]+".p99", ms(f.took[kind].p99()), "ms")
	}
}

// attack reports one attack, and returns an error where the daemon did not hold.
func (r report) attack(a attack, quiet figures, got result, set settings) error {
	r.row(a.name, got.figures)
	r.printf("  %5.0f %5.0f %5.0f  %8.2f\n", got.before, got.peak, got.after, got.recovery.Seconds())
	r.printf("  %s: %s\n", a.what, got.did)
	var errs []error
	for kind := range kinds {
		ratio := float64(got.took[kind].p99()) / float64(max(quiet.took[kind].p99(), 1))
		r.figure(a.name+"."+kindNames[kind]+".p99-ratio", ratio, "x")
		if set.within > 0 && ratio > set.within {
			errs = append(errs, fmt.Errorf("%s: the p99 of %s is %.1f times the quiet one", a.name, kindNames[kind], ratio))
		}
	}
	r.figure(a.name+".memory.before", got.before, "MiB")
	r.figure(a.name+".memory.peak", got.peak, "MiB")
	r.figure(a.name+".memory.after", got.after, "MiB")
	r.figure(a.name+".goroutines", float64(got.goroutines), "at-most")
	r.figure(a.name+".log", got.log, "MiB")
	r.figure(a.name+".audit", got.audit, "MiB")
	r.figure(a.name+".recovery", got.recovery.Seconds(), "s")
	if got.failed > 0 {
		errs = append(errs, fmt.Errorf("%s: %d calls of well-behaved callers failed: %w", a.name, got.failed, got.err))
	}
	if !got.recovered {
		errs = append(errs, fmt.Errorf("%s: the daemon has not recovered in %v; %d files are open that were not before", a.name, patient, got.left))
	}
	return errors.Join(errs...)
}
