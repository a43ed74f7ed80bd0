package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReportShowsFailuresAndPackagesAndKeepsWhatWasSkipped(t *testing.T) {
	in := strings.Join([]string{
		`{"Action":"run","Package":"p","Test":"TestGood"}`,
		`{"Action":"output","Package":"p","Test":"TestGood","Output":"chatter\n"}`,
		`{"Action":"pass","Package":"p","Test":"TestGood"}`,
		`{"Action":"output","Package":"p","Test":"TestBad","Output":"    p_test.go:3: it broke\n"}`,
		`{"Action":"output","Package":"p","Test":"TestBad","Output":"--- FAIL: TestBad (0.00s)\n"}`,
		`{"Action":"fail","Package":"p","Test":"TestBad"}`,
		`{"Action":"output","Package":"p","Test":"TestRoot","Output":"    p_test.go:9: needs root: sudo make test\n"}`,
		`{"Action":"output","Package":"p","Test":"TestRoot","Output":"--- SKIP: TestRoot (0.00s)\n"}`,
		`{"Action":"skip","Package":"p","Test":"TestRoot"}`,
		`{"Action":"output","Package":"p","Output":"PASS\n"}`,
		`{"Action":"output","Package":"p","Test":"TestWorse","Output":"panic: nil\n"}`,
		`{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}`,
		`{"Action":"fail","Package":"p"}`,
		`{"ImportPath":"q","Action":"build-output","Output":"q.go:1: undefined: x\n"}`,
		`no line of test2json`,
	}, "\n")
	var out strings.Builder
	skipped, err := report(strings.NewReader(in), &out)
	if err != nil {
		t.Fatal(err)
	}
	want := "    p_test.go:3: it broke\n--- FAIL: TestBad (0.00s)\nFAIL\tp\t0.1s\npanic: nil\nq.go:1: undefined: x\nno line of test2json\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("shown (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("p TestRoot: needs root: sudo make test\n", skipped); diff != "" {
		t.Errorf("skipped (-want +got):\n%s", diff)
	}
}
