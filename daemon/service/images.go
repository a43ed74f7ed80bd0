package service

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/footprintai/containarium/incusx"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// ListImages implements the RPC.
func (s *Service) ListImages(ctx context.Context, _ *pb.ListImagesRequest) (*pb.ListImagesResponse, error) {
	images, err := s.Incus.Images(ctx)
	if err != nil {
		return nil, statusOf(err)
	}
	response := &pb.ListImagesResponse{}
	for i := range images {
		response.Images = append(response.Images, imageProto(&images[i]))
	}
	return response, nil
}

// PrepareImage implements the RPC. A call that finds the same preparation under
// way follows that one.
func (s *Service) PrepareImage(request *pb.PrepareImageRequest, stream pb.ImageService_PrepareImageServer) error {
	var v violations
	v.image("image", request.GetImage())
	if err := v.err(); err != nil {
		return err
	}
	ref := request.GetImage()
	if ref == "" {
		ref = s.DefaultImage
	}
	ctx := stream.Context()
	p := s.prepare(ref, request.GetDocker(), request.GetRefresh())
	image, already, err := p.follow(ctx, func(progress *pb.PrepareImageResponse) { _ = stream.Send(progress) })
	if err != nil {
		return statusOf(err)
	}
	stored, err := s.Incus.StoredImage(ctx, image.Fingerprint)
	if err != nil {
		return statusOf(err)
	}
	return stream.Send(&pb.PrepareImageResponse{Result: imageProto(&stored), Already: already, Percent: 100})
}

// DeleteImage implements the RPC.
func (s *Service) DeleteImage(ctx context.Context, request *pb.DeleteImageRequest) (*pb.DeleteImageResponse, error) {
	var v violations
	v.image("image", request.GetImage())
	if request.GetImage() == "" {
		v.add("image", "must name an image")
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	if err := s.Incus.RemoveImage(ctx, request.GetImage()); err != nil {
		return nil, statusOf(err)
	}
	s.Log.WithField("image", request.GetImage()).Info("removed a prepared image")
	return &pb.DeleteImageResponse{}, nil
}

func imageProto(i *incusx.StoredImage) *pb.Image {
	image := &pb.Image{
		Fingerprint: i.Fingerprint,
		Aliases:     i.Aliases,
		Description: i.Description,
		SizeBytes:   uint64(max(0, i.Size)),
		CreatedAt:   timestamppb.New(i.CreatedAt),
	}
	if i.LastUsed.Unix() > 0 { // Incus has a time of its own for never
		image.LastUsedAt = timestamppb.New(i.LastUsed)
	}
	if p := i.Preparation; p != nil {
		image.Preparation = &pb.Preparation{
			Source: p.Source, SourceFingerprint: p.SourceFingerprint, Docker: p.Docker,
			PreparedAt: timestamppb.New(p.At), Key: p.Key,
		}
	}
	return image
}

// findImage finds what to make a container from: an image that is known to be
// unfit is prepared first. One that was prepared long ago is taken as it is, and
// prepared anew for the next.
func (c *creation) findImage(ctx context.Context) (incusx.Image, error) {
	looking, cancel := context.WithTimeout(ctx, c.CreateTimeout)
	defer cancel()
	if !c.PrepareImages {
		return c.Incus.FindImage(looking, c.spec.Image)
	}
	image, err := c.Incus.FindImageFor(looking, c.spec.Image, c.spec.Docker)
	switch {
	case err != nil:
		return incusx.Image{}, err
	case image.Prepared():
		if c.RefreshImages > 0 && c.Now().Sub(image.PreparedAt) > c.RefreshImages {
			c.refresh(c.spec.Image, c.spec.Docker)
		}
	case image.Unfit(c.spec.Docker):
		return c.prepareImage(ctx)
	}
	return image, nil
}

// prepareImage prepares the image, or waits for the call that does so already.
func (c *creation) prepareImage(ctx context.Context) (incusx.Image, error) {
	c.enter(pb.CreateStage_CREATE_STAGE_PREPARE)
	image, _, err := c.prepare(c.spec.Image, c.spec.Docker, false).follow(ctx, func(progress *pb.PrepareImageResponse) {
		detail := progress.GetDetail()
		if detail == "" {
			detail = prepareText(progress.GetStage())
		}
		c.within(int(progress.GetPercent()), detail)
	})
	// What is left is the whole of a create, in what is left of the percents.
	c.percent.floor = c.percent.now
	return image, err
}
