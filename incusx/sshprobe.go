package incusx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// probeTimeout bounds one attempt: an sshd that took the connection and says
// nothing is asked anew.
const probeTimeout = 5 * time.Second

// probePause is between two attempts: one that is refused costs next to nothing.
const probePause = 20 * time.Millisecond

// WaitSSH waits until sshd at address would let username in with one of keys,
// lines of authorized_keys, and returns its host key as type and base64. Without
// keys it waits until sshd proves that host key. When ctx ends first the error
// says what sshd did last.
func (c *Client) WaitSSH(ctx context.Context, address, username string, keys []string) (hostKey string, err error) {
	target := net.JoinHostPort(address, strconv.Itoa(c.cfg.SSHPort))
	signers, err := probeSigners(keys)
	if err != nil {
		return "", err
	}
	var last error
	err = pollEvery(ctx, probePause, func() (bool, error) {
		key, err := probe(ctx, target, username, signers)
		if err == nil {
			hostKey = key
			return true, nil
		}
		if last == nil || !over(ctx) { // one that ctx cut off says nothing of sshd
			last = err
		}
		return false, nil
	})
	if err != nil {
		return "", fmt.Errorf("wait for sshd at %s: %w (%w)", target, err, last)
	}
	return hostKey, nil
}

// over tells whether ctx has ended, by the clock too: on a busy machine its timer
// comes late, and a dialer looks at the deadline itself.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

// SetHostKey notes a container's SSH host key, type and base64, on its instance.
func (c *Client) SetHostKey(ctx context.Context, username, hostKey string) (Container, error) {
	return c.set(ctx, username, map[string]string{keyHostKey: hostKey})
}

// errRefused says that sshd answers, and does not take the owner's keys.
var errRefused = errors.New("sshd does not accept the owner's key")

// probe offers the owner's public keys as RFC 4252 section 7 has it: sshd tells
// whether it would accept a key before the client proves that it has it. The
// daemon never has it, so it leaves at that point, and no session comes about.
func probe(ctx context.Context, target, username string, signers []*probeSigner) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", target)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()

	var hostKey ssh.PublicKey
	accepted := false
	auth := make([]ssh.Signer, len(signers))
	for i, signer := range signers {
		auth[i] = &probeSigner{key: signer.key, accepted: &accepted}
	}
	client, _, _, err := ssh.NewClientConn(conn, target, &ssh.ClientConfig{
		User: username,
		Auth: []ssh.AuthMethod{ssh.PublicKeys(auth...)},
		// The host key of a container that has just booted is what is to be learnt.
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			hostKey = key
			return nil
		},
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoRSASHA512},
	})
	if client != nil {
		_ = client.Close()
	}
	switch {
	case hostKey == nil:
		return "", err
	case !accepted && len(signers) > 0: // fails closed: no key of the owner, no success
		if err != nil && !strings.Contains(err.Error(), "unable to authenticate") {
			return "", err // sshd was cut off before it said yes or no
		}
		return "", errRefused
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(hostKey))), nil
}

// probeSigner is a key whose private half is elsewhere.
type probeSigner struct {
	key      ssh.PublicKey
	accepted *bool
}

func probeSigners(keys []string) ([]*probeSigner, error) {
	signers := make([]*probeSigner, len(keys))
	for i, line := range keys {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			return nil, fmt.Errorf("parse SSH key %d: %w", i+1, err)
		}
		signers[i] = &probeSigner{key: key}
	}
	return signers, nil
}

// PublicKey returns the public half.
func (s *probeSigner) PublicKey() ssh.PublicKey { return s.key }

// Sign is called once sshd said that it would accept the key; it never signs.
func (s *probeSigner) Sign(r io.Reader, data []byte) (*ssh.Signature, error) {
	return s.SignWithAlgorithm(r, data, "")
}

// SignWithAlgorithm is Sign for RSA keys, which have several algorithms.
func (s *probeSigner) SignWithAlgorithm(io.Reader, []byte, string) (*ssh.Signature, error) {
	*s.accepted = true
	return nil, errors.New("the key was accepted; no login is wanted")
}
