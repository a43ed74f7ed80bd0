// Package config reads the daemon's configuration file and checks it whole.
package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/footprintai/containarium/daemon/config/strict"
	"github.com/footprintai/containarium/daemon/limit"
	"github.com/footprintai/containarium/incusx"
)

// Config is a checked configuration.
type Config struct {
	File
	LogLevel logrus.Level
	// AllowFrom are the networks of Server.AllowFrom.
	AllowFrom limit.AllowFrom
}

var groupName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)

// The bounds of the two time-outs: below them nothing can end well, above them
// an operator has long given up.
const (
	minDrain, maxDrain   = time.Second, 10 * time.Minute
	minCreate, maxCreate = 10 * time.Second, time.Hour
)

// The bounds of how often another daemon is asked for its revocation lists: a
// handshake each second is no load, and a stolen laptop is shut out that late.
const minTrust, maxTrust = time.Second, time.Hour

// The bounds of the age at which a prepared image is prepared anew: each takes
// minutes, and after a year it would not be worth having.
const minRefresh, maxRefresh = time.Hour, 365 * 24 * time.Hour

// Load reads and checks a configuration file. It fails closed: a file that
// others can write, an unknown key or a value out of range refuses the whole of
// it, and every mistake is named with its line.
func Load(path string) (*Config, error) {
	data, err := strict.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(path, data)
}

// Parse checks a configuration over the defaults. The name stands for the file
// in errors; relative paths are taken from its directory.
func Parse(name string, data []byte) (*Config, error) {
	file := Defaults()
	doc, err := strict.Decode(name, data, &file)
	if err != nil {
		return nil, err
	}
	c := &checker{doc: doc}
	config := &Config{File: file}
	config.LogLevel = c.file(&config.File)
	config.AllowFrom = c.limits(&config.File)
	if err := errors.Join(c.errs...); err != nil {
		return nil, err
	}
	for _, path := range []*string{
		&config.Server.Cert, &config.Server.Key, &config.Server.CA, &config.Server.CRL,
		&config.TLS.ClientCert, &config.TLS.ClientKey, &config.CA.Dir, &config.CA.PassphraseFile,
		&config.Traces.CA, &config.Traces.Cert, &config.Traces.Key, &config.Policy.File, &config.Audit.File, &config.Incus.Socket, &config.Jump.Home, &config.Jump.HostKeys,
	} {
		if path == &config.Audit.File && (*path == "-" || *path == "journal") {
			continue
		}
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(filepath.Dir(name), *path)
		}
	}
	return config, nil
}

// checker collects the mistakes of one file.
type checker struct {
	doc  *strict.Document
	errs []error
}

func (c *checker) must(ok bool, table, key, format string, args ...any) {
	if !ok {
		c.errs = append(c.errs, c.doc.Errorf([]string{table, key}, "", table+"."+key+" "+format, args...))
	}
}

func (c *checker) file(f *File) logrus.Level {
	c.address("server", "address", f.Server.Address, true)
	if f.HTTP.Address != "" {
		c.address("http", "address", f.HTTP.Address, true)
		_, port, _ := net.SplitHostPort(f.HTTP.Address)
		c.must(port == "0" || f.HTTP.Address != f.Server.Address, "http", "address", "must be another than server.address")
	}
	for key, path := range map[string]string{"cert": f.Server.Cert, "key": f.Server.Key, "ca": f.Server.CA, "crl": f.Server.CRL} {
		c.must(path != "", "server", key, "must name a file")
	}
	c.duration("server", "drain_timeout", f.Server.DrainTimeout, minDrain, maxDrain)
	c.trust(f)
	c.traces(&f.Traces)
	c.must(f.Policy.File != "", "policy", "file", "must name a file")
	c.must(f.Audit.File != "", "audit", "file", `must name a file, or be "-" for standard output or "journal" for journald`)
	c.must(f.Audit.OnError == "refuse" || f.Audit.OnError == "warn", "audit", "on_error", "must be refuse or warn")
	level, err := logrus.ParseLevel(f.Log.Level)
	c.must(err == nil && level >= logrus.ErrorLevel && level <= logrus.DebugLevel, "log", "level", "must be debug, info, warn or error")
	c.must(f.Log.Format == "text" || f.Log.Format == "json", "log", "format", "must be text or json")
	c.must(f.Incus.Socket != "", "incus", "socket", "must name a unix socket")
	c.must(f.Incus.Project != "", "incus", "project", "must not be empty")
	c.must(f.Incus.Profile != "", "incus", "profile", "must not be empty")
	for name, remote := range f.Incus.Remotes {
		u, err := url.Parse(remote)
		// https alone: what comes from there runs with the users' data.
		c.must(err == nil && u.Scheme == "https" && u.Host != "" && name != "" && !strings.Contains(name, ":"),
			"incus", "remotes", "must map names without a colon to https URLs: %q", name)
	}
	c.containers(&f.Containers)
	if f.Images.Refresh != 0 {
		c.duration("images", "refresh", f.Images.Refresh, minRefresh, maxRefresh)
	}
	c.must(groupName.MatchString(f.Jump.Group), "jump", "group", "must be the name of a group")
	c.must(f.Jump.Home != "", "jump", "home", "must name a directory")
	_, err = filepath.Match(f.Jump.HostKeys, "")
	c.must(err == nil, "jump", "host_keys", "must be a pattern of file names, such as /etc/ssh/ssh_host_*_key.pub")
	if f.Jump.Address != "" {
		c.address("jump", "address", f.Jump.Address, false)
	}
	return level
}

