package images

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Push puts the image into the registry on loopback that its name points to, over HTTP and without a login.
func Push(ctx context.Context, i Image) error {
	ref, err := name.NewTag(i.Name, name.WeakValidation)
	if err != nil {
		return fmt.Errorf("push %s: %w", i.Name, err)
	}
	img, err := i.Build()
	if err != nil {
		return err
	}
	base := fmt.Sprintf("http://%s/v2/%s", ref.RegistryStr(), ref.RepositoryStr())
	blob := func(digest v1.Hash, content io.Reader) error {
		return send(ctx, http.MethodPost, base+"/blobs/uploads/?digest="+digest.String(), "application/octet-stream", content)
	}
	layers, err := img.Layers()
	if err != nil {
		return fmt.Errorf("push %s: %w", i.Name, err)
	}
	for _, layer := range layers {
		digest, err := layer.Digest()
		if err != nil {
			return fmt.Errorf("push %s: %w", i.Name, err)
		}
		content, err := layer.Compressed()
		if err != nil {
			return fmt.Errorf("push %s: %w", i.Name, err)
		}
		if err := blob(digest, content); err != nil {
			return err
		}
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return fmt.Errorf("push %s: %w", i.Name, err)
	}
	digest, err := img.ConfigName()
	if err != nil {
		return fmt.Errorf("push %s: %w", i.Name, err)
	}
	if err := blob(digest, bytes.NewReader(config)); err != nil {
		return err
	}
	manifest, err := img.RawManifest()
	if err != nil {
		return fmt.Errorf("push %s: %w", i.Name, err)
	}
	kind, err := img.MediaType()
	if err != nil {
		return fmt.Errorf("push %s: %w", i.Name, err)
	}
	return send(ctx, http.MethodPut, base+"/manifests/"+ref.TagStr(), string(kind), bytes.NewReader(manifest))
}

func send(ctx context.Context, method, url, kind string, content io.Reader) error {
	request, err := http.NewRequestWithContext(ctx, method, url, content)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", kind)
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusCreated {
		body, err := io.ReadAll(reply.Body)
		return fmt.Errorf("%s %s: %s: %s (%w)", method, url, reply.Status, body, err)
	}
	return nil
}
