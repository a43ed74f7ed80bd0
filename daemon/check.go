package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/footprintai/containarium/daemon/config"
	"github.com/footprintai/containarium/daemon/intercept"
	"github.com/footprintai/containarium/daemon/policy"
	"github.com/footprintai/containarium/pki/live"
)

// Check reads the files that New and Reload read, and checks them in the same way;
// it does not listen, writes nothing and leaves the audit log alone. It fails
// closed, with every mistake: what keeps a daemon from starting, or from taking
// what changed, and a bad revocation list, with which it would serve and shut
// people out. A warning is about what it serves with all the same.
//
// It knows no running daemon. So the certificate counts as expired also where a
// daemon would go on with it, and that there are no revocation lists any more is a
// warning, where a daemon that has some keeps them. A list that is bad is read
// again after a second, unless ctx ends.
func Check(ctx context.Context, config *config.Config, now time.Time) (warnings []string, err error) {
	actions, err := intercept.Actions()
	if err != nil {
		return nil, err
	}
	quiet := logrus.New()
	quiet.SetOutput(io.Discard)
	g := &generations{
		files:  live.Files{Cert: config.Server.Cert, Key: config.Server.Key, CA: config.Server.CA, CRL: config.Server.CRL},
		policy: config.Policy.File, actions: actions, now: func() time.Time { return now }, log: quiet, stopped: ctx,
	}
	next, err := g.readTwice()
	if err != nil {
		// The policy is read last: what is wrong with it should not wait for the rest.
		if _, also := policy.Load(g.policy, actions); also != nil && also.Error() != err.Error() {
			err = errors.Join(err, also)
		}
		return nil, err
	}
	if err := errors.Join(next.Trust.CRLs.Problems(now)...); err != nil {
		return nil, err
	}
	if next.Trust.CRLs == nil && !copiesLists(config) {
		warnings = append(warnings, fmt.Sprintf("revocation is off: there is no %s, so a certificate is good until it expires", config.Server.CRL))
	}
	if next.Policy.Empty() {
		warnings = append(warnings, fmt.Sprintf("the policy %s gives nobody a role: every call will be denied", config.Policy.File))
	}
	if from := config.TLS.TrustFrom; from != "" {
		asking := live.Files{Cert: config.TLS.ClientCert, Key: config.TLS.ClientKey, CA: config.Server.CA, CRL: config.Server.CRL}
		if err := asking.Check(live.Client, now); err != nil {
			warnings = append(warnings, fmt.Sprintf("%s can not be asked for roots and revocation lists: %s", from, err))
		}
	}
	return warnings, nil
}

// copiesLists reports whether a start copies revocation lists from the CA that the
// daemon hosts.
func copiesLists(config *config.Config) bool {
	if config.CA.Dir == "" {
		return false
	}
	_, err := os.Stat(filepath.Join(config.CA.Dir, "crl.pem"))
	return err == nil
}
