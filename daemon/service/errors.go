package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/footprintai/containarium/daemon/jump"
	"github.com/footprintai/containarium/incusx"
)

// domain of the ErrorInfo details; their reasons are the constants of kinds.
const domain = "containarium"

// retryAfter is what a caller is told to wait while Incus is away; the daemon
// itself looks again as often.
const retryAfter = 2 * time.Second

// kinds maps what can go wrong behind the API to what the caller is told. It is
// the only place that does. The first that fits counts.
var kinds = []struct {
	err     error
	code    codes.Code
	reason  string
	message string // empty: the error's own
}{
	{context.DeadlineExceeded, codes.DeadlineExceeded, "TIMEOUT", ""},
	{context.Canceled, codes.Canceled, "CANCELED", "the daemon is shutting down, or the caller went away"},
	{incusx.ErrUnavailable, codes.Unavailable, "INCUS_UNAVAILABLE", "Incus on this host does not answer; the daemon goes on trying"},
	{incusx.ErrImageRemote, codes.Unavailable, "IMAGE_SERVER_UNAVAILABLE", ""},
	{jump.ErrForeign, codes.FailedPrecondition, "NAME_RESERVED", ""},
	{incusx.ErrStopTimeout, codes.DeadlineExceeded, "STOP_TIMEOUT", ""},
	{incusx.ErrNotFound, codes.NotFound, "NOT_FOUND", ""},
	{incusx.ErrExists, codes.AlreadyExists, "ALREADY_EXISTS", ""},
	{incusx.ErrInvalid, codes.FailedPrecondition, "REFUSED_BY_INCUS", ""},
	{incusx.ErrRunning, codes.FailedPrecondition, "RUNNING", ""},
	{incusx.ErrStopped, codes.FailedPrecondition, "STOPPED", ""},
	{incusx.ErrBusy, codes.Aborted, "BUSY", ""},
	{incusx.ErrInUse, codes.FailedPrecondition, "IN_USE", ""},
	{incusx.ErrMemberDown, codes.FailedPrecondition, "MEMBER_OFFLINE", "the member of the Incus cluster that this needs does not answer"},
	{incusx.ErrLaterOnes, codes.FailedPrecondition, "LATER_SNAPSHOTS", "the storage of this host restores the last snapshot only: remove those first that were made after it"},
	{incusx.ErrNotPrepared, codes.FailedPrecondition, "NOT_PREPARED", ""},
	{ErrNoCertificate, codes.NotFound, "NOT_FOUND", ""},
	{ErrCertificateRevoked, codes.FailedPrecondition, "REVOKED", ""},
	{ErrNotSigned, codes.FailedPrecondition, "REFUSED_BY_CA", ""},
	{ErrAuthorityLocked, codes.FailedPrecondition, "CA_LOCKED", "the key of the CA has a passphrase, and this daemon has none that opens it: [ca] passphrase_file in its configuration"},
	{incusx.ErrDiskFull, codes.ResourceExhausted, "DISK_FULL", "the container's disk is full (disk quota exceeded), and then Incus can not start it nor change anything else of it: raise its disk limit first"},
}

// statusOf turns an error from behind the API into a status. What it does not
// know is Internal, with the error's text: never Unknown.
func statusOf(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return newStatus(codeOf(err), reasonOf(err), messageOf(err))
}

func codeOf(err error) codes.Code {
	code, _, _ := kindOf(err)
	return code
}

func reasonOf(err error) string {
	_, reason, _ := kindOf(err)
	return reason
}

func messageOf(err error) string {
	if _, _, message := kindOf(err); message != "" {
		return message
	}
	return err.Error()
}

func kindOf(err error) (codes.Code, string, string) {
	var image *incusx.ImageError
	if errors.As(err, &image) {
		return codes.FailedPrecondition, "IMAGE_UNFIT", ""
	}
	if _, ok := errors.AsType[*NotInForceError](err); ok {
		return codes.FailedPrecondition, "NOT_IN_FORCE", ""
	}
	for _, kind := range kinds {
		if errors.Is(err, kind.err) {
			return kind.code, kind.reason, kind.message
		}
	}
	return codes.Internal, "INTERNAL", ""
}

// newStatus makes a status error with an ErrorInfo, which carries the metadata
// given as key, value, ..., and a RetryInfo where trying again helps.
func newStatus(code codes.Code, reason, message string, metadata ...string) error {
	info := &errdetails.ErrorInfo{Reason: reason, Domain: domain, Metadata: map[string]string{}}
	for i := 0; i+1 < len(metadata); i += 2 {
		info.Metadata[metadata[i]] = metadata[i+1]
	}
	details := []protoadapt.MessageV1{info}
	if code == codes.Unavailable {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)})
	}
	st, err := status.New(code, message).WithDetails(details...)
	if err != nil { // not for a code other than OK
		return status.Error(code, message)
	}
	return st.Err()
}

func errNoContainer(username string) error {
	return newStatus(codes.NotFound, "NOT_FOUND", fmt.Sprintf("%s has no container on this host", username))
}

func errNoKey(username, fingerprint string) error {
	return newStatus(codes.NotFound, "NOT_FOUND", fmt.Sprintf("%s has no key %s", username, fingerprint))
}

func errNoSnapshot(username, name string) error {
	return newStatus(codes.NotFound, "NOT_FOUND", fmt.Sprintf("%s has no snapshot %s", username, name))
}

func errExists(username, how string) error {
	return newStatus(codes.AlreadyExists, "ALREADY_EXISTS", fmt.Sprintf("%s %s", username, how))
}

func errPrecondition(reason, format string, args ...any) error {
	return newStatus(codes.FailedPrecondition, reason, fmt.Sprintf(format, args...))
}
