package client_test

import (
	"net"
	"strings"
	"testing"

	"github.com/footprintai/containarium/client"
)

func TestParseAddress(t *testing.T) {
	for in, want := range map[string]string{
		"jump-1":               "jump-1:50051",
		"jump-1.example.org:1": "jump-1.example.org:1",
		"192.0.2.7":            "192.0.2.7:50051",
		"192.0.2.7:65535":      "192.0.2.7:65535",
		"2001:db8::7":          "[2001:db8::7]:50051",
		"[2001:db8::7]":        "[2001:db8::7]:50051",
		"[2001:db8::7]:50052":  "[2001:db8::7]:50052",
	} {
		if got, err := client.ParseAddress(in); got != want || err != nil {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", ":50051", "jump-1:", "jump-1:0", "jump-1:65536", "jump-1:ssh", "jump-1:-1", "a:b:c", "[jump-1", "jump-1]",
		"https://jump-1", "jump-1/x", "ops@jump-1", "jump 1", "jump-1\n", "-jump", "jump-1,jump-2", "[]:1", "\x1b[2J",
	} {
		if got, err := client.ParseAddress(in); err == nil {
			t.Errorf("%q was taken for %q", in, got)
		} else if strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("%q is repeated raw", in)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	f.Add("jump-1:50051")
	f.Add("[::1]:1")
	f.Fuzz(func(t *testing.T, in string) {
		address, err := client.ParseAddress(in)
		if err != nil {
			return
		}
		if again, err := client.ParseAddress(address); again != address || err != nil {
			t.Errorf("%q: %q is read as %q, %v", in, address, again, err)
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			t.Errorf("%q: %v", in, err)
		}
	})
}
