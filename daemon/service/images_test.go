package service_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/footprintai/containarium/daemon/service"
	"github.com/footprintai/containarium/incusx/incustest"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

func preparing(c *service.Config) { c.PrepareImages, c.RefreshImages = true, 24*time.Hour }

// stream collects what is sent.
type stream[T any] struct {
	grpc.ServerStream
	ctx  context.Context
	sent []*T
}

func (s *stream[T]) Context() context.Context { return s.ctx }
func (s *stream[T]) Send(m *T) error          { s.sent = append(s.sent, m); return nil }

// images are those that were prepared.
func (s *site) prepared(t *testing.T) []*pb.Image {
	t.Helper()
	response, err := s.ListImages(t.Context(), &pb.ListImagesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var images []*pb.Image
	for _, image := range response.GetImages() {
		if image.GetPreparation() != nil {
			images = append(images, image)
		}
	}
	return images
}

// Creates from an image that lacks something prepare it, all of them once.
func TestCreatesShareAPreparation(t *testing.T) {
	s := newSite(t, incustest.Options{StartDelay: 20 * time.Millisecond}, preparing)
	var wg sync.WaitGroup
	for _, user := range []string{"alice", "bob", "carol", "dave"} {
		wg.Go(func() {
			response, err := s.CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: user, Image: "nosshd", SshKeys: []string{key(user)}, EnableDocker: new(true)})
			if err != nil {
				t.Errorf("%s: %v", user, err)
				return
			}
			if !response.GetContainer().GetDockerInstalled() || len(response.GetWarnings()) > 0 {
				t.Errorf("%s: %v", user, response)
			}
		})
	}
	wg.Wait()
	if images := s.prepared(t); len(images) != 1 || !images[0].GetPreparation().GetDocker() {
		t.Errorf("prepared %v, want one image", images)
	}
	if got := s.sim.Requests("POST", "/1.0/images"); got != 1 {
		t.Errorf("%d images were published, want 1", got)
	}
}

// An image of which nobody knew that it is unfit costs one create in vain, of which
// nothing is left, and none after that.
func TestCreateMendsAnImage(t *testing.T) {
	s := newSite(t, incustest.Options{}, preparing)
	into := &stream[pb.CreateContainerStreamResponse]{ctx: t.Context()}
	err := s.CreateContainerStream(&pb.CreateContainerStreamRequest{Create: &pb.CreateContainerRequest{Username: "alice", Image: "nosudo"}}, into)
	if err != nil {
		t.Fatal(err)
	}
	last, stages := uint32(0), map[pb.CreateStage]bool{}
	for _, m := range into.sent {
		if m.GetPercent() < last || m.GetPercent() > 100 {
			t.Errorf("%d%% after %d%%", m.GetPercent(), last)
		}
		last, stages[m.GetStage()] = m.GetPercent(), true
	}
	if last != 100 || !stages[pb.CreateStage_CREATE_STAGE_PREPARE] || into.sent[0].GetPercent() == 0 {
		t.Errorf("the stream ends at %d%%, stages %v", last, stages)
	}
	before := s.sim.Requests("POST", "/1.0/instances")
	if _, err := s.CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: "bob", Image: "nosudo"}); err != nil {
		t.Fatal(err)
	}
	if got := s.sim.Requests("POST", "/1.0/instances") - before; got != 1 {
		t.Errorf("the next create made %d instances, want 1", got)
	}
}

func TestCreateFailsWhereTheImageCanNotBeMended(t *testing.T) {
	s := newSite(t, incustest.Options{}, preparing)
	_, err := s.CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: "alice", Image: "nosshd-nopackages"})
	wantStatus(t, err, codes.FailedPrecondition, "IMAGE_UNFIT", "failed at stage prepare", "step install", "no apt-get, dnf or apk", "nothing of it is left")
	s.nothingLeft(t, "alice")
}

// A prepared image of a certain age is taken as it is, and replaced for the next.
func TestPreparedImagesAreRefreshed(t *testing.T) {
	var mu sync.Mutex
	later := time.Duration(0)
	s := newSite(t, incustest.Options{}, preparing, func(c *service.Config) {
		c.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return time.Now().Add(later) }
	})
	create := func(user string) *pb.Container {
		t.Helper()
		response, err := s.CreateContainer(t.Context(), &pb.CreateContainerRequest{Username: user, Image: "nosshd"})
		if err != nil {
			t.Fatal(err)
		}
		return response.GetContainer()
	}
	first := create("alice").GetImageFingerprint()
	if got := create("bob").GetImageFingerprint(); got != first {
		t.Errorf("the second container is of %s, want %s", got, first)
	}
	mu.Lock()
	later = 25 * time.Hour
	mu.Unlock()
	if got := create("carol").GetImageFingerprint(); got != first {
		t.Errorf("a create waited for the refresh: it is of %s, want %s", got, first)
	}
	eventually(t, func() bool {
		images := s.prepared(t)
		return len(images) == 1 && images[0].GetFingerprint() != first
	})
}

func TestPrepareImage(t *testing.T) {
	s := newSite(t, incustest.Options{}, preparing)
	for _, already := range []bool{false, true} {
		into := &stream[pb.PrepareImageResponse]{ctx: t.Context()}
		if err := s.PrepareImage(&pb.PrepareImageRequest{Image: "nosshd"}, into); err != nil {
			t.Fatal(err)
		}
		last := into.sent[len(into.sent)-1]
		if last.GetResult().GetPreparation().GetSource() != "nosshd" || last.GetAlready() != already || last.GetPercent() != 100 {
			t.Errorf("the stream ends with %v", last)
		}
	}
	print := s.prepared(t)[0].GetFingerprint()
	_, err := s.DeleteImage(t.Context(), &pb.DeleteImageRequest{Image: "nosshd"})
	wantStatus(t, err, codes.FailedPrecondition, "NOT_PREPARED", "was not prepared here")
	if _, err := s.DeleteImage(t.Context(), &pb.DeleteImageRequest{Image: print}); err != nil {
		t.Error(err)
	}
	_, err = s.DeleteImage(t.Context(), &pb.DeleteImageRequest{Image: print})
	wantStatus(t, err, codes.NotFound, "NOT_FOUND", print)
	_, err = s.DeleteImage(t.Context(), &pb.DeleteImageRequest{})
	wantStatus(t, err, codes.InvalidArgument, "", "image must name")
}
