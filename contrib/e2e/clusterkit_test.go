//go:build e2e

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"

	"github.com/footprintai/containarium/contrib/test/freeport"
)

// The cluster's own names: a folder, a project, a group of accounts, a bridge on this
// machine with the first of its addresses, and for each member a network namespace with
// a link to that bridge.
const (
	clusterDir     = incusDir + "-cluster"
	clusterProject = siteName + "-clu"
	clusterGroup   = siteGroup + "-clu"
	clusterBridge  = prefix + "clu"
	clusterNet     = "10.78.251."
)

// cluster is three incusd on this machine that are one Incus: each in a network
// namespace, with containers on the network that all of them and this machine share.
type cluster struct {
	site    *site
	members []*clusterMember
}

type clusterMember struct {
	name, dir, namespace, address string
	process                       *process
}

func (m *clusterMember) socket() string { return filepath.Join(m.dir, "unix.socket") }

func newCluster(t *testing.T, s *site) *cluster {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(sweepCluster(t.Context()))
	t.Cleanup(func() {
		ctx, cancel := lasting(t)
		defer cancel()
		if err := sweepCluster(ctx); err != nil {
			t.Error(err)
		}
	})
	must(os.MkdirAll(clusterDir, 0o711))
	must(ip(t.Context(), "link add "+clusterBridge+" type bridge", "addr add "+clusterNet+"1/24 dev "+clusterBridge, "link set "+clusterBridge+" up"))
	_, err := start("dnsmasq.log", "dnsmasq", "--conf-file=/dev/null", "--keep-in-foreground", "--port=0", "--interface="+clusterBridge,
		"--bind-interfaces", "--except-interface=lo", "--dhcp-range="+clusterNet+"100,"+clusterNet+"200,1h", "--pid-file",
		"--dhcp-leasefile="+filepath.Join(clusterDir, "leases"))
	must(err)
	c := &cluster{site: s}
	for i := range 3 {
		m := &clusterMember{
			name: fmt.Sprint("m", i+1), dir: filepath.Join(clusterDir, fmt.Sprint("m", i+1)),
			namespace: clusterBridge + fmt.Sprint(i+1), address: clusterNet + fmt.Sprint(11+i),
		}
		c.members = append(c.members, m)
		must(m.connect(t.Context()))
		must(m.start(t))
	}
	must(c.form(t.Context()))
	must(c.copyImage(t))
	return c
}

// connect makes the member's network namespace, whose bridge br0 is the one that
// containers are on.
func (m *clusterMember) connect(ctx context.Context) error {
	in := "-n " + m.namespace + " "
	return ip(ctx,
		"netns add "+m.namespace,
		"link add "+m.namespace+" type veth peer name up0 netns "+m.namespace,
		"link set "+m.namespace+" master "+clusterBridge+" up",
		in+"link set lo up",
		in+"link add br0 type bridge",
		in+"link set up0 master br0 up",
		in+"addr add "+m.address+"/24 dev br0",
		in+"link set br0 up",
		in+"route add default via "+clusterNet+"1")
}

func ip(ctx context.Context, commands ...string) error {
	for _, command := range commands {
		if err := quiet(exec.CommandContext(ctx, "ip", strings.Fields(command)...)); err != nil {
			return err
		}
	}
	return nil
}

// memberScript runs incusd ($3) with its folder ($1) in a network namespace ($2) and
// with mounts of its own: /sys has to be of that namespace, and the control groups have
// to be in it.
const memberScript = `set -e
export INCUS_DIR=$1
mkdir -p "$1/cgroup"
mount --rbind /sys/fs/cgroup "$1/cgroup"
exec nsenter --net="$2" sh -c '
	mount -t sysfs sysfs /sys
	mount --rbind "$INCUS_DIR/cgroup" /sys/fs/cgroup
	umount -l "$INCUS_DIR/cgroup"
	exec "$0" --logfile "$INCUS_DIR/incusd.log"' "$3"`

// start starts the member's incusd, again after it was killed, and waits until it
// answers.
func (m *clusterMember) start(t testing.TB) error {
	incusd := ""
	for _, file := range []string{"/usr/libexec/incus/incusd", "/usr/lib/incus/incusd", "/opt/incus/bin/incusd", "/usr/sbin/incusd", "/usr/bin/incusd"} {
		if _, err := os.Stat(file); err == nil && incusd == "" {
			incusd = file
		}
	}
	if err := errors.Join(os.MkdirAll(m.dir, 0o711), os.RemoveAll(m.socket())); err != nil {
		return err
	}
	var err error
	m.process, err = start("cluster-"+m.name+".log", "unshare", "--mount", "--propagation", "slave",
		"sh", "-c", memberScript, "sh", m.dir, "/run/netns/"+m.namespace, incusd)
	if err != nil {
		return err
	}
	waitFor(t, "the incusd of "+m.name, func() bool {
		select {
		case <-m.process.ended:
			t.Fatalf("incusd of %s ended: %v: %s", m.name, m.process.err, end(filepath.Join(siteDir, "cluster-"+m.name+".log"), 2000))
		default:
		}
		_, err := dialIncus(m.socket())
		return err == nil
	})
	return nil
}

// kill ends the member's incusd without a word; its containers go on.
func (m *clusterMember) kill() { _ = m.process.end(syscall.SIGKILL) }

