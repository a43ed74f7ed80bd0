package service

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/footprintai/containarium/incusx"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// noLimit is what takes a limit away.
const noLimit = "none"

// UpdateContainer implements the RPC.
func (s *Service) UpdateContainer(ctx context.Context, request *pb.UpdateContainerRequest) (*pb.UpdateContainerResponse, error) {
	change, limits, err := checkUpdate(request)
	if err != nil {
		return nil, err
	}
	username := request.GetUsername()
	ctx, done, err := s.change(ctx, username, changeTimeout)
	if err != nil {
		return nil, err
	}
	defer done()
	container, err := s.find(ctx, username)
	if err != nil {
		return nil, err
	}
	if n := len(changedLabels(container.Labels, change)); n > maxLabels {
		return nil, errPrecondition("TOO_MANY_LABELS", "%s would have %d labels, and %d are the most: remove some", username, n, maxLabels)
	}
	container, deferred, err := s.Incus.Update(ctx, username, change)
	if err != nil {
		return nil, statusOf(err)
	}
	s.Log.WithField("username", username).Info("updated")
	response := &pb.UpdateContainerResponse{Container: s.toProto(container), NeedsRestart: deferred}
	if limits != (incusx.Limits{}) {
		if host, err := s.Incus.System(ctx); err == nil {
			response.Warnings = capacityWarnings(limits, host)
		}
	}
	return response, nil
}

// checkUpdate checks an update. It returns what to change, and the limits that are
// to be set by it.
func checkUpdate(request *pb.UpdateContainerRequest) (incusx.Change, incusx.Limits, error) {
	var v violations
	v.username("username", request.GetUsername())
	v.labels("labels", request.GetLabels())
	if len(request.GetRemoveLabels()) > maxLabels {
		v.add("remove_labels", "must have at most %d entries", maxLabels)
	}
	for i, key := range request.GetRemoveLabels() {
		if _, set := request.GetLabels()[key]; set || !labelPattern.MatchString(key) {
			v.add(fmt.Sprintf("remove_labels[%d]", i), "must be a key that matches %s and is not set at once", labelPattern)
		}
	}
	change := incusx.Change{Labels: request.GetLabels(), RemoveLabels: request.GetRemoveLabels(), AutoStart: request.AutoStart}
	var limits incusx.Limits
	resources := request.GetResources()
	change.CPU, limits.CPU = changedLimit(resources.GetCpu())
	change.Memory, limits.Memory = changedLimit(resources.GetMemory())
	change.Disk, limits.Disk = changedLimit(resources.GetDisk())
	if resources != nil && resources.DiskEnforced != nil {
		v.add("resources.disk_enforced", "is for responses only")
	}
	v.limitsThemselves("resources", limits)
	return change, limits, v.err()
}

// changedLimit is a limit of a request as a change, and as what is set by it.
func changedLimit(wanted string) (change *string, limit string) {
	switch wanted {
	case "":
		return nil, ""
	case noLimit:
		return new(string), ""
	}
	return &wanted, wanted
}

// changedLabels are the labels after a change.
func changedLabels(labels map[string]string, change incusx.Change) map[string]string {
	labels = maps.Clone(labels)
	maps.DeleteFunc(labels, func(key, _ string) bool { return slices.Contains(change.RemoveLabels, key) })
	maps.Copy(labels, change.Labels)
	return labels
}
