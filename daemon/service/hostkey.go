package service

import (
	"context"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/footprintai/containarium/incusx"
)

const (
	// learnTimeout bounds the wait for the sshd of a container that has just started.
	learnTimeout = time.Minute
	// learners is how many containers are asked at once.
	learners = 4
)

// learnHostKey notes the SSH host key of a running container, in the background:
// where nobody waited for sshd at its create, and after each start, since its
// owner may have made new ones. Where sshd does not answer, what is known stays.
func (s *Service) learnHostKey(container incusx.Container) {
	if container.State != incusx.StateRunning || container.Address == "" {
		return
	}
	go func() {
		select {
		case s.learning <- struct{}{}:
			defer func() { <-s.learning }()
		case <-s.work.Done():
			return
		}
		ctx, cancel := context.WithTimeout(s.work, learnTimeout)
		defer cancel()
		hostKey, err := s.Incus.WaitSSH(ctx, container.Address, container.Username, nil)
		if err == nil {
			err = s.noteHostKey(ctx, container, hostKey)
		}
		if err != nil && s.work.Err() == nil {
			s.Log.WithError(err).WithField("username", container.Username).Info("the container's SSH host key was not learnt")
		}
	}()
}

// noteHostKey notes a host key on the container that had it, unless that is gone,
// stopped or elsewhere by now.
func (s *Service) noteHostKey(ctx context.Context, asked incusx.Container, hostKey string) error {
	release, err := s.users.acquire(ctx, asked.Username)
	if err != nil {
		return err
	}
	defer release()
	now, err := s.Incus.Get(ctx, asked.Username)
	if err != nil {
		return err
	}
	same := now.State == incusx.StateRunning && now.Address == asked.Address && now.CreatedAt.Equal(asked.CreatedAt)
	if !same || now.HostKey == hostKey {
		return nil
	}
	if _, err := s.Incus.SetHostKey(ctx, asked.Username, hostKey); err != nil {
		return err
	}
	s.reread(ctx, asked.Username)
	log := s.Log.WithField("username", asked.Username).WithField("fingerprint", hostKeyFingerprint(hostKey))
	if now.HostKey == "" {
		log.Info("learnt the container's SSH host key")
	} else {
		log.Warn("the container has another SSH host key than before")
	}
	return nil
}

// hostKeyFingerprint is as ssh shows it on a first login; "" for no key.
func hostKeyFingerprint(hostKey string) string {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(hostKey))
	if err != nil {
		return ""
	}
	return ssh.FingerprintSHA256(key)
}
