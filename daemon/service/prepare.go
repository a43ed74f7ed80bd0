package service

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/footprintai/containarium/incusx"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// prepareTimeout bounds one preparation: packages may come over a slow network.
const prepareTimeout = 20 * time.Minute

// refreshPause is how long a refresh that failed is not tried again.
const refreshPause = time.Hour

// preparations are those under way, one for each image and purpose.
type preparations struct {
	mu      sync.Mutex
	running map[wanted]*preparation
	failed  map[wanted]time.Time // of refreshes
}

type wanted struct {
	ref    string
	docker bool
}

// preparation is one under way, or ended. Any number of calls follow it.
type preparation struct {
	done chan struct{} // closed at its end; then the result is there
	// The result.
	image   incusx.Image
	already bool
	err     error

	mu       sync.Mutex
	progress *pb.PrepareImageResponse
	changed  chan struct{} // closed when there is another progress
	percent  percentage
}

// prepare begins a preparation, or returns the one that is under way. It ends by
// itself: the calls that wait for it may go away.
func (s *Service) prepare(ref string, docker, fresh bool) *preparation {
	s.images.mu.Lock()
	defer s.images.mu.Unlock()
	want := wanted{ref, docker}
	if p := s.images.running[want]; p != nil {
		return p
	}
	p := &preparation{done: make(chan struct{}), changed: make(chan struct{})}
	if s.images.running == nil {
		s.images.running, s.images.failed = map[wanted]*preparation{}, map[wanted]time.Time{}
	}
	s.images.running[want] = p
	go func() {
		ctx, cancel := context.WithTimeout(s.work, prepareTimeout)
		defer cancel()
		log := s.Log.WithField("image", ref).WithField("docker", docker)
		p.image, p.already, p.err = s.Incus.Prepare(ctx, ref, docker, fresh, p.report)
		s.images.mu.Lock()
		defer s.images.mu.Unlock()
		delete(s.images.running, want)
		delete(s.images.failed, want)
		switch {
		case p.err != nil:
			s.images.failed[want] = s.Now()
			log.WithError(p.err).Warn("an image could not be prepared")
		case !p.already:
			log.WithField("fingerprint", p.image.Fingerprint).Info("prepared an image")
		}
		close(p.done)
	}()
	return p
}

// refresh prepares an image anew, unless that failed not long ago. Nobody waits
// for it.
func (s *Service) refresh(ref string, docker bool) {
	s.images.mu.Lock()
	failed, ok := s.images.failed[wanted{ref, docker}]
	s.images.mu.Unlock()
	if !ok || s.Now().Sub(failed) > refreshPause {
		s.prepare(ref, docker, true)
	}
}

// follow reports the progress until the preparation ends, or ctx does.
func (p *preparation) follow(ctx context.Context, report func(*pb.PrepareImageResponse)) (incusx.Image, bool, error) {
	for {
		p.mu.Lock()
		progress, changed := p.progress, p.changed
		p.mu.Unlock()
		if progress != nil {
			report(proto.CloneOf(progress))
		}
		select {
		case <-p.done:
			return p.image, p.already, p.err
		case <-changed:
		case <-ctx.Done():
			return incusx.Image{}, false, ctx.Err()
		}
	}
}

// report is told how far the preparation is.
func (p *preparation) report(stage incusx.PrepareStage, percent int, detail string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	step := prepareSteps[stage]
	p.progress = &pb.PrepareImageResponse{
		Stage: step.stage, Detail: detail,
		Percent: p.percent.at(step.begin + (step.end-step.begin)*percent/100),
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// prepareSteps are the stages with the percents at which they begin and end, by
// how long they take.
var prepareSteps = map[incusx.PrepareStage]struct {
	stage      pb.PrepareStage
	begin, end int
}{
	incusx.PrepareImage:   {pb.PrepareStage_PREPARE_STAGE_IMAGE, 1, 20},
	incusx.PrepareStart:   {pb.PrepareStage_PREPARE_STAGE_START, 20, 25},
	incusx.PrepareInstall: {pb.PrepareStage_PREPARE_STAGE_INSTALL, 25, 75},
	incusx.PrepareClean:   {pb.PrepareStage_PREPARE_STAGE_CLEAN, 75, 80},
	incusx.PreparePublish: {pb.PrepareStage_PREPARE_STAGE_PUBLISH, 80, 99},
}

// prepareText says what goes on in a stage.
func prepareText(stage pb.PrepareStage) string {
	switch stage {
	case pb.PrepareStage_PREPARE_STAGE_IMAGE:
		return "looking up the image"
	case pb.PrepareStage_PREPARE_STAGE_START:
		return "starting it to see what it lacks"
	case pb.PrepareStage_PREPARE_STAGE_INSTALL:
		return "installing what it lacks"
	case pb.PrepareStage_PREPARE_STAGE_CLEAN:
		return "cleaning it"
	case pb.PrepareStage_PREPARE_STAGE_PUBLISH:
		return "packing it"
	}
	return ""
}
