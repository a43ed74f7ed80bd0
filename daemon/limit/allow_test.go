package limit

import (
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestParseAllowFrom(t *testing.T) {
	for entry, want := range map[string]string{
		"10.0.0.0/8":               "10.0.0.0/8",
		"0.0.0.0/0":                "0.0.0.0/0",
		"192.0.2.7":                "192.0.2.7/32",
		"192.0.2.7/32":             "192.0.2.7/32",
		"::ffff:192.0.2.7":         "192.0.2.7/32",
		"::ffff:192.0.2.0/120":     "192.0.2.0/24",
		"::ffff:0:0/96":            "0.0.0.0/0",
		"2001:db8::/32":            "2001:db8::/32",
		"2001:db8::1":              "2001:db8::1/128",
		"::/0":                     "::/0",
		"::1":                      "::1/128",
		"2001:db8:0:0:0:0:0:1/128": "2001:db8::1/128",
	} {
		got, err := ParseAllowFrom([]string{entry})
		if err != nil || len(got) != 1 || got[0].String() != want {
			t.Errorf("%q: got %v, %v; want %s", entry, got, err, want)
		}
	}
	for entry, want := range map[string]string{
		"":                    "is no network",
		"office":              "is no network",
		"10.0.0.0/33":         "is no network",
		"10.0.0.0/":           "is no network",
		"10.0.0.0/08":         "is no network",
		"010.0.0.0/8":         "is no network",
		"10.0.0.0:50051":      "is no network",
		" 10.0.0.0/8":         "is no network",
		"fe80::1%eth0":        "has a zone",
		"fe80::%eth0/64":      "is no network",
		"10.1.2.3/8":          "write 10.0.0.0/8 or 10.1.2.3",
		"2001:db8::1/32":      "write 2001:db8::/32 or 2001:db8::1",
		"::ffff:10.1.2.3/104": "write 10.0.0.0/8 or 10.1.2.3",
		"::ffff:0:0/95":       "write the IPv4 network",
	} {
		got, err := ParseAllowFrom([]string{"127.0.0.1", entry, "::1"})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `"`+entry+`"`) {
			t.Errorf("%q: got %v, %v; want the entry and %q", entry, got, err, want)
		}
	}
	if _, err := ParseAllowFrom([]string{"one", "10.0.0.0/8", "two"}); err == nil || !strings.Contains(err.Error(), `"one"`) || !strings.Contains(err.Error(), `"two"`) {
		t.Errorf("two mistakes: %v", err)
	}
}

func TestAllows(t *testing.T) {
	tcp := func(address string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address)) }
	for _, test := range []struct {
		from  string
		peer  net.Addr
		allow bool
	}{
		{"", tcp("203.0.113.1:1"), true},
		{"", &net.UnixAddr{Name: "/run/x"}, true},
		{"10.0.0.0/8", tcp("10.255.255.255:1"), true},
		{"10.0.0.0/8", tcp("11.0.0.0:1"), false},
		{"10.0.0.0/8", tcp("9.255.255.255:1"), false},
		{"10.0.0.0/8", tcp("[::ffff:10.0.0.1]:1"), true},
		{"10.0.0.0/8", tcp("[::ffff:11.0.0.1]:1"), false},
		{"10.0.0.0/8", &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1}, true}, // 16 bytes, as the kernel's
		{"10.0.0.0/8", tcp("[::10.0.0.1]:1"), false},                           // compatible, not mapped
		{"10.0.0.0/8", tcp("[::1]:1"), false},
		{"10.0.0.0/8", &net.UnixAddr{Name: "/run/x"}, false},
		{"10.0.0.0/8", &net.TCPAddr{}, false},
		{"10.0.0.0/8", nil, false},
		{"::ffff:10.0.0.0/104", tcp("10.0.0.1:1"), true},
		{"::ffff:10.0.0.0/104", tcp("[::ffff:10.0.0.1]:1"), true},
		{"192.0.2.7", tcp("192.0.2.7:1"), true},
		{"192.0.2.7", tcp("192.0.2.8:1"), false},
		{"0.0.0.0/0", tcp("203.0.113.1:1"), true},
		{"0.0.0.0/0", tcp("[2001:db8::1]:1"), false},
		{"::/0", tcp("203.0.113.1:1"), false},
		{"::/0", tcp("[2001:db8::1]:1"), true},
		{"fe80::/10", tcp("[fe80::1%eth0]:1"), true},
		{"192.0.2.7 2001:db8::/32", tcp("[2001:db8::1]:1"), true},
	} {
		allowed, err := ParseAllowFrom(strings.Fields(test.from))
		if err != nil {
			t.Fatal(err)
		}
		if got := allowed.Allows(test.peer); got != test.allow {
			t.Errorf("%v from [%s]: %v, want %v", test.peer, test.from, got, test.allow)
		}
	}
}

// TestNeighbourhood: a /64 is one address, and IPv4 is not told apart by clothes.
func TestNeighbourhood(t *testing.T) {
	for _, test := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1:1", "192.0.2.1:2", true},
		{"192.0.2.1:1", "[::ffff:192.0.2.1]:1", true},
		{"192.0.2.1:1", "192.0.2.2:1", false},
		{"[2001:db8::1]:1", "[2001:db8::ffff:2]:1", true},
		{"[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false},
		{"[fe80::1%eth0]:1", "[fe80::2%eth1]:1", true},
	} {
		a := neighbourhood(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(test.a)))
		b := neighbourhood(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(test.b)))
		if got := a == b; got != test.same {
			t.Errorf("%s and %s: %v and %v", test.a, test.b, a, b)
		}
	}
}

// FuzzParseAllowFrom: what is taken can be written again and means the same, and
// is never of both families.
func FuzzParseAllowFrom(f *testing.F) {
	for _, seed := range []string{"10.0.0.0/8", "192.0.2.7", "::ffff:10.0.0.0/104", "::ffff:0:0/95", "2001:db8::/32", "::/0", "fe80::1%eth0", "10.1.2.3/8", "1/1", "::1/-1", "10.0.0.0/8\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, entry string) {
		allowed, err := ParseAllowFrom([]string{entry})
		if err != nil {
			if len(allowed) != 0 {
				t.Fatalf("%q: an error and %v", entry, allowed)
			}
			return
		}
		prefix := allowed[0]
		if !prefix.IsValid() || prefix != prefix.Masked() || prefix.Addr().Is4In6() || prefix.Addr().Zone() != "" {
			t.Fatalf("%q became %v", entry, prefix)
		}
		again, err := ParseAllowFrom([]string{prefix.String()})
		if err != nil || again[0] != prefix {
			t.Fatalf("%q became %v, and that %v, %v", entry, prefix, again, err)
		}
		if !allowed.Allows(net.TCPAddrFromAddrPort(netip.AddrPortFrom(prefix.Addr(), 1))) {
			t.Fatalf("%q does not allow its own address", entry)
		}
	})
}
