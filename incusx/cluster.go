package incusx

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"
)

// Where Incus is a cluster, every member answers for all of them: this Client works
// through one, and sees the containers of all. A daemon on each member is as good as
// one on any of them. What that takes of the network:
//
//   - The jump host and the daemon reach a container by its address. On a bridge that
//     Incus manages each member has the same subnet for itself, and its containers are
//     reached from that member alone. For a jump from any member to any container the
//     profile's NIC has to be on a network that the members share: a bridge of the
//     hosts with a port in that network (nictype=bridged, parent=BRIDGE), or OVN with
//     routes to it.
//   - What a member that does not answer has is known to this Client by name alone;
//     the rest is what the cache has seen of it before.

// Member is a member of the Incus cluster.
type Member struct {
	Name string
	// Status is Incus' word and Message what it says about that.
	Status, Message string
	// Roles are sorted.
	Roles []string
	// Local says that the Client works through this one.
	Local bool
}

// Online says that new containers can be made on it.
func (m *Member) Online() bool { return m.Status == "Online" }

// Away says that Incus hears nothing of it.
func (m *Member) Away() bool { return m.Status == "Offline" }

// membersTimeout bounds the question for the members, which Incus answers from its
// database: one that has lost its majority does not.
const membersTimeout = 5 * time.Second

// Members returns the members of the cluster, by name; none where Incus is none. It
// costs two short calls, and waits for no member.
func (c *Client) Members(ctx context.Context) ([]Member, error) {
	ctx, cancel := context.WithTimeout(ctx, membersTimeout)
	defer cancel()
	server, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	const what = "look up the members of the cluster"
	local, err := c.readMember(server)
	if err != nil || local == "" {
		return nil, classify(what, err)
	}
	found, err := server.GetClusterMembers()
	if err != nil {
		return nil, classify(what, err)
	}
	members := make([]Member, len(found))
	for i := range found {
		roles := slices.Sorted(slices.Values(found[i].Roles))
		members[i] = Member{found[i].ServerName, found[i].Status, found[i].Message, roles, found[i].ServerName == local}
	}
	slices.SortFunc(members, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	return members, nil
}

// memberBook is what is known of the member that a Client works through.
type memberBook struct {
	mu   sync.Mutex
	name string
	read time.Time
}

// memberFor is how long Incus is taken to be, or not to be, the member that it was: a
// host joins a cluster once in its life.
const memberFor = time.Minute

// Member returns the name of the member that the Client works through; "" where Incus
// is no cluster.
func (c *Client) Member(ctx context.Context) (string, error) {
	server, err := c.connect(ctx)
	if err != nil {
		return "", err
	}
	name, err := c.member(server)
	return name, classify("look whether Incus is a cluster", err)
}

func (c *Client) member(server incus.InstanceServer) (string, error) {
	book := &c.members
	book.mu.Lock()
	name, fresh := book.name, time.Since(book.read) < memberFor
	book.mu.Unlock()
	if fresh {
		return name, nil
	}
	return c.readMember(server)
}

func (c *Client) readMember(server incus.InstanceServer) (string, error) {
	info, _, err := server.GetServer()
	if err != nil {
		return "", err
	}
	name := ""
	if info.Environment.ServerClustered {
		name = info.Environment.ServerName
	}
	book := &c.members
	book.mu.Lock()
	defer book.mu.Unlock()
	book.name, book.read = name, time.Now()
	return name, nil
}

// OthersFor is how long what another member's daemon has begun is left to it: longer
// than any work of a daemon takes. What is older was cut off, and that daemon may never
// come back.
const OthersFor = 2 * time.Hour

// locationOf is the member that an instance is on; Incus says "none" where it is no
// cluster.
func locationOf(instance *api.Instance) string {
	if instance.Location == "none" {
		return ""
	}
	return instance.Location
}

// unreachable is what a list of Incus tells of an instance whose member it can not
// ask: name and member. Whether the instance is ours it does not tell; by its name it
// is, and nothing is done to it until its member tells.
func unreachable(instance *api.Instance) (Container, bool) {
	username, named := strings.CutSuffix(instance.Name, instanceSuffix)
	if !named || username == "" || locationOf(instance) == "" || instance.StatusCode != api.Error || len(instance.Config) > 0 {
		return Container{}, false
	}
	return Container{Name: instance.Name, Username: username, State: StateUnreachable, Location: instance.Location}, true
}

// memberDown reports whether an error says that another member does not answer, by
// Incus' words as of 6.0: for one that it hears nothing of, one that gives no answer,
// and one that takes no connection. Of itself, while it starts, Incus says 503.
func memberDown(err error) bool {
	if api.StatusErrorCheck(err, http.StatusServiceUnavailable) {
		return false
	}
	text := err.Error()
	return strings.Contains(text, "Server isn't ready yet") ||
		strings.Contains(text, "Missing event connection with target cluster member") ||
		// The address of an image server has another path.
		strings.Contains(text, "Unable to connect to: ") && strings.Contains(text, "/1.0/instances")
}

// createOn makes the instance on the target or, without one, where Incus' scheduler
// wants it. Until Incus notices that a member is gone it may choose that one: then the
// instance is made on the member that we work through, which does answer.
func (c *Client) createOn(server incus.InstanceServer, target string, post api.InstancesPost) (incus.Operation, error) {
	if target != "" {
		server = server.UseTarget(target)
	}
	op, err := server.CreateInstance(post)
	if target != "" || err == nil || !memberDown(err) {
		return op, err
	}
	local, unknown := c.member(server)
	if unknown != nil || local == "" {
		return op, err
	}
	return server.UseTarget(local).CreateInstance(post)
}
