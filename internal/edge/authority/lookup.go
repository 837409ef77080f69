package authority

import (
	"strconv"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/access"
)

// lookup answers the table's questions from one snapshot.
type lookup struct {
	*Authority
	r store.Reader
}

var _ access.Lookup = lookup{}

// Resolve implements access.Lookup.
func (l lookup) Resolve(kind access.Kind, name string) (string, bool) {
	switch kind {
	case access.User:
		if u, ok := records.Users.Get(l.r, model.FoldName(name)); ok {
			return l.scope.IAM("user", u.Path, u.Name), true
		}
	case access.Group:
		if g, ok := records.Groups.Get(l.r, model.FoldName(name)); ok {
			return l.scope.IAM("group", g.Path, g.Name), true
		}
	case access.InstanceProfile:
		if p, ok := records.InstanceProfiles.Get(l.r, model.FoldName(name)); ok {
			return l.scope.IAM("instance-profile", p.Path, p.Name), true
		}
	case access.Role:
		return l.role(name)
	case access.Secret:
		if s, ok := records.FindSecret(l.r, name); ok {
			return s.ARN, true
		}
	case access.KMSKey, access.KMSAlias:
		if k, ok := l.key(name); ok {
			return k.ARN, true
		}
	}
	return "", false
}

// role finds a role by name or ARN.
func (l lookup) role(name string) (string, bool) {
	role, ok := records.Roles.Get(l.r, model.FoldName(lastPart(name)))
	if !ok {
		return "", false
	}
	full := l.scope.IAM("role", role.Path, role.Name)
	return full, !arn.Is(name) || full == name
}

// key finds a KMS key by id, ARN, alias or alias ARN.
func (l lookup) key(name string) (*model.KMSKey, bool) {
	if arn.Is(name) {
		parsed, err := arn.Parse(name)
		if err != nil || parsed.Service != "kms" || parsed.Region != l.scope.Region || parsed.AccountID != l.scope.AccountID {
			return nil, false
		}
		name = strings.TrimPrefix(parsed.Resource, "key/")
	}
	if strings.HasPrefix(name, "alias/") {
		alias, ok := records.KMSAliases.Get(l.r, name)
		if !ok {
			return nil, false
		}
		name = alias.KeyID
	}
	return records.KMSKeys.Get(l.r, name)
}

// TaskDefinition implements access.Lookup, with the same reading of names as
// the provider's.
func (l lookup) TaskDefinition(name string) (*model.TaskDefinition, bool) {
	if arn.Is(name) {
		parsed, err := arn.Parse(name)
		if err != nil || parsed.Service != "ecs" || parsed.Type() != "task-definition" {
			return nil, false
		}
		name = lastPart(parsed.Resource)
	}
	family, text, revised := strings.Cut(name, ":")
	if revised {
		revision, err := strconv.Atoi(text)
		if err != nil {
			return nil, false
		}
		return records.TaskDefinitions.Get(l.r, model.TaskDefinitionKey(family, revision))
	}
	f, ok := records.Families.Get(l.r, family)
	if !ok {
		return nil, false
	}
	for revision := f.LastRevision; revision > 0; revision-- {
		d, ok := records.TaskDefinitions.Get(l.r, model.TaskDefinitionKey(family, revision))
		if ok && d.Status == model.TaskDefinitionActive {
			return d, true
		}
	}
	return nil, false
}

// Boundary implements access.Lookup.
func (l lookup) Boundary(resource string) string {
	switch parsed, err := arn.Parse(resource); {
	case err != nil:
	case parsed.Type() == "user":
		if u, ok := records.Users.Get(l.r, model.FoldName(lastPart(resource))); ok {
			return u.BoundaryARN
		}
	case parsed.Type() == "role":
		if r, ok := records.Roles.Get(l.r, model.FoldName(lastPart(resource))); ok {
			return r.BoundaryARN
		}
	}
	return ""
}

// SecurityGroup implements access.Lookup.
func (l lookup) SecurityGroup(name string) (string, bool) {
	for vpc := range records.VPCs.All(l.r) {
		if !vpc.IsDefault {
			continue
		}
		for g := range records.SecurityGroups.By(l.r, records.SecurityGroupsByVPC, vpc.ID) {
			if g.Name == name {
				return g.ID, true
			}
		}
	}
	return "", false
}

