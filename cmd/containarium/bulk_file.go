package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/footprintai/containarium/daemon/config/strict"
	"github.com/footprintai/containarium/daemon/service"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// maxUsersFile bounds a file of users, in bytes: 10,000 with a key each of the
// longest common kind take some 8 MB.
const maxUsersFile = 16 << 20

// userColumns are what a file says of a user, and the headings of CSV.
var userColumns = []string{"username", "keys", "cpu", "memory", "disk", "image", "docker", "autostart", "labels", "server"}

// userRecord is a user as a file has it: what is empty, or nil, it does not say.
type userRecord struct {
	Username  string            `toml:"username"`
	Keys      []string          `toml:"keys"`
	CPU       tomlText          `toml:"cpu"`
	Memory    string            `toml:"memory"`
	Disk      string            `toml:"disk"`
	Image     string            `toml:"image"`
	Docker    *bool             `toml:"docker"`
	Autostart *bool             `toml:"autostart"`
	Labels    map[string]string `toml:"labels"`
	Server    string            `toml:"server"`

	at       string   // FILE:LINE
	mistakes []string // in what stands there
	noRecord bool     // beyond that nothing can be said about it
}

// bad enters a mistake, with the user's name where that is known.
func (r *userRecord) bad(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if r.Username != "" {
		text = r.Username + ": " + text
	}
	r.mistakes = append(r.mistakes, text)
}

// tomlText is text that may stand as a number as well: cpu = 2.
type tomlText string

// UnmarshalTOML implements toml.Unmarshaler.
func (t *tomlText) UnmarshalTOML(value any) error {
	switch v := value.(type) {
	case string:
		*t = tomlText(v)
	case int64:
		*t = tomlText(strconv.FormatInt(v, 10))
	case float64:
		*t = tomlText(strconv.FormatFloat(v, 'f', -1, 64))
	default:
		return errors.New("must be a text or a number")
	}
	return nil
}

// fileError is a file that makes no sense, as wrong as flags that make none.
type fileError struct{ error }

// ExitCode implements cli.ExitCoder.
func (fileError) ExitCode() int { return exitUsage }

func (e fileError) Unwrap() error { return e.error }

// bulkUser is a user that a file asks for.
type bulkUser struct {
	*userRecord
	request *pb.CreateContainerRequest
}

// readUsers reads a file of users and checks each by itself. What a user's entry
// does not say the flags do.
func readUsers(c *cli.Context, path string) ([]bulkUser, error) {
	defaults, err := bulkDefaults(c)
	if err != nil {
		return nil, err
	}
	name, dir, data, err := readUsersFile(terminalOf(c), path)
	if err != nil {
		return nil, err
	}
	var records []userRecord
	if isTOML(path, data) {
		records, err = usersOfTOML(name, data)
	} else {
		records, err = usersOfCSV(name, data)
	}
	if err == nil && len(records) == 0 {
		err = fileError{fmt.Errorf("%s: has no users", name)}
	}
	if err != nil {
		return nil, err
	}
	users := make([]bulkUser, len(records))
	for i := range records {
		users[i] = bulkUser{&records[i], records[i].check(terminalOf(c), dir, defaults)}
	}
	return users, nil
}

func readUsersFile(t *terminal, path string) (name, dir string, data []byte, err error) {
	name, dir = path, filepath.Dir(path)
	in := t.in
	if path == "-" {
		name = "standard input"
	} else {
		f, err := os.Open(path)
		if err != nil {
			return "", "", nil, fileError{err}
		}
		defer f.Close() //nolint:errcheck // only read
		in = f
	}
	data, err = io.ReadAll(io.LimitReader(in, maxUsersFile+1))
	switch {
	case err != nil:
		err = fileError{fmt.Errorf("read %s: %w", name, err)}
	case len(data) > maxUsersFile:
		err = fileError{fmt.Errorf("%s is longer than %d MiB", name, maxUsersFile>>20)}
	}
	return name, dir, bytes.TrimPrefix(data, []byte("\ufeff")), err // a mark that spreadsheets put there
}

