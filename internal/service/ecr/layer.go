package ecr

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/data/imagestore"
	"berth.dev/berth/internal/wire/api/ecrapi"
	"berth.dev/berth/internal/wire/caller"
)

const (
	// maxPart is the longest part of a layer, as the model has it; only the last
	// may be shorter than minPart.
	maxPart = 20 << 20
	minPart = 5 << 20
	// maxUploads is of how many uploads it is remembered whether their parts are
	// long enough.
	maxUploads = 4096
)

// parts is what is remembered of an upload's parts.
type parts struct {
	short bool // the last one is shorter than minPart
	small bool // one before it is
}

// BatchCheckLayerAvailability implements ecrapi.Service. Layers that are there
// stay long enough to be made part of an image.
func (p *Provider) BatchCheckLayerAvailability(ctx context.Context, in *ecrapi.BatchCheckLayerAvailabilityInput) (*ecrapi.BatchCheckLayerAvailabilityOutput, error) {
	if _, err := p.repository(p.store.Snapshot(), in.RegistryId, in.RepositoryName); err != nil {
		return nil, err
	}
	out := &ecrapi.BatchCheckLayerAvailabilityOutput{Layers: []ecrapi.Layer{}, Failures: []ecrapi.LayerFailure{}}
	for _, digest := range in.LayerDigests {
		if !digestForm.MatchString(digest) {
			f := ecrapi.LayerFailure{
				LayerDigest: &digest, FailureCode: ecrapi.LayerFailureCodeInvalidLayerDigest,
				FailureReason: new("Invalid request parameters: layer digest should satisfy the regex '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'"),
			}
			if digest == "" {
				f.FailureCode, f.FailureReason = ecrapi.LayerFailureCodeMissingLayerDigest, new("Invalid request parameters: layer digest cannot be empty")
			}
			out.Failures = append(out.Failures, f)
			continue
		}
		layer, err := p.cfg.Images.Layer(ctx, *in.RepositoryName, digest)
		switch {
		case errors.Is(err, imagestore.ErrNoLayer):
			out.Layers = append(out.Layers, ecrapi.Layer{LayerDigest: &digest, LayerAvailability: ecrapi.LayerAvailabilityUnavailable})
		case err != nil:
			return nil, p.storage(err, *in.RepositoryName)
		default:
			out.Layers = append(out.Layers, ecrapi.Layer{LayerDigest: &digest, LayerAvailability: ecrapi.LayerAvailabilityAvailable, LayerSize: &layer.Size})
		}
	}
	return out, nil
}

// storage words the errors of the image store that any call can have.
func (p *Provider) storage(err error, repository string) error {
	switch {
	case errors.Is(err, imagestore.ErrNoRepository):
		return p.noRepository(nil, repository)
	case errors.Is(err, imagestore.ErrNoSpace):
		return fault.Wrap(fault.Unavailable, err, "the registry cannot take more")
	}
	return fmt.Errorf("ecr: %w", err)
}

// GetDownloadUrlForLayer implements ecrapi.Service.
func (p *Provider) GetDownloadUrlForLayer(ctx context.Context, in *ecrapi.GetDownloadUrlForLayerInput) (*ecrapi.GetDownloadUrlForLayerOutput, error) {
	name, digest := *in.RepositoryName, *in.LayerDigest
	if _, err := p.repository(p.store.Snapshot(), in.RegistryId, in.RepositoryName); err != nil {
		return nil, err
	}
	_, err := p.cfg.Images.Layer(ctx, name, digest)
	switch {
	case errors.Is(err, imagestore.ErrNoLayer):
		return nil, &ecrapi.LayersNotFoundException{Message: new("The layer with digest '" + digest + "' does not exist within " + p.in(name))}
	case err != nil:
		return nil, p.storage(err, name)
	}
	who, _ := caller.From(ctx)
	base := "http://" + who.Host
	if who.Secure {
		base = "https://" + who.Host
	}
	return &ecrapi.GetDownloadUrlForLayerOutput{DownloadUrl: new(p.cfg.LayerURL(name, digest, base)), LayerDigest: &digest}, nil
}

// InitiateLayerUpload implements ecrapi.Service.
func (p *Provider) InitiateLayerUpload(ctx context.Context, in *ecrapi.InitiateLayerUploadInput) (*ecrapi.InitiateLayerUploadOutput, error) {
	if _, err := p.repository(p.store.Snapshot(), in.RegistryId, in.RepositoryName); err != nil {
		return nil, err
	}
	upload, err := p.cfg.Images.Begin(ctx, *in.RepositoryName)
	if err != nil {
		return nil, p.storage(err, *in.RepositoryName)
	}
	id := upload.ID()
	if err := upload.Close(); err != nil {
		return nil, p.storage(err, *in.RepositoryName)
	}
	return &ecrapi.InitiateLayerUploadOutput{UploadId: &id, PartSize: new(int64(maxPart))}, nil
}

