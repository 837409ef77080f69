package ecr

import (
	"fmt"

	"berth.dev/berth/internal/wire/api/ecrapi"
)

// invalid is ECR's sentence about a member.
func invalid(member, format string, args ...any) error {
	return &ecrapi.InvalidParameterException{
		Message: new("Invalid parameter at '" + member + "' failed to satisfy constraint: '" + fmt.Sprintf(format, args...) + "'"),
	}
}

// in is how texts end that are about a repository.
func (p *Provider) in(name string) string {
	return "the repository with name '" + name + "' in the registry with id '" + p.scope.AccountID + "'"
}

func (p *Provider) noRepository(registry *string, name string) error {
	id := p.scope.AccountID
	if registry != nil {
		id = *registry
	}
	return &ecrapi.RepositoryNotFoundException{
		Message: new("The repository with name '" + name + "' does not exist in the registry with id '" + id + "'"),
	}
}

// said is how texts name an image.
func said(id ecrapi.ImageIdentifier) string {
	shown := func(s *string) string {
		if s == nil {
			return "null"
		}
		return *s
	}
	return "{imageDigest:'" + shown(id.ImageDigest) + "', imageTag:'" + shown(id.ImageTag) + "'}"
}

func (p *Provider) noImage(id ecrapi.ImageIdentifier, repository string) error {
	return &ecrapi.ImageNotFoundException{
		Message: new("The image with imageId " + said(id) + " does not exist within " + p.in(repository)),
	}
}
