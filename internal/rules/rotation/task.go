package rotation

import (
	"regexp"
	"strconv"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/model"
)

// Tags of a secret that say where the task that rotates it runs. Without them
// it is the cluster default, and for a task with a network interface of its own
// the subnets of the default VPC and the VPC's default security group.
const (
	TagCluster        = "berth:rotation-cluster"         // a cluster's name
	TagSubnets        = "berth:rotation-subnets"         // ids of subnets, with blanks between them
	TagSecurityGroups = "berth:rotation-security-groups" // ids of groups likewise
)

// What the task finds in its environment: which secret it rotates, and the
// ClientRequestToken that it stores the new value with.
const (
	EnvSecret  = "SECRET_ARN"
	EnvVersion = "SECRET_VERSION_ID"
)

var familyPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)

// ParseTask reads the ARN of a task definition of the scope, with or without a
// revision; 0 is the newest active one.
func ParseTask(text string, scope arn.Scope) (family string, revision int, ok bool) {
	a, err := arn.Parse(text)
	if err != nil || a.Service != "ecs" || a.Region != scope.Region || a.AccountID != scope.AccountID {
		return "", 0, false
	}
	name, found := strings.CutPrefix(a.Resource, "task-definition/")
	if !found {
		return "", 0, false
	}
	family, number, numbered := strings.Cut(name, ":")
	if numbered {
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || strconv.Itoa(n) != number {
			return "", 0, false
		}
		revision = n
	}
	return family, revision, familyPattern.MatchString(family)
}

// Place is where a secret's tags want its task.
type Place struct {
	Cluster        string
	Subnets        []string // empty: those of the default VPC
	SecurityGroups []string // empty: the VPC's default
}

// PlaceOf reads the tags of a secret.
func PlaceOf(s *model.Secret) Place {
	place := Place{Cluster: "default"}
	for _, tag := range s.Tags {
		switch tag.Key {
		case TagCluster:
			place.Cluster = tag.Value
		case TagSubnets:
			place.Subnets = strings.Fields(tag.Value)
		case TagSecurityGroups:
			place.SecurityGroups = strings.Fields(tag.Value)
		}
	}
	return place
}

// Environment are the overrides that tell every container of a task what it is
// to do.
func Environment(def *model.TaskDefinition, secretARN, versionID string) model.TaskOverride {
	var out model.TaskOverride
	for i := range def.ContainerDefinitions {
		out.ContainerOverrides = append(out.ContainerOverrides, model.ContainerOverride{
			Name:        def.ContainerDefinitions[i].Name,
			Environment: []model.KeyValuePair{{Name: EnvSecret, Value: secretARN}, {Name: EnvVersion, Value: versionID}},
		})
	}
	return out
}