// resume goes on with an upload.
func (p *Provider) resume(ctx context.Context, registry, name *string, id string) (*imagestore.Upload, error) {
	if _, err := p.repository(p.store.Snapshot(), registry, name); err != nil {
		return nil, err
	}
	upload, err := p.cfg.Images.Resume(ctx, *name, id)
	switch {
	case errors.Is(err, imagestore.ErrNoUpload):
		return nil, p.noUpload(*name, id)
	case err != nil:
		return nil, p.storage(err, *name)
	}
	return upload, nil
}

func (p *Provider) upload(name, id string) string {
	return "The upload with id '" + id + "' in the repository with name '" + name + "' in registry with id '" + p.scope.AccountID + "'"
}

func (p *Provider) noUpload(name, id string) error {
	return &ecrapi.UploadNotFoundException{Message: new(p.upload(name, id) + " does not exist")}
}

// UploadLayerPart implements ecrapi.Service. A part that does not follow the
// last one, or that has been sent before, changes nothing; the error says where
// the client is to go on.
func (p *Provider) UploadLayerPart(ctx context.Context, in *ecrapi.UploadLayerPartInput) (out *ecrapi.UploadLayerPartOutput, err error) {
	name, id := *in.RepositoryName, *in.UploadId
	upload, err := p.resume(ctx, in.RegistryId, in.RepositoryName, id)
	if err != nil {
		return nil, err
	}
	// What is not closed is lost with the process, so that its error counts.
	defer func() {
		if closing := upload.Close(); closing != nil && err == nil {
			out, err = nil, p.storage(closing, name)
		}
	}()
	size := upload.Size()
	if first, last := *in.PartFirstByte, *in.PartLastByte; first != size || last-first+1 != int64(len(in.LayerPartBlob)) || len(in.LayerPartBlob) == 0 {
		return nil, &ecrapi.InvalidLayerPartException{
			RegistryId: &p.scope.AccountID, RepositoryName: &name, UploadId: &id, LastValidByteReceived: new(max(size-1, 0)),
			Message: new(fmt.Sprintf("%s cannot take the part from byte %d to byte %d with %d bytes: the next byte is %d", p.upload(name, id), first, last, len(in.LayerPartBlob), size)),
		}
	}
	if _, err := upload.Append(ctx, bytes.NewReader(in.LayerPartBlob)); err != nil {
		return nil, p.storage(err, name)
	}
	before, _ := p.parts.Get(id)
	p.parts.Add(id, parts{short: len(in.LayerPartBlob) < minPart, small: before.small || before.short})
	return &ecrapi.UploadLayerPartOutput{
		RegistryId: &p.scope.AccountID, RepositoryName: &name, UploadId: &id, LastByteReceived: new(upload.Size() - 1),
	}, nil
}

// CompleteLayerUpload implements ecrapi.Service. A process that began again has
// forgotten that a part was too small: the layer is good nonetheless.
func (p *Provider) CompleteLayerUpload(ctx context.Context, in *ecrapi.CompleteLayerUploadInput) (*ecrapi.CompleteLayerUploadOutput, error) {
	name, id, digest := *in.RepositoryName, *in.UploadId, in.LayerDigests[0]
	for _, other := range in.LayerDigests {
		if other != digest {
			return nil, invalid("layerDigests", "A layer has one digest")
		}
	}
	upload, err := p.resume(ctx, in.RegistryId, in.RepositoryName, id)
	if err != nil {
		return nil, err
	}
	if refusal := p.refusal(ctx, upload, name, digest); refusal != nil {
		return nil, errors.Join(refusal, upload.Close())
	}
	layer, err := upload.Commit(ctx, digest)
	p.parts.Remove(id)
	switch {
	case errors.Is(err, imagestore.ErrDigest):
		return nil, &ecrapi.InvalidLayerException{Message: new(p.upload(name, id) + " does not have the digest '" + digest + "'")}
	case err != nil:
		return nil, p.storage(err, name)
	}
	return &ecrapi.CompleteLayerUploadOutput{RegistryId: &p.scope.AccountID, RepositoryName: &name, UploadId: &id, LayerDigest: &layer.Digest}, nil
}

// refusal is why an upload cannot be completed as it is; nil if it can.
func (p *Provider) refusal(ctx context.Context, upload *imagestore.Upload, name, digest string) error {
	id := upload.ID()
	if upload.Size() == 0 {
		return &ecrapi.EmptyUploadException{Message: new(p.upload(name, id) + " cannot be completed because it does not have any parts")}
	}
	if known, _ := p.parts.Get(id); known.small {
		return &ecrapi.LayerPartTooSmallException{Message: new("All layer parts except the last part should be at least 5MB")}
	}
	_, err := p.cfg.Images.Layer(ctx, name, digest)
	switch {
	case err == nil:
		// The content is there, and what was sent again is of no use.
		return errors.Join(&ecrapi.LayerAlreadyExistsException{Message: new("The layer with digest '" + digest + "' already exists within " + p.in(name))}, upload.Cancel(ctx))
	case !errors.Is(err, imagestore.ErrNoLayer):
		return p.storage(err, name)
	}
	return nil
}