// form makes the members one cluster, with a pool and a project.
func (c *cluster) form(ctx context.Context) error {
	preseed := func(m *clusterMember, text string) error {
		cmd := exec.CommandContext(ctx, "incus", "admin", "init", "--preseed")
		cmd.Env, cmd.Stdin = m.environment(), strings.NewReader(text)
		return quiet(cmd)
	}
	first := c.members[0]
	if err := preseed(first, fmt.Sprintf("config: {core.https_address: %s:8443}\ncluster: {server_name: %s, enabled: true}\nstorage_pools: [{name: default, driver: dir}]\n",
		first.address, first.name)); err != nil {
		return err
	}
	for _, m := range c.members[1:] {
		cmd := exec.CommandContext(ctx, "incus", "cluster", "add", m.name, "--quiet")
		cmd.Env = first.environment()
		token, err := cmd.Output()
		if err != nil {
			return err
		}
		if err := preseed(m, fmt.Sprintf("cluster: {enabled: true, server_name: %s, server_address: '%s:8443', cluster_token: %s, "+
			"member_config: [{entity: storage-pool, name: default, key: source, value: ''}]}\n", m.name, m.address, strings.TrimSpace(string(token)))); err != nil {
			return err
		}
	}
	// The shortest that there is: Incus looks every ten seconds.
	cmd := exec.CommandContext(ctx, "incus", "config", "set", "cluster.offline_threshold", "11")
	cmd.Env = first.environment()
	return quiet(cmd)
}

func (m *clusterMember) environment() []string {
	return append(os.Environ(), "INCUS_DIR="+m.dir, "INCUS_CONF="+filepath.Join(clusterDir, "client"), "INCUS_PROJECT=", "INCUS_REMOTE=")
}

// copyImage makes the project, with the image of the shared site.
func (c *cluster) copyImage(t testing.TB) error {
	server, err := dialIncus(c.members[0].socket())
	if err != nil {
		return err
	}
	if err := server.CreateProject(api.ProjectsPost{Name: clusterProject, ProjectPut: api.ProjectPut{Config: map[string]string{"features.images": "true", "features.profiles": "true"}}}); err != nil {
		return err
	}
	server = server.UseProject(clusterProject)
	if err := server.UpdateProfile("default", api.ProfilePut{Devices: map[string]map[string]string{
		"root": {"type": "disk", "path": "/", "pool": "default"},
		"eth0": {"type": "nic", "name": "eth0", "nictype": "bridged", "parent": "br0"},
	}}, ""); err != nil {
		return err
	}
	alias, _, err := c.site.incus().GetImageAlias(c.site.image)
	if err != nil {
		return err
	}
	var halves [2]*os.File
	for i := range halves {
		if halves[i], err = os.Create(filepath.Join(t.TempDir(), "half")); err != nil {
			return err
		}
		defer halves[i].Close() //nolint:errcheck // only read after
	}
	if _, err := c.site.incus().GetImageFile(alias.Target, incus.ImageFileRequest{MetaFile: halves[0], RootfsFile: halves[1]}); err != nil {
		return err
	}
	for _, half := range halves {
		if _, err := half.Seek(0, 0); err != nil {
			return err
		}
	}
	op, err := server.CreateImage(api.ImagesPost{ImagePut: api.ImagePut{Public: false}, Aliases: []api.ImageAlias{{Name: c.site.image}}, Filename: "image.tar"},
		&incus.ImageCreateArgs{MetaFile: halves[0], MetaName: "image.tar", RootfsFile: halves[1], RootfsName: "image.squashfs", Type: "container"})
	if err != nil {
		return err
	}
	return op.Wait()
}

// daemon starts a daemon that works through a member, with accounts on this machine or
// without: this machine has room for those of one.
func (c *cluster) daemon(t *testing.T, m *clusterMember, accounts bool) *site {
	t.Helper()
	address, err := freeport.Address("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(filepath.Join(siteDir, "config.toml"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(siteDir, "cluster-"+m.name+".toml")
	text := string(config)
	for old, new := range map[string]string{
		c.site.address:                           address,
		fmt.Sprintf("address = %q", c.site.http): `address = ""`,
		auditLog:                                 auditLog + "-" + m.name,
		c.site.socket:                            m.socket(),
		fmt.Sprintf("project = %q", siteName):    fmt.Sprintf("project = %q", clusterProject),
		fmt.Sprintf("group   = %q", siteGroup):   fmt.Sprintf("accounts = %t\ngroup   = %q", accounts, clusterGroup),
	} {
		if !strings.Contains(text, old) {
			t.Fatalf("the configuration of the shared site lacks %s", old)
		}
		text = strings.ReplaceAll(text, old, new)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d := &site{binary: c.site.binary, socket: m.socket(), image: c.site.image, address: address, jump: c.site.jump, jumpKey: c.site.jumpKey, identities: map[string]bool{admin: true}}
	c.site.do(t, "whoami") // which has the admin's certificate made
	if d.daemon, err = start("cluster-"+m.name+"-daemon.log", d.binary, "daemon", "--config", file); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of the daemon on %s:\n%s", m.name, end(filepath.Join(siteDir, "cluster-"+m.name+"-daemon.log"), 4000))
		}
		_ = d.daemon.end(syscall.SIGTERM)
	})
	if err := d.daemon.listening(t.Context(), address); err != nil {
		t.Fatal(err)
	}
	return d
}
