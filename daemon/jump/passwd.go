package jump

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// entry is a line of the passwd database.
type entry struct {
	name, gid, gecos, home string
	uid                    uint32
}

// getent's exit code for a key that is not there.
const notFound = 2

// lookup finds an account in every source that the host knows, LDAP as well; nil
// where there is none. Any other failure is an error: an account that can not be
// looked up is not taken for absent. (A directory that does not answer looks to
// getent like one without the name; the host's own file always answers.)
func lookup(ctx context.Context, username string) (*entry, error) {
	if !namePattern.MatchString(username) { // getent would take a number for a user id
		return nil, fmt.Errorf("%q can not be the name of an account", username)
	}
	out, err := getent(ctx, "passwd", username)
	if err != nil || out == "" {
		return nil, err
	}
	return parseEntry(out)
}

// passwd returns every account. A line that is not one, as "+::::::" of NIS,
// is left out: it can be nobody that we made.
func passwd(ctx context.Context) ([]*entry, error) {
	out, err := getent(ctx, "passwd")
	if err != nil {
		return nil, err
	}
	var entries []*entry
	for line := range strings.Lines(out) {
		if e, err := parseEntry(line); err == nil {
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// parseEntry reads a line as passwd(5) has it: seven fields.
func parseEntry(line string) (*entry, error) {
	fields := strings.Split(strings.TrimSuffix(line, "\n"), ":")
	if len(fields) != 7 {
		return nil, fmt.Errorf("a line of the passwd database has %d fields, not 7", len(fields))
	}
	uid, err := strconv.ParseUint(fields[2], 10, 32)
	if err != nil {
		return nil, fmt.Errorf("a line of the passwd database has a bad user id: %w", err)
	}
	return &entry{name: fields[0], uid: uint32(uid), gid: fields[3], gecos: fields[4], home: fields[5]}, nil
}

// groupID returns the number of a group, "" where there is none.
func groupID(ctx context.Context, group string) (string, error) {
	out, err := getent(ctx, "group", group)
	if err != nil || out == "" {
		return "", err
	}
	fields := strings.Split(strings.TrimSuffix(out, "\n"), ":")
	if len(fields) != 4 || fields[0] != group || fields[2] == "" {
		return "", fmt.Errorf("the group %s has an odd line in the group database", group)
	}
	return fields[2], nil
}

func getent(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "getent", args...).Output() //nolint:gosec // no shell; the names are checked
	var exit *exec.ExitError
	switch {
	case err == nil:
		return string(out), nil
	case ctx.Err() != nil: // it was killed, which says nothing
		return "", fmt.Errorf("getent %s: %w", strings.Join(args, " "), ctx.Err())
	case errors.As(err, &exit) && exit.ExitCode() == notFound:
		return "", nil
	}
	return "", fmt.Errorf("getent %s: %w", strings.Join(args, " "), err)
}
