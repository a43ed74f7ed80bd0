package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/client"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// What came of a user of a file.
const (
	bulkCreated    = "created"
	bulkExists     = "exists"     // as the file wants it
	bulkDiffers    = "differs"    // it is there, and not as the file wants it
	bulkFailed     = "failed"     // see the error
	bulkUnfinished = "unfinished" // the daemon goes on with it
	bulkNotBegun   = "not begun"
)

// bulkItem is a user of a file on the way to a container.
type bulkItem struct {
	bulkUser
	place  place
	result string // one of those above; empty while it is to be made
	// differences are what the container has that the file does not want.
	differences []string
	response    *pb.CreateContainerResponse // where it was created
	container   *pb.Container               // where there is one
	err         error
}

func createFrom(c *cli.Context) error {
	if _, err := operands(c, 0, 0); err != nil {
		return err
	}
	if n := c.Int("parallel"); n < 1 || n > 64 {
		return usagef(c, "--parallel %d: must be between 1 and 64", n)
	}
	users, err := readUsers(c, c.String("from"))
	if err != nil {
		return err
	}
	t, items, err := bulkItems(c, users)
	if err != nil {
		return err
	}
	failed, err := bulkPlan(c, t, items)
	if err != nil {
		return err
	}
	bulkRun(c, t, items)
	return bulkShow(c, items, failed)
}

// bulkItems finds the server of each user: the one that the file names, else the
// one that is asked; --place leaves it open. The error is one line for each
// mistake.
func bulkItems(c *cli.Context, users []bulkUser) (*targets, []*bulkItem, error) {
	choose := c.IsSet("place")
	if choose {
		if err := checkPlace(c); err != nil {
			return nil, nil, err
		}
	}
	t, err := bulkTargets(c, users, choose)
	if err != nil {
		return nil, nil, err
	}
	var items []*bulkItem
	var errs []error
	first := map[place]string{} // where a user stands for the first time
	for _, user := range users {
		item := &bulkItem{bulkUser: user, place: place{user: user.Username}}
		items = append(items, item)
		if !user.noRecord {
			item.onServer(c, t, choose)
		}
		// One that is to be placed may come to any server.
		key := place{user: user.Username}
		if !choose {
			key.server.Address = item.place.server.Address
		}
		if at, twice := first[key]; twice && user.Username != "" {
			user.bad("is in %s already", at)
		} else {
			first[key] = user.at
		}
		for _, mistake := range user.mistakes {
			errs = append(errs, fileError{fmt.Errorf("%s: %s", user.at, mistake)})
		}
	}
	return t, items, errors.Join(errs...)
}

// onServer finds the item's server. What a group means is for the command line,
// where it is confirmed.
func (item *bulkItem) onServer(c *cli.Context, t *targets, choose bool) {
	if item.Server == "" {
		switch {
		case choose:
		case len(t.servers) == 1:
			item.place.server = t.servers[0]
		default:
			item.bad("on which server? name it in the file, or --place %s", leastLoaded)
		}
		return
	}
	if _, isGroup := t.config.Groups[item.Server]; isGroup {
		item.bad("server: %s is a group of servers, name one of them", item.Server)
		return
	}
	server, err := t.config.Resolve(item.Server)
	switch {
	case err != nil:
		item.bad("server: %s", err)
	// Fails closed: it is open which of the two was meant.
	case serverGiven(c) && !slices.ContainsFunc(t.servers, func(s client.Server) bool { return s.Address == server.Address }):
		item.bad("server: %s is another than %s", item.Server, t.asked)
	}
	withFlags(c, &server)
	item.place.server = server
}

// bulkTargets are the servers that the command line names, unless the file names
// one for each.
func bulkTargets(c *cli.Context, users []bulkUser, choose bool) (*targets, error) {
	open := slices.ContainsFunc(users, func(u bulkUser) bool { return u.Server == "" && !u.noRecord })
	var t *targets
	var err error
	switch {
	case open && choose:
		t, err = everywhere(c, createTimeout, "")
	case open || serverGiven(c) || root(c).Bool("all"):
		t, err = targetsOf(c, createTimeout)
	default:
		t, err = noTargets(c, createTimeout)
	}
	if err == nil {
		t.qualified = true
	}
	return t, err
}