// Tags implements access.Lookup.
func (l lookup) Tags(resource string) []model.Tag {
	parsed, err := arn.Parse(resource)
	if err != nil {
		return nil
	}
	switch parsed.Service {
	case "ecs":
		return l.ecsTags(parsed)
	case "ec2":
		return l.ec2Tags(parsed.Type(), lastPart(parsed.Resource))
	case "elasticloadbalancing":
		return l.balancerTags(parsed.Resource)
	case "iam":
		return l.iamTags(parsed, resource)
	case "secretsmanager":
		if s, ok := records.FindSecret(l.r, resource); ok {
			return s.Tags
		}
	case "ssm":
		return l.parameterTags(strings.TrimPrefix(parsed.Resource, "parameter"))
	case "kms":
		if k, ok := l.key(resource); ok && parsed.Type() == "key" {
			return k.Tags
		}
	case "acm":
		if c, ok := records.Certificates.Get(l.r, resource); ok {
			return c.Tags
		}
	case "servicediscovery":
		return l.discoveryTags(parsed.Type(), lastPart(parsed.Resource))
	case "logs":
		return l.groupTags(parsed.Resource)
	case "ecr":
		return tagsOf(l.r, records.Repositories, strings.TrimPrefix(parsed.Resource, "repository/"), func(r *model.Repository) []model.Tag { return r.Tags })
	}
	return nil
}

func (l lookup) ecsTags(a arn.ARN) []model.Tag {
	path := a.Path()
	if len(path) == 0 {
		return nil
	}
	id := path[len(path)-1]
	switch a.Type() {
	case "cluster":
		if c, ok := records.Clusters.Get(l.r, id); ok {
			return c.Tags
		}
	case "task":
		if t, ok := records.Tasks.Get(l.r, id); ok {
			return t.Tags
		}
	case "task-definition":
		if d, ok := l.TaskDefinition(id); ok {
			return d.Tags
		}
	case "container-instance":
		if i, ok := records.Instances.Get(l.r, id); ok {
			return i.Tags
		}
	case "service":
		if len(path) == 2 {
			return l.serviceTags(path[0], path[1])
		}
	case "service-deployment", "service-revision":
		// They have no tags of their own; policies mean the service's.
		if len(path) == 3 {
			return l.serviceTags(path[0], path[1])
		}
	}
	return nil
}

// serviceTags are those of the active service of a name, or of the last.
func (l lookup) serviceTags(cluster, name string) []model.Tag {
	var tags []model.Tag
	for s := range records.Services.By(l.r, records.ServicesByName, records.InCluster(cluster, name)) {
		if tags = s.Tags; s.Status == model.ServiceActive {
			break
		}
	}
	return tags
}

func (l lookup) parameterTags(name string) []model.Tag {
	if p, ok := records.Parameters.Get(l.r, name); ok {
		return p.Tags
	}
	// The ARN of x has a slash that its name has not.
	if p, ok := records.Parameters.Get(l.r, strings.TrimPrefix(name, "/")); ok {
		return p.Tags
	}
	return nil
}

func (l lookup) iamTags(a arn.ARN, resource string) []model.Tag {
	name := model.FoldName(lastPart(resource))
	switch a.Type() {
	case "user":
		if u, ok := records.Users.Get(l.r, name); ok {
			return u.Tags
		}
	case "role":
		if r, ok := records.Roles.Get(l.r, name); ok {
			return r.Tags
		}
	case "instance-profile":
		if p, ok := records.InstanceProfiles.Get(l.r, name); ok {
			return p.Tags
		}
	case "policy":
		if p, ok := records.Policies.Get(l.r, resource); ok {
			return p.Tags
		}
	case "oidc-provider":
		if p, ok := records.OIDCProviders.Get(l.r, resource); ok {
			return p.Tags
		}
	}
	return nil
}

// groupTags are of "log-group:NAME" and what is behind it.
func (l lookup) groupTags(resource string) []model.Tag {
	rest, ok := strings.CutPrefix(resource, "log-group:")
	name, _, _ := strings.Cut(rest, ":")
	if !ok || name == "" || l.logs == nil {
		return nil
	}
	g, err := l.logs.Group(name)
	if err != nil {
		return nil // one that is not there has none; one that cannot be read satisfies no condition on tags
	}
	tags := make([]model.Tag, 0, len(g.Tags))
	for key, value := range g.Tags {
		tags = append(tags, model.Tag{Key: key, Value: value})
	}
	return tags
}
