package e2e_test

import (
	"context"
	"encoding/base64"
	"io"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"berth.dev/berth/test/images"
)

// ecrHost is the registry in the names of images.
const ecrHost = "123456789012.dkr.ecr.us-east-1.amazonaws.com"

// probeVersion is the probe's image with VERSION in its environment, which makes it an image of its own.
func probeVersion(version string) images.Image {
	image := probe
	image.Config.Env = append([]string{"VERSION=" + version}, image.Config.Env...)
	return image
}

func built(t *testing.T, image images.Image) v1.Image {
	t.Helper()
	return must(image.Build())(t)
}

// repository makes a repository, which is deleted with its images when the test ends.
func (b *berth) repository(t *testing.T, mutability ecrtypes.ImageTagMutability) string {
	t.Helper()
	repository := "e2e/" + random()
	must(b.ecr.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: &repository, ImageTagMutability: mutability}))(t)
	t.Cleanup(func() {
		b.ecr.DeleteRepository(context.WithoutCancel(t.Context()), &ecr.DeleteRepositoryInput{RepositoryName: &repository, Force: true}) //nolint:errcheck,gosec // purge is what cleans up
	})
	return repository
}

// reference is what a client of the registry calls a tag: the registry is at the API's own address.
func (b *berth) reference(t *testing.T, repository, tag string) name.Reference {
	t.Helper()
	return must(name.ParseReference(b.listen + "/" + repository + ":" + tag))(t)
}

// login asks for a password, as `aws ecr get-login-password` does.
func (b *berth) login(t *testing.T) remote.Option {
	t.Helper()
	return remote.WithAuth(&authn.Basic{Username: "AWS", Password: b.password(t)})
}

// password is that of GetAuthorizationToken.
func (b *berth) password(t *testing.T) string {
	t.Helper()
	out := must(b.ecr.GetAuthorizationToken(t.Context(), &ecr.GetAuthorizationTokenInput{}))(t)
	plain := must(base64.StdEncoding.DecodeString(*out.AuthorizationData[0].AuthorizationToken))(t)
	user, password, _ := strings.Cut(string(plain), ":")
	equal(t, "the user", user, "AWS")
	return password
}

// push pushes an image and returns its digest, which is what the registry says, too.
func (b *berth) push(t *testing.T, repository, tag string, image images.Image) string {
	t.Helper()
	made := built(t, image)
	if err := remote.Write(b.reference(t, repository, tag), made, b.login(t)); err != nil {
		t.Fatal(err)
	}
	digest := must(made.Digest())(t).String()
	if got := b.tagged(t, repository)[tag]; got != digest {
		t.Fatalf("%s:%s is %s, want %s", repository, tag, got, digest)
	}
	return digest
}

// tagged is a repository's tags with their images' digests.
func (b *berth) tagged(t *testing.T, repository string) map[string]string {
	t.Helper()
	all := map[string]string{}
	pages := ecr.NewListImagesPaginator(b.ecr, &ecr.ListImagesInput{RepositoryName: &repository})
	for pages.HasMorePages() {
		for _, image := range must(pages.NextPage(t.Context()))(t).ImageIds {
			all[aws.ToString(image.ImageTag)] = aws.ToString(image.ImageDigest)
		}
	}
	return all
}

func (b *berth) logGroup(t *testing.T, group string) {
	t.Helper()
	must(b.logs.CreateLogGroup(t.Context(), &cloudwatchlogs.CreateLogGroupInput{LogGroupName: &group}))(t)
}

// plain is a site without a load balancer.
func (b *berth) plain(t *testing.T) *site {
	t.Helper()
	return &site{b: b, name: "plain-" + random(), network: must(b.network(t.Context()))(t)}
}

// drain reads to the end; the content's digest is verified on the way.
func drain(t *testing.T, r io.ReadCloser) {
	t.Helper()
	defer r.Close() //nolint:errcheck // it was read
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Error(err)
	}
}