func (c *checker) limits(f *File) limit.AllowFrom {
	allowed, err := limit.ParseAllowFrom(f.Server.AllowFrom)
	c.must(err == nil, "server", "allow_from", "%v", err)
	err = limit.CheckConnections(f.Server.MaxConnections, f.Server.MaxConnectionsPerAddress)
	c.must(err == nil, "server", "max_connections", "%v", err)
	err = limit.CheckRate(f.Limits.Rate, f.Limits.Burst)
	c.must(err == nil, "limits", "rate", "%v", err)
	return allowed
}

func (c *checker) trust(f *File) {
	c.duration("tls", "trust_interval", f.TLS.TrustInterval, minTrust, maxTrust)
	if f.TLS.TrustFrom != "" {
		c.address("tls", "trust_from", f.TLS.TrustFrom, true)
		c.must(f.TLS.ClientCert != "", "tls", "client_cert", "must name a file")
		c.must(f.TLS.ClientKey != "", "tls", "client_key", "must name a file")
		c.must(f.CA.Dir == "", "tls", "trust_from", "must be empty where this daemon hosts the CA ([ca] dir)")
	}
	c.must(f.CA.PassphraseFile == "" || f.CA.Dir != "", "ca", "passphrase_file", "opens nothing without [ca] dir")
}

func (c *checker) traces(f *Traces) {
	c.must(f.Sample > 0 && f.Sample <= 1, "traces", "sample", "must be above 0, and at most 1")
	c.must((f.Cert == "") == (f.Key == ""), "traces", "cert", "and key are a pair: give both or none")
	if f.Endpoint != "" {
		c.address("traces", "endpoint", f.Endpoint, true)
		c.must(f.CA != "", "traces", "ca", "must name a file with the roots of the collector's certificate")
	}
}

func (c *checker) containers(f *Containers) {
	c.must(f.Image != "", "containers", "image", "must name an image")
	if f.CPU != "" {
		_, err := incusx.ParseCPU(f.CPU)
		c.must(err == nil, "containers", "cpu", "%v", err)
	}
	for key, size := range map[string]struct {
		value string
		least int64
	}{"memory": {f.Memory, incusx.MinMemory}, "disk": {f.Disk, incusx.MinDisk}} {
		if size.value != "" {
			_, err := incusx.ParseSize(size.value, size.least)
			c.must(err == nil, "containers", key, "%v", err)
		}
	}
	c.duration("containers", "create_timeout", f.CreateTimeout, minCreate, maxCreate)
	c.must(f.SSHPort > 0 && f.SSHPort < 1<<16, "containers", "ssh_port", "must be between 1 and 65535")
}

func (c *checker) duration(table, key string, d, low, high time.Duration) {
	c.must(d >= low && d <= high, table, key, "must be between %s and %s", low, high)
}

// address checks HOST:PORT; where the port is optional, HOST alone as well.
func (c *checker) address(table, key, address string, needsPort bool) {
	_, port, err := net.SplitHostPort(address)
	if err != nil && !needsPort && !strings.ContainsAny(address, ": \t") {
		return
	}
	n, portErr := strconv.ParseUint(port, 10, 16)
	// Port 0 takes any that is free, which is of use to whoever listens alone.
	c.must(err == nil && portErr == nil && (n > 0 || needsPort), table, key, "must be HOST:PORT")
}
