package config

import (
	"time"

	"github.com/footprintai/containarium/daemon/limit"
)

// File is the daemon's configuration as it is written, one struct for each
// table. config.example.toml explains every key; only Load makes a Config of it.
type File struct {
	Server     Server     `toml:"server"`
	HTTP       HTTP       `toml:"http"`
	TLS        TLS        `toml:"tls"`
	CA         CA         `toml:"ca"`
	Policy     Policy     `toml:"policy"`
	Audit      Audit      `toml:"audit"`
	Limits     Limits     `toml:"limits"`
	Log        Log        `toml:"log"`
	Traces     Traces     `toml:"traces"`
	Incus      Incus      `toml:"incus"`
	Containers Containers `toml:"containers"`
	Images     Images     `toml:"images"`
	Jump       Jump       `toml:"jump"`
}

// Server is where the daemon listens, and as whom.
type Server struct {
	Address string `toml:"address"`
	Cert    string `toml:"cert"`
	Key     string `toml:"key"`
	CA      string `toml:"ca"`
	// CRL holds the revocation lists; where the file is missing at the start of the
	// daemon, revocation is off.
	CRL string `toml:"crl"`
	// AllowFrom are the networks that may connect, CIDRs and plain addresses; empty
	// means all.
	AllowFrom []string `toml:"allow_from"`
	// MaxConnections and MaxConnectionsPerAddress bound the open connections.
	MaxConnections           int `toml:"max_connections"`
	MaxConnectionsPerAddress int `toml:"max_connections_per_address"`
	// DrainTimeout bounds the wait for calls under way when the daemon stops.
	DrainTimeout time.Duration `toml:"drain_timeout"`
}

// HTTP is the port that serves the same calls as JSON over HTTP, and what Prometheus
// and browsers ask for, by the certificates of Server.
type HTTP struct {
	// Address is HOST:PORT; empty means that there is no such port.
	Address string `toml:"address"`
}

// TLS says where the roots and revocation lists come from, if not from a person.
type TLS struct {
	// TrustFrom is the HOST:PORT of the daemon that hosts the CA; empty means that
	// the files are somebody else's care.
	TrustFrom string `toml:"trust_from"`
	// ClientCert and ClientKey are who this daemon is when it asks there.
	ClientCert string `toml:"client_cert"`
	ClientKey  string `toml:"client_key"`
	// TrustInterval is how often it asks.
	TrustInterval time.Duration `toml:"trust_interval"`
}

// CA is the certificate authority that this daemon hosts.
type CA struct {
	// Dir is the CA's directory; empty means that this daemon hosts none.
	Dir string `toml:"dir"`
	// PassphraseFile opens the CA's keys; empty means that they have no passphrase.
	PassphraseFile string `toml:"passphrase_file"`
}

// Policy names the file that says who may do what.
type Policy struct {
	File string `toml:"file"`
}

// Audit names the file that gets one line for each call; "-" is standard output,
// "journal" is journald.
type Audit struct {
	File string `toml:"file"`
	// OnError is what becomes of a call that changes something while the log can not
	// be written: "refuse" or "warn".
	OnError string `toml:"on_error"`
}

// Limits bound what one identity may take.
type Limits struct {
	// Rate is how many calls an identity makes each second over time, Burst how many
	// at once.
	Rate  int `toml:"rate"`
	Burst int `toml:"burst"`
}

// Log is what the daemon says of itself on standard error.
type Log struct {
	// Level is debug, info, warn or error.
	Level string `toml:"level"`
	// Format is text or json.
	Format string `toml:"format"`
}

// Traces is where a span of each call goes, if anywhere.
type Traces struct {
	// Endpoint is the HOST:PORT of a collector that takes OTLP over gRPC; empty means
	// that there are no spans.
	Endpoint string `toml:"endpoint"`
	// CA are the roots of its certificate; Cert and Key are who this daemon is to it, and
	// may be empty.
	CA   string `toml:"ca"`
	Cert string `toml:"cert"`
	Key  string `toml:"key"`
	// Sample is the share of calls that have a span, above 0 to 1.
	Sample float64 `toml:"sample"`
}

