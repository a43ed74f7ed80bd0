package gateway

import (
	"bytes"
	"runtime"
	"sync"
	"weak"

	"google.golang.org/protobuf/encoding/protojson"

	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// encoded is the JSON of containers that lists have shown, each for as long as the
// container is in memory: lists share their containers, which never change, and to
// write each anew takes five times what the rest of a list does.
type encoded struct {
	known sync.Map // weak.Pointer[pb.Container] to []byte
}

// list appends what protojson would of a list.
func (e *encoded) list(to []byte, options protojson.MarshalOptions, list *pb.ListContainersResponse) ([]byte, error) {
	to = append(to, `{"containers":[`...)
	for i, container := range list.GetContainers() {
		data, err := e.container(options, container)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			to = append(to, ',')
		}
		to = append(to, data...)
	}
	// The rest goes on after the empty list of containers with which it begins.
	rest, err := options.Marshal(&pb.ListContainersResponse{Freshness: list.GetFreshness(), JumpHostKeys: list.GetJumpHostKeys()})
	if err != nil {
		return nil, err
	}
	_, rest, _ = bytes.Cut(rest, []byte("[]"))
	return append(append(to, ']'), rest...), nil
}

func (e *encoded) container(options protojson.MarshalOptions, container *pb.Container) ([]byte, error) {
	key := weak.Make(container)
	if data, ok := e.known.Load(key); ok {
		return data.([]byte), nil //nolint:errcheck // there is nothing else in it
	}
	data, err := options.Marshal(container)
	if err != nil {
		return nil, err
	}
	if _, there := e.known.LoadOrStore(key, data); !there {
		runtime.AddCleanup(container, func(key weak.Pointer[pb.Container]) { e.known.Delete(key) }, key)
	}
	return data, nil
}
