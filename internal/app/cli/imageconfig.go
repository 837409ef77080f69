package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	containerdclient "github.com/containerd/containerd/v2/client"
	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// imageConfig is what a service needs to know of an image.
type imageConfig struct {
	ports []int32 // TCP, as EXPOSE says, in order
	from  string  // where it was found
}

// lookInto finds an image where a node would find it, and reads its
// configuration: Berth's registry for a name of it, else the local Docker
// engine, the node of this host, the image's own registry.
func (e *environment) lookInto(ctx context.Context, c *clients, image string) (*imageConfig, error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return nil, misuse("%s is not the name of an image: %w", image, err)
	}
	named = reference.TagNameOnly(named)
	if isRegistryHost(reference.Domain(named)) {
		return c.lookIntoOwn(ctx, named)
	}
	if ports, ok := lookIntoDocker(ctx, named); ok {
		return &imageConfig{portsOf(ports), "Docker"}, nil
	}
	if ports, ok := e.lookIntoNode(ctx, named); ok {
		return &imageConfig{portsOf(ports), "this node"}, nil
	}
	ref, err := name.ParseReference(named.String())
	if err != nil {
		return nil, misuse("%s is not the name of an image: %w", image, err)
	}
	config, err := configOf(ref, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain))
	if err != nil {
		return nil, fmt.Errorf("neither Docker nor this node has the image %s, and its registry does not give it: %w (with --port it need not be looked into)", image, err)
	}
	return &imageConfig{portsOf(config.Config.ExposedPorts), reference.Domain(named)}, nil
}

// fullName is how a task definition must name an image: one without a registry
// in its name that neither Docker nor this node has, and Berth's registry has,
// gets that registry's name.
func (e *environment) fullName(ctx context.Context, c *clients, image string) (string, error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "", misuse("%s is not the name of an image: %w", image, err)
	}
	named = reference.TagNameOnly(named)
	tagged, ok := named.(reference.Tagged)
	if first, _, _ := strings.Cut(image, "/"); !ok || reference.Domain(named) != "docker.io" || first == "docker.io" {
		return image, nil
	}
	if _, ok := lookIntoDocker(ctx, named); ok {
		return image, nil
	}
	if _, ok := e.lookIntoNode(ctx, named); ok {
		return image, nil
	}
	repository := strings.TrimPrefix(reference.Path(named), "library/")
	found, err := c.ecr.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RepositoryNames: []string{repository}})
	if err != nil || len(found.Repositories) == 0 {
		return image, nil //nolint:nilerr // whoever pulls it says what is wrong
	}
	id := ecrtypes.ImageIdentifier{ImageTag: new(tagged.Tag())}
	if _, err := c.ecr.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: &repository, ImageIds: []ecrtypes.ImageIdentifier{id}}); err != nil {
		return image, nil //nolint:nilerr // as above
	}
	return aws.ToString(found.Repositories[0].RepositoryUri) + ":" + tagged.Tag(), nil
}

func (c *clients) lookIntoOwn(ctx context.Context, named reference.Named) (*imageConfig, error) {
	r, err := c.registry(ctx)
	if err != nil {
		return nil, err
	}
	options := []name.Option{}
	if r.plain {
		options = append(options, name.Insecure)
	}
	_, rest, _ := strings.Cut(named.String(), "/")
	ref, err := name.ParseReference(r.host+"/"+rest, options...)
	if err != nil {
		return nil, misuse("%s is not the name of an image: %w", named, err)
	}
	config, err := configOf(ref, r.options(ctx)...)
	if err != nil {
		return nil, fmt.Errorf("berth's registry does not give %s: %w (`berth images` lists what it has, `berth push` adds to it)", rest, err)
	}
	return &imageConfig{portsOf(config.Config.ExposedPorts), "Berth's registry"}, nil
}

// configOf reads the configuration of an image for this host's platform.
func configOf(ref name.Reference, options ...remote.Option) (*v1.ConfigFile, error) {
	image, err := remote.Image(ref, options...)
	if err != nil {
		return nil, err
	}
	return image.ConfigFile()
}

// lookIntoDocker reads what the local Docker engine has; without an engine it
// has nothing.
func lookIntoDocker(ctx context.Context, named reference.Named) (map[string]struct{}, bool) {
	client, err := connectDocker()
	if err != nil {
		return nil, false
	}
	defer client.Close() //nolint:errcheck // nothing is left to lose
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	found, err := client.ImageInspect(ctx, named.String())
	if err != nil {
		return nil, false
	}
	if found.Config == nil {
		return nil, true
	}
	return found.Config.ExposedPorts, true
}

// lookIntoNode reads what the node of this host has: its containerd's
// namespace is named after the instance.
func (e *environment) lookIntoNode(ctx context.Context, named reference.Named) (map[string]struct{}, bool) {
	inst, err := e.existing()
	if err != nil {
		return nil, false
	}
	for _, address := range []string{inst.RunDir() + "/containerd.sock", env("BERTH_CONTAINERD", usualContainerd)} {
		if _, err := os.Stat(address); err != nil {
			continue
		}
		if ports, err := portsInContainerd(ctx, address, "berth-"+inst.ID, named); err == nil {
			return ports, true
		}
	}
	return nil, false
}

func portsInContainerd(ctx context.Context, address, namespace string, named reference.Named) (map[string]struct{}, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client, err := containerdclient.New(address, containerdclient.WithDefaultNamespace(namespace), containerdclient.WithTimeout(patience))
	if err != nil {
		return nil, err
	}
	defer client.Close() //nolint:errcheck // nothing is left to lose
	image, err := client.GetImage(ctx, named.String())
	if err != nil {
		return nil, err
	}
	spec, err := image.Spec(ctx)
	return spec.Config.ExposedPorts, err
}

// portsOf are the TCP ports of EXPOSE, such as 80, 80/tcp and 53/udp.
func portsOf(exposed map[string]struct{}) []int32 {
	var ports []int32
	for text := range exposed {
		number, protocol, _ := strings.Cut(text, "/")
		if n, ok := portNumber(number); ok && (protocol == "" || protocol == "tcp") {
			ports = append(ports, n)
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// webPort chooses the port that a load balancer leads to: of several the one
// that is most likely the web's.
func webPort(ports []int32) int32 {
	for _, usual := range []int32{80, 8080, 3000, 8000, 5000} {
		if slices.Contains(ports, usual) {
			return usual
		}
	}
	if len(ports) == 0 {
		return 0
	}
	return ports[0]
}

func portList(ports []int32) string {
	words := make([]string, len(ports))
	for i, p := range ports {
		words[i] = strconv.Itoa(int(p))
	}
	return strings.Join(words, ", ")
}

// errNoName says that no name for a service can be made of an image's.
var errNoName = errors.New("the image's name makes no name for a service: give it one with --name")