// Incus says which part of which Incus the containers are in.
type Incus struct {
	Socket  string `toml:"socket"`
	Project string `toml:"project"`
	Profile string `toml:"profile"`
	// Remotes maps the name before the colon of an image to the URL of its
	// simplestreams server.
	Remotes map[string]string `toml:"remotes"`
}

// Containers is what a create that says nothing else gets.
type Containers struct {
	Image string `toml:"image"`
	// CPU, Memory and Disk are limits; empty means none.
	CPU    string `toml:"cpu"`
	Memory string `toml:"memory"`
	Disk   string `toml:"disk"`
	// CreateTimeout bounds a create, image download included.
	CreateTimeout time.Duration `toml:"create_timeout"`
	// SSHPort is where sshd listens in the containers.
	SSHPort int `toml:"ssh_port"`
}

// Images is what becomes of images that lack something.
type Images struct {
	// Prepare says whether they are prepared: sshd, sudo and, where it is asked for,
	// a Docker engine are installed once for all creates.
	Prepare bool `toml:"prepare"`
	// Refresh is the age after which that is done anew; 0 means never.
	Refresh time.Duration `toml:"refresh"`
}

// Jump is the jump host's side of each user.
type Jump struct {
	// Accounts says whether the daemon keeps an account for each user.
	Accounts bool `toml:"accounts"`
	// Group marks them; Home is where their homes are.
	Group string `toml:"group"`
	Home  string `toml:"home"`
	// Address is the HOST or HOST:PORT that users are told.
	Address string `toml:"address"`
	// HostKeys is a pattern for the files with its sshd's public host keys, which
	// users are told; empty tells none.
	HostKeys string `toml:"host_keys"`
}

// sshHostKeys is where OpenSSH has them.
const sshHostKeys = "/etc/ssh/ssh_host_*_key.pub"

// ToldHostKeys is the pattern that counts: without accounts this host is not the
// jump host, and the default is not meant.
func (j Jump) ToldHostKeys() string {
	if !j.Accounts && j.HostKeys == sshHostKeys {
		return ""
	}
	return j.HostKeys
}

// Defaults returns a File with the default of every key.
func Defaults() File {
	return File{
		Server: Server{
			Address:                  "0.0.0.0:50051",
			Cert:                     "/etc/containarium/tls/tls.crt",
			Key:                      "/etc/containarium/tls/tls.key",
			CA:                       "/etc/containarium/tls/ca.crt",
			CRL:                      "/etc/containarium/tls/crl.pem",
			AllowFrom:                []string{},
			MaxConnections:           limit.Connections,
			MaxConnectionsPerAddress: limit.PerAddress,
			DrainTimeout:             30 * time.Second,
		},
		TLS: TLS{
			ClientCert:    "/etc/containarium/tls/client.crt",
			ClientKey:     "/etc/containarium/tls/client.key",
			TrustInterval: 10 * time.Second,
		},
		Policy: Policy{File: "/etc/containarium/policy.toml"},
		Audit:  Audit{File: "/var/log/containarium/audit.log", OnError: "refuse"},
		Limits: Limits{Rate: limit.Rate, Burst: limit.Burst},
		Log:    Log{Level: "info", Format: "text"},
		Traces: Traces{Sample: 1},
		Incus: Incus{
			Socket:  "/var/lib/incus/unix.socket",
			Project: "default",
			Profile: "default",
			Remotes: map[string]string{
				"images": "https://images.linuxcontainers.org",
				"ubuntu": "https://cloud-images.ubuntu.com/releases",
			},
		},
		Containers: Containers{
			Image:         "containarium/debian-12",
			CreateTimeout: 5 * time.Minute,
			SSHPort:       22,
		},
		Images: Images{Prepare: true, Refresh: 30 * 24 * time.Hour},
		Jump:   Jump{Accounts: true, Group: "containarium", Home: "/home", HostKeys: sshHostKeys},
	}
}
