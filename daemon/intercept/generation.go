package intercept

import (
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/footprintai/containarium/daemon/policy"
	"github.com/footprintai/containarium/pki/live"
)

// Generation is what calls are decided by: certificates, revocation lists and
// policy, read and checked together. It never changes; a newer one takes its
// place.
type Generation struct {
	// Number counts from 1 at the start of the daemon.
	Number   uint64
	LoadedAt time.Time
	Trust    *live.Loaded
	Policy   *policy.Policy
}

// AuthInfo is what the handshake of a connection found out about its peer.
type AuthInfo struct {
	credentials.TLSInfo
	// Peer is made of the verified chains, once for all calls of the connection.
	Peer *live.Peer
	// Hold keeps the connection from being read from for a while; nil where nobody
	// can.
	Hold func(time.Duration)
}