// isTOML goes by the name of the file, and of one without by what is in it.
func isTOML(path string, data []byte) bool {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".toml":
		return true
	case ".csv":
		return false
	}
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(strings.TrimSpace(line), "[[users]]") {
			return true
		}
	}
	return false
}

func usersOfTOML(name string, data []byte) ([]userRecord, error) {
	var file struct {
		Users []userRecord `toml:"users"`
	}
	doc, err := strict.Decode(name, data, &file)
	if err != nil {
		var errs []error
		for _, err := range flatten(err) {
			errs = append(errs, fileError{err})
		}
		return nil, errors.Join(errs...)
	}
	for n := range file.Users {
		file.Users[n].at = doc.Element("users", n)
	}
	return file.Users, nil
}

// bulkDefaults are what the flags say for users whose entries do not.
func bulkDefaults(c *cli.Context) (*pb.CreateContainerRequest, error) {
	labels, err := labelArguments(c)
	if err != nil {
		return nil, err
	}
	keys, err := keyArguments(c, "ssh-key")
	if err != nil {
		return nil, err
	}
	request := &pb.CreateContainerRequest{
		Resources: &pb.Resources{Cpu: c.String("cpu"), Memory: c.String("memory"), Disk: c.String("disk")},
		SshKeys:   keys, Labels: labels, Image: c.String("image"), NoWait: c.Bool("no-wait"), Target: c.String("target"),
	}
	if docker := c.Bool("docker"); docker {
		request.EnableDocker = &docker
	}
	if c.Bool("no-autostart") {
		request.AutoStart = new(bool)
	}
	return request, nil
}

// check makes a request of a record and enters the mistakes in it. Relative paths
// are taken from dir.
func (r *userRecord) check(t *terminal, dir string, defaults *pb.CreateContainerRequest) *pb.CreateContainerRequest {
	if r.noRecord {
		return nil
	}
	request := &pb.CreateContainerRequest{
		Username: r.Username,
		Resources: &pb.Resources{
			Cpu:    cmp.Or(string(r.CPU), defaults.GetResources().GetCpu()),
			Memory: cmp.Or(r.Memory, defaults.GetResources().GetMemory()),
			Disk:   cmp.Or(r.Disk, defaults.GetResources().GetDisk()),
		},
		Image: cmp.Or(r.Image, defaults.GetImage()), Labels: map[string]string{},
		EnableDocker: defaults.EnableDocker, AutoStart: defaults.AutoStart, NoWait: defaults.GetNoWait(), Target: defaults.GetTarget(),
	}
	for _, labels := range []map[string]string{defaults.GetLabels(), r.Labels} {
		for key, value := range labels {
			request.Labels[key] = value
		}
	}
	if r.Docker != nil {
		request.EnableDocker = r.Docker
	}
	if r.Autostart != nil {
		request.AutoStart = r.Autostart
	}
	for _, arg := range r.Keys {
		keys, err := readKeys(t, keyPath(dir, arg))
		switch {
		case arg == "-":
			r.bad("keys: standard input is not for keys here")
		case err != nil:
			r.bad("keys: %s", err)
		}
		request.SshKeys = append(request.SshKeys, keys...)
	}
	if len(r.Keys) == 0 {
		request.SshKeys = defaults.GetSshKeys()
	}
	for _, v := range service.CheckCreate(request) {
		r.bad("%s %s", strings.Replace(strings.TrimPrefix(v.GetField(), "resources."), "ssh_keys", "keys", 1), v.GetDescription())
	}
	return request
}

// keyPath is where the key is that a file in dir names.
func keyPath(dir, arg string) string {
	if looksLikeKey(arg) || arg == "" || filepath.IsAbs(arg) {
		return arg
	}
	if rest, ok := strings.CutPrefix(arg, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	return filepath.Join(dir, arg)
}
