package client

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"unicode"
)

// DefaultPort is where a daemon listens unless it is told otherwise.
const DefaultPort = "50051"

// ParseAddress checks HOST or HOST:PORT, where HOST is a name, an IPv4 address or
// an IPv6 address (in brackets where a port follows), and returns HOST:PORT.
func ParseAddress(s string) (string, error) {
	host, port := s, DefaultPort
	switch {
	case strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]"):
		host = s[1 : len(s)-1]
	case strings.Count(s, ":") == 1 || strings.HasPrefix(s, "["):
		var err error
		if host, port, err = net.SplitHostPort(s); err != nil {
			return "", notAddress(s)
		}
	}
	if strings.Contains(host, ":") && net.ParseIP(host) == nil {
		return "", notAddress(s)
	}
	if host == "" || strings.HasPrefix(host, "-") || strings.ContainsFunc(host, outsideHost) {
		return "", notAddress(s)
	}
	if strings.ContainsFunc(port, func(r rune) bool { return r < '0' || r > '9' }) {
		return "", notAddress(s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("%q: the port must be between 1 and 65535", s)
	}
	return net.JoinHostPort(host, port), nil
}

func notAddress(s string) error { return fmt.Errorf("%q is not HOST or HOST:PORT", s) }

// outsideHost finds what no host has, such as the slashes of a URL.
func outsideHost(r rune) bool {
	return unicode.IsSpace(r) || !unicode.IsPrint(r) || strings.ContainsRune(`/\@?#,"'[]`, r)
}
