package daemon

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/footprintai/containarium/daemon/service"
	"github.com/footprintai/containarium/daemon/trust"
	"github.com/footprintai/containarium/pki/live"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// caFiles are the bundle and the lists of the CA that this daemon hosts.
func (d *Daemon) caFiles() live.Files {
	return live.Files{CA: filepath.Join(d.config.CA.Dir, "bundle.pem"), CRL: filepath.Join(d.config.CA.Dir, "crl.pem")}
}

// newFollower returns nil where roots and lists are not ours to write: there is
// nobody to follow, or our files are the CA's own.
func (d *Daemon) newFollower() *trust.Follower {
	c := trust.Config{
		Files: d.generations.files, Interval: d.config.TLS.TrustInterval, Publish: d.generations.update, Now: d.now, Log: d.log,
	}
	switch own := d.caFiles(); {
	case d.config.TLS.TrustFrom != "":
		c.From = d.config.TLS.TrustFrom
		c.Source = trust.Remote(c.From, live.Files{
			Cert: d.config.TLS.ClientCert, Key: d.config.TLS.ClientKey, CA: c.Files.CA, CRL: c.Files.CRL,
		}, d.now)
	case d.config.CA.Dir != "":
		c.From = d.config.CA.Dir
		c.Source = trust.Local(own.CA, own.CRL)
		c.KeepRoots, c.KeepCRLs = samePath(c.Files.CA, own.CA), samePath(c.Files.CRL, own.CRL)
		if c.KeepRoots && c.KeepCRLs {
			return nil
		}
	default:
		return nil
	}
	return trust.New(c)
}

// samePath follows links; what is not there yet is taken by its folder.
func samePath(a, b string) bool { return resolved(a) == resolved(b) }

func resolved(path string) string {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(dir, filepath.Base(path))
	}
	return filepath.Clean(path)
}

// follow keeps our roots and lists like the CA's until ctx ends: one elsewhere is
// asked at intervals, the files of our own are looked at like the others.
func (d *Daemon) follow(ctx context.Context) {
	if d.follower == nil {
		return
	}
	if d.config.TLS.TrustFrom != "" {
		d.follower.Run(ctx)
		return
	}
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	last, failed, tried := "", false, time.Now()
	for {
		now := d.caFiles().Signature()
		if now != last || failed && time.Since(tried) > retryInterval {
			failed = d.follower.Sync(ctx) != nil
			last, tried = now, time.Now()
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// hosted is the CA of this daemon; nil where it hosts none.
func (d *Daemon) hosted() service.Authority {
	if d.authority == nil {
		return nil
	}
	return liveAuthority{d.authority, d}
}

// liveAuthority brings what it revokes into force before it answers.
type liveAuthority struct {
	service.Authority
	daemon *Daemon
}

// Revoke fails where the certificates are revoked and this daemon does not go by
// it: the caller takes them for shut out otherwise.
func (a liveAuthority) Revoke(ctx context.Context, by, nameOrSerial string, reason pb.RevocationReason) ([]*pb.Certificate, error) {
	revoked, err := a.Authority.Revoke(ctx, by, nameOrSerial, reason)
	if err != nil {
		return nil, err
	}
	var sync error
	if a.daemon.follower != nil {
		sync = a.daemon.follower.Sync(ctx)
	}
	if err := errors.Join(sync, a.daemon.generations.refresh()); err != nil {
		return nil, &service.NotInForceError{Err: err}
	}
	return revoked, nil
}
