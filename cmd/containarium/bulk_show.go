package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/daemon/sshkey"
	"github.com/footprintai/containarium/incusx"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// differences says what a container has that its entry in the file does not want.
// What the entry leaves open may be anything.
func differences(want *pb.CreateContainerRequest, have *pb.Container) []string {
	var all []string
	add := func(what, has, wants string) {
		if has == "" {
			has = "not set"
		}
		if wants == "" {
			wants = "empty"
		}
		all = append(all, fmt.Sprintf("%s is %s, not %s", what, has, wants))
	}
	limits, wants := have.GetResources(), want.GetResources()
	if !sameCPU(limits.GetCpu(), wants.GetCpu()) {
		add("cpu", limits.GetCpu(), wants.GetCpu())
	}
	if !sameSize(limits.GetMemory(), wants.GetMemory()) {
		add("memory", limits.GetMemory(), wants.GetMemory())
	}
	if !sameSize(limits.GetDisk(), wants.GetDisk()) {
		add("disk", limits.GetDisk(), wants.GetDisk())
	}
	if image := want.GetImage(); image != "" && image != have.GetImage() && !strings.HasPrefix(have.GetImageFingerprint(), image) {
		add("image", have.GetImage(), image)
	}
	if want.EnableDocker != nil && want.GetEnableDocker() != have.GetDockerEnabled() {
		add("docker", yesNo(have.GetDockerEnabled()), yesNo(want.GetEnableDocker()))
	}
	if want.AutoStart != nil && want.GetAutoStart() != have.GetAutoStart() {
		add("autostart", yesNo(have.GetAutoStart()), yesNo(want.GetAutoStart()))
	}
	for key, value := range want.GetLabels() {
		if has, ok := have.GetLabels()[key]; !ok || has != value {
			add("label "+key, has, value)
		}
	}
	slices.Sort(all)
	return append(all, keyDifferences(want.GetSshKeys(), have)...)
}

// keyDifferences is empty where the entry leaves keys open. While a container is
// being made it has none yet.
func keyDifferences(lines []string, have *pb.Container) []string {
	if len(lines) == 0 || have.GetState() == pb.ContainerState_CONTAINER_STATE_CREATING {
		return nil
	}
	more := map[string]bool{} // the container's, without the entry's
	for _, key := range have.GetSshKeys() {
		more[key.GetFingerprint()] = true
	}
	missing := map[string]bool{}
	for _, line := range lines {
		key, err := sshkey.Parse(line)
		if err != nil {
			continue // it was checked
		}
		if !more[key.Fingerprint] {
			missing[key.Fingerprint] = true
		}
	}
	for _, line := range lines {
		if key, err := sshkey.Parse(line); err == nil {
			delete(more, key.Fingerprint)
		}
	}
	var all []string
	if n := len(missing); n > 0 {
		all = append(all, fmt.Sprintf("keys: %d of the file %s missing", n, isAre(n)))
	}
	if n := len(more); n > 0 {
		all = append(all, fmt.Sprintf("keys: %d %s not in the file", n, isAre(n)))
	}
	return all
}

func isAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// sameCPU and sameSize take two spellings of a limit for the same; one that the
// file leaves open is.
func sameCPU(have, want string) bool {
	if want == "" || have == want {
		return true
	}
	x, errX := incusx.ParseCPU(have)
	y, errY := incusx.ParseCPU(want)
	return errX == nil && errY == nil && x.Limit == y.Limit && x.Allowance == y.Allowance
}

func sameSize(have, want string) bool {
	if want == "" || have == want {
		return true
	}
	x, errX := incusx.ParseSize(have, 0)
	y, errY := incusx.ParseSize(want, 0)
	return errX == nil && errY == nil && x == y
}

// bulkBar shows how far a bulk is, in one line of the terminal.
type bulkBar struct {
	total, done int
	running     map[*bulkItem]string // what goes on, of each that is being made
	order       []*bulkItem          // the longest running first
}

const (
	// barWidth is the bar's, in columns.
	barWidth = 20
	// narrow is how wide a terminal is taken to be that does not tell.
	narrow = 80
)

func (b *bulkBar) take(e bulkEvent) {
	if e.done {
		b.done++
		delete(b.running, e.item)
		b.order = slices.DeleteFunc(b.order, func(item *bulkItem) bool { return item == e.item })
		return
	}
	if _, ok := b.running[e.item]; !ok {
		b.order = append(b.order, e.item)
	}
	b.running[e.item] = fmt.Sprintf("%s %d%% %s", e.item.place.user, e.percent, e.text)
}

