package service

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/daemon/sshkey"
	"github.com/footprintai/containarium/incusx"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// The bounds of a request. Every string, list and map has one; the interceptors
// hold wider ones for whatever comes to be forgotten here.
const (
	maxKeys         = 32
	maxLabels       = 32
	maxLabelValue   = 255
	maxImage        = 255
	maxTarget       = 63
	maxStates       = 8
	maxStopTimeout  = 600 // seconds
	stopTimeoutless = 30  // seconds, where a request names none
)

// usernameRule is what POSIX portable names and host names have in common, so
// that one name serves as account and, with a suffix, as instance.
const usernameRule = "must match ^[a-z][a-z0-9-]{0,30}$ and not end in -"

var (
	usernamePattern = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,29}[a-z0-9])?$`)
	snapshotPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`)
	labelPattern    = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`)
	fingerprint     = regexp.MustCompile(`^SHA256:[A-Za-z0-9+/]{43}$`)
)

// violations collects every wrong field of a request, so that the caller hears
// of all at once. Any makes the whole request fail before it has an effect.
type violations []*errdetails.BadRequest_FieldViolation

func (v *violations) add(field, format string, args ...any) {
	*v = append(*v, &errdetails.BadRequest_FieldViolation{Field: field, Description: fmt.Sprintf(format, args...)})
}

// err returns InvalidArgument with BadRequest details, or nil.
func (v violations) err() error {
	if len(v) == 0 {
		return nil
	}
	texts := make([]string, len(v))
	for i, violation := range v {
		texts[i] = violation.Field + " " + violation.Description
	}
	st, err := status.New(codes.InvalidArgument, strings.Join(texts, "; ")).WithDetails(&errdetails.BadRequest{FieldViolations: v})
	if err != nil {
		return status.Error(codes.InvalidArgument, strings.Join(texts, "; "))
	}
	return st.Err()
}

func (v *violations) username(field, username string) {
	if !usernamePattern.MatchString(username) {
		v.add(field, usernameRule)
	}
}

func (v *violations) image(field, image string) {
	if len(image) > maxImage || !printable(image) || strings.ContainsAny(image, " ") {
		v.add(field, "must be at most %d printable characters without blanks", maxImage)
	}
}

func (v *violations) labels(field string, labels map[string]string) {
	if len(labels) > maxLabels {
		v.add(field, "must have at most %d entries", maxLabels)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if !labelPattern.MatchString(key) {
			v.add(field, "has a key that does not match %s", labelPattern)
		}
		if value := labels[key]; len(value) > maxLabelValue || !printable(value) {
			v.add(fmt.Sprintf("%s[%q]", field, key), "must be at most %d printable bytes", maxLabelValue)
		}
	}
}

// keys checks lines of authorized_keys and returns them without repeats.
func (v *violations) keys(field string, lines []string) []string {
	if len(lines) > maxKeys {
		v.add(field, "must have at most %d entries", maxKeys)
		return nil
	}
	seen := map[string]bool{}
	var keys []string
	for i, line := range lines {
		key, err := sshkey.Parse(line)
		if err != nil {
			v.add(fmt.Sprintf("%s[%d]", field, i), "%s", err)
			continue
		}
		if !seen[key.Fingerprint] {
			seen[key.Fingerprint] = true
			keys = append(keys, key.String())
		}
	}
	return keys
}

// limits checks the resources of a request over the daemon's defaults.
func (v *violations) limits(field string, resources *pb.Resources, defaults incusx.Limits) incusx.Limits {
	limits := incusx.Limits{
		CPU:    or(resources.GetCpu(), defaults.CPU),
		Memory: or(resources.GetMemory(), defaults.Memory),
		Disk:   or(resources.GetDisk(), defaults.Disk),
	}
	if resources != nil && resources.DiskEnforced != nil {
		v.add(field+".disk_enforced", "is for responses only")
	}
	v.limitsThemselves(field, limits)
	return limits
}

// limitsThemselves checks limits of which an empty one is none.
func (v *violations) limitsThemselves(field string, limits incusx.Limits) {
	if limits.CPU != "" {
		if _, err := incusx.ParseCPU(limits.CPU); err != nil {
			v.add(field+".cpu", "%s", err)
		}
	}
	if limits.Memory != "" {
		if _, err := incusx.ParseSize(limits.Memory, incusx.MinMemory); err != nil {
			v.add(field+".memory", "%s", err)
		}
	}
	if limits.Disk != "" {
		if _, err := incusx.ParseSize(limits.Disk, incusx.MinDisk); err != nil {
			v.add(field+".disk", "%s", err)
		}
	}
}

// snapshot checks the name of a snapshot.
func (v *violations) snapshot(field, name string) {
	if !snapshotPattern.MatchString(name) {
		v.add(field, "must match %s", snapshotPattern)
	}
}

func (v *violations) stopTimeout(field string, seconds uint32) {
	if seconds > maxStopTimeout {
		v.add(field, "must be at most %d", maxStopTimeout)
	}
}

// checkUsername is for requests of which only the user name can be wrong.
func checkUsername(username string) error {
	var v violations
	v.username("username", username)
	return v.err()
}

// checkCreate checks a create and returns what is to be made.
func (s *Service) checkCreate(ctx context.Context, prefix string, request *pb.CreateContainerRequest) (incusx.Spec, error) {
	var v violations
	spec := v.create(prefix, request, s.Defaults, s.DefaultImage)
	if err := v.err(); err != nil {
		return spec, err
	}
	return spec, s.checkTarget(ctx, prefix, spec.Target)
}

// CheckCreate returns what is wrong with a create in itself, for callers that want
// to know it before they ask a daemon for anything.
func CheckCreate(request *pb.CreateContainerRequest) []*errdetails.BadRequest_FieldViolation {
	var v violations
	v.create("", request, incusx.Limits{}, "")
	return v
}

func (v *violations) create(prefix string, request *pb.CreateContainerRequest, defaults incusx.Limits, image string) incusx.Spec {
	v.username(prefix+"username", request.GetUsername())
	v.labels(prefix+"labels", request.GetLabels())
	v.image(prefix+"image", request.GetImage())
	if target := request.GetTarget(); len(target) > maxTarget || !printable(target) || strings.ContainsAny(target, " ") {
		v.add(prefix+"target", "must be at most %d printable characters without blanks", maxTarget)
	}
	return incusx.Spec{
		Username:  request.GetUsername(),
		Limits:    v.limits(prefix+"resources", request.GetResources(), defaults),
		SSHKeys:   v.keys(prefix+"ssh_keys", request.GetSshKeys()),
		Labels:    request.GetLabels(),
		Image:     or(request.GetImage(), image),
		Docker:    request.GetEnableDocker(),
		AutoStart: request.AutoStart == nil || request.GetAutoStart(),
		Target:    request.GetTarget(),
	}
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

func or(value, otherwise string) string {
	if value != "" {
		return value
	}
	return otherwise
}
