package service

import (
	"context"
	"slices"
	"strings"

	"github.com/footprintai/containarium/daemon/sshkey"
	"github.com/footprintai/containarium/incusx"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// AddSSHKey implements the RPC.
func (s *Service) AddSSHKey(ctx context.Context, request *pb.AddSSHKeyRequest) (*pb.AddSSHKeyResponse, error) {
	username := request.GetUsername()
	var v violations
	v.username("username", username)
	key, err := sshkey.Parse(request.GetSshKey())
	if err != nil {
		v.add("ssh_key", "%s", err)
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	ctx, done, err := s.change(ctx, username, changeTimeout)
	if err != nil {
		return nil, err
	}
	defer done()
	container, err := s.find(ctx, username)
	if err != nil {
		return nil, err
	}
	already := indexOfKey(container.SSHKeys, key.Fingerprint) >= 0
	if !already {
		if len(container.SSHKeys) >= maxKeys {
			return nil, errPrecondition("TOO_MANY_KEYS", "%s has %d keys, which is the most: remove one first", username, maxKeys)
		}
		if container, err = s.Incus.SetKeys(ctx, username, append(container.SSHKeys, key.String())); err != nil {
			return nil, statusOf(err)
		}
	}
	// Also where nothing changed: an earlier call may have been cut off before
	// both hops had the key.
	if err := s.applyKeys(ctx, container); err != nil {
		return nil, statusOf(err)
	}
	return &pb.AddSSHKeyResponse{Container: s.toProto(container), Already: already}, nil
}

// RemoveSSHKey implements the RPC.
func (s *Service) RemoveSSHKey(ctx context.Context, request *pb.RemoveSSHKeyRequest) (*pb.RemoveSSHKeyResponse, error) {
	username := request.GetUsername()
	var v violations
	v.username("username", username)
	wanted := strings.TrimSpace(request.GetSshKey())
	if !fingerprint.MatchString(wanted) {
		key, err := sshkey.Parse(wanted)
		if err != nil {
			v.add("ssh_key", `%s; give the key or its fingerprint ("SHA256:...")`, err)
		}
		wanted = key.Fingerprint
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	ctx, done, err := s.change(ctx, username, changeTimeout)
	if err != nil {
		return nil, err
	}
	defer done()
	container, err := s.find(ctx, username)
	if err != nil {
		return nil, err
	}
	at := indexOfKey(container.SSHKeys, wanted)
	switch {
	case at < 0:
		// An earlier removal may have been cut off before both hops had lost the key.
		if err := s.applyKeys(ctx, container); err != nil {
			return nil, statusOf(err)
		}
		return nil, errNoKey(username, wanted)
	case len(container.SSHKeys) == 1 && !request.GetForce():
		return nil, errPrecondition("LAST_KEY", "this is the last key of %s: without it nobody can log in; force, if that is what you want", username)
	}
	container, err = s.Incus.SetKeys(ctx, username, slices.Delete(container.SSHKeys, at, at+1))
	if err != nil {
		return nil, statusOf(err)
	}
	if err := s.applyKeys(ctx, container); err != nil {
		return nil, statusOf(err)
	}
	return &pb.RemoveSSHKeyResponse{Container: s.toProto(container)}, nil
}

// applyKeys brings both hops to the keys that the instance carries: the host at
// once, a stopped guest at its next start.
func (s *Service) applyKeys(ctx context.Context, container incusx.Container) error {
	if err := s.Hop.Ensure(ctx, container.Username, container.Address, container.SSHKeys); err != nil {
		return err
	}
	if container.KeysInGuest || container.State != incusx.StateRunning {
		return nil
	}
	return s.Incus.SyncKeys(ctx, container)
}

// indexOfKey finds a key by fingerprint: another comment makes no other key.
func indexOfKey(keys []string, fingerprint string) int {
	return slices.IndexFunc(keys, func(line string) bool {
		key, err := sshkey.Parse(line)
		return err == nil && key.Fingerprint == fingerprint
	})
}
