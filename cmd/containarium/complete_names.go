package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/pki/guard"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

const (
	// namesFresh is how long users are taken to be as remembered, and namesAgain
	// after what time a server is asked again that did not answer.
	namesFresh = time.Minute
	namesAgain = 10 * time.Second
	// namesBehind bounds an asking that nobody waits for.
	namesBehind = 15 * time.Second
	// maxNames bounds what is remembered of a server, in bytes of its file: 100,000
	// users take some 4 MB.
	maxNames = 4 << 20
)

// namesFirst bounds the wait for servers of which nothing is remembered: the user
// has pressed a key. Tests have more patience.
var namesFirst = 500 * time.Millisecond

// refreshWord is completeWord for the program that asks the servers anew behind
// the one that completes: standard input has them.
const refreshWord = "__remember"

// names are what is remembered of a server, as its user saw it.
type names struct {
	Asked  time.Time `json:"asked"`
	Failed bool      `json:"failed,omitempty"`
	Users  []string  `json:"users"`
}

// stale reports whether the server is to be asked again.
func (n *names) stale(now time.Time) bool {
	age := now.Sub(n.Asked)
	return age < 0 || age > namesFresh || n.Failed && age > namesAgain
}

// remembered returns the users of servers, sorted, each once. It asks those of
// which nothing is remembered, within a short bound, and has those asked behind
// it of which it was too long ago.
func remembered(ctx context.Context, servers []client.Server, self string) []string {
	dir, err := namesDir()
	if err != nil {
		return nil
	}
	var all []string
	var unknown, old []client.Server
	for _, server := range servers {
		n := readNames(dir, server)
		switch {
		case n == nil:
			unknown = append(unknown, server)
			continue
		case n.stale(time.Now()):
			old = append(old, server)
		}
		all = append(all, n.Users...)
	}
	if len(unknown) > 0 {
		for _, n := range remember(ctx, dir, unknown, namesFirst) {
			all = append(all, n.Users...)
		}
	}
	if len(old) > 0 && self != "" {
		rememberBehind(ctx, old, self)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// namesDir is $XDG_CACHE_HOME/containarium, else ~/.cache/containarium.
func namesDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(base, "containarium")
	return dir, os.MkdirAll(dir, 0o700)
}

// namesFile is what is remembered of a server. Who asks matters: each sees only
// what they may.
func namesFile(dir string, server client.Server) string {
	return filepath.Join(dir, fmt.Sprintf("users-%x.json", sha256.Sum256([]byte(server.Address+"\n"+server.Cert))))
}

// readNames returns nil where nothing is remembered, or others could have written
// it.
func readNames(dir string, server client.Server) *names {
	data, err := guard.ReadFile(namesFile(dir, server), guard.Secret, maxNames)
	if err != nil {
		return nil
	}
	n := &names{}
	if json.Unmarshal(data, n) != nil {
		return nil
	}
	n.clean()
	return n
}

// clean leaves out what is no user name: a shell would be given it to run.
func (n *names) clean() {
	n.Users = slices.DeleteFunc(n.Users, func(user string) bool { return !userName.MatchString(user) })
}

// remember asks servers and writes down what they say. Of one that does not answer
// the users stay as they were.
func remember(ctx context.Context, dir string, servers []client.Server, timeout time.Duration) []*names {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answers := client.Ask(ctx, client.Fan{Timeout: timeout}, servers, func(ctx context.Context, c *client.Client) (*pb.ListContainersResponse, error) {
		return c.Containers.ListContainers(ctx, &pb.ListContainersRequest{})
	})
	var all []*names
	for i, answer := range answers {
		n := &names{Asked: time.Now(), Users: []string{}}
		if answer.Err != nil {
			if before := readNames(dir, servers[i]); before != nil {
				n.Users = before.Users
			}
			n.Failed = true
		}
		for _, container := range answer.Value.GetContainers() {
			n.Users = append(n.Users, container.GetUsername())
		}
		n.clean()
		all = append(all, n)
		if data, err := json.Marshal(n); err == nil && len(data) <= maxNames {
			_ = guard.Replace(namesFile(dir, servers[i]), data, 0o600) // the next time asks again
		}
	}
	return all
}

// rememberBehind starts the program once more, to ask the servers while the user
// goes on. It ends by itself.
func rememberBehind(ctx context.Context, servers []client.Server, self string) {
	data, err := json.Marshal(servers)
	if err != nil {
		return
	}
	in, out, err := os.Pipe()
	if err != nil {
		return
	}
	defer out.Close() //nolint:errcheck // it ends the other's input
	defer in.Close()  //nolint:errcheck // the other has its own
	behind := exec.CommandContext(context.WithoutCancel(ctx), self, refreshWord)
	behind.Stdin = in
	behind.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C is for the shell
	if behind.Start() != nil {
		return
	}
	_, _ = out.Write(data)
	_ = behind.Process.Release()
}

// refresh is what the program behind does. Where another does so already, it has
// nothing to do.
func refresh(ctx context.Context, t *terminal) {
	dir, err := namesDir()
	if err != nil {
		return
	}
	var servers []client.Server
	if json.NewDecoder(t.in).Decode(&servers) != nil {
		return
	}
	lock, err := os.Open(dir)
	if err != nil {
		return
	}
	defer lock.Close() //nolint:errcheck // ends the lock
	if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return
	}
	remember(ctx, dir, servers, namesBehind)
}