func (b *bulkBar) draw(t *terminal) {
	if b.total == 0 || !t.errTTY {
		return
	}
	columns, _ := t.size()
	if columns <= 0 {
		columns = narrow
	}
	full := barWidth * b.done / b.total
	texts := make([]string, len(b.order))
	for i, item := range b.order {
		texts[i] = b.running[item]
	}
	line := fmt.Sprintf("[%s%s] %d of %d  %s", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), b.done, b.total, strings.Join(texts, ", "))
	// A line that wraps could not be taken off again.
	t.progressf("%s", shorten(clean(line), columns-1))
}

// bulkEntry is a user in the JSON of a bulk.
type bulkEntry struct {
	User    string `json:"user"`
	Server  string `json:"server,omitempty"`
	Address string `json:"address,omitempty"` // the server's
	// At is FILE:LINE.
	At string `json:"at"`
	// Result is created, exists, differs, failed, unfinished or not begun.
	Result      string          `json:"result"`
	Differences []string        `json:"differences,omitempty"`
	Answer      json.RawMessage `json:"answer,omitempty"` // the daemon's, where it was created
	Error       *fleetFailure   `json:"error,omitempty"`
}

// bulkShow prints what came of each user, in the order of the file, and returns
// what failed.
func bulkShow(c *cli.Context, items []*bulkItem, failed []error) error {
	term := terminalOf(c)
	counts := map[string]int{}
	rows := [][]string{{"USER", "SERVER", "RESULT", "ADDRESS", "DETAIL"}}
	entries := make([]bulkEntry, 0, len(items))
	for _, item := range items {
		counts[item.result]++
		for _, warning := range item.response.GetWarnings() {
			term.warnf("%s: %s", item.place, warning)
		}
		if item.result == bulkDiffers {
			term.warnf("%s is not as in the file, and stays as it is: %s", item.place, strings.Join(item.differences, "; "))
		}
		entry := bulkEntry{User: item.place.user, Server: item.place.server.Name, Address: item.place.server.Address, At: item.at, Result: item.result, Differences: item.differences}
		if item.err != nil {
			entry.Error = failureOf(c.Context, item.err)
		}
		if item.response != nil && isDocument(term.format) {
			var err error
			if entry.Answer, err = document(item.response); err != nil { // it was made all the same
				failed = append(failed, fmt.Errorf("create %s: the server's answer makes no sense: %w", item.place, err))
			}
		}
		entries = append(entries, entry)
		rows = append(rows, []string{item.place.user, item.place.server.Name, item.result, item.container.GetNetwork().GetIpAddress(), item.detail()})
		if item.err != nil && !errors.Is(item.err, errUnreached) || item.err != nil && item.place.server.Address == "" {
			failed = append(failed, item.err)
		}
	}
	err := showValue(c, struct {
		Users []bulkEntry `json:"users"`
	}{entries}, func(t *terminal) error { return t.table(rows) })
	var texts []string
	for _, result := range []string{bulkCreated, bulkExists, bulkDiffers, bulkFailed, bulkUnfinished, bulkNotBegun} {
		if counts[result] > 0 {
			texts = append(texts, fmt.Sprintf("%d %s", counts[result], result))
		}
	}
	term.notef("%d users: %s", len(items), strings.Join(texts, ", "))
	if counts[bulkFailed]+counts[bulkUnfinished]+counts[bulkNotBegun] > 0 {
		term.notef("run the same again to go on: what is there stays as it is")
	}
	switch {
	case err != nil:
		return err
	case c.Err() != nil && len(failed) == 0:
		return c.Err()
	case len(failed) > 0:
		return &someError{errs: failed, all: counts[bulkFailed]+counts[bulkUnfinished]+counts[bulkNotBegun] == len(items)}
	}
	return nil
}

// detail is what the table says beyond the result.
func (item *bulkItem) detail() string {
	switch {
	case item.result == bulkDiffers:
		return strings.Join(item.differences, "; ")
	case item.result == bulkCreated && len(item.container.GetSshKeys()) == 0:
		return "no key yet"
	case item.container != nil && item.container.GetState() != pb.ContainerState_CONTAINER_STATE_RUNNING:
		return stateWord(item.container.GetState())
	}
	return ""
}
