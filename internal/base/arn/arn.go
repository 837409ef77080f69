package arn

import (
	"fmt"
	"strings"
)

// ARN is a parsed Amazon Resource Name. The zero value is not a valid ARN.
type ARN struct {
	Partition string // aws, aws-cn or aws-us-gov
	Service   string // signing name of the service, such as ecs
	Region    string // empty for global services
	AccountID string // twelve digits
	Resource  string // everything after the fifth colon
}

// String returns the ARN in its canonical form.
func (a ARN) String() string {
	return "arn:" + a.Partition + ":" + a.Service + ":" + a.Region + ":" + a.AccountID + ":" + a.Resource
}

// Type returns the part of the resource before its first slash, such as
// "task" in task/default/0123.
func (a ARN) Type() string {
	kind, _, _ := strings.Cut(a.Resource, "/")
	return kind
}

// Path returns the slash-separated parts of the resource after its type.
func (a ARN) Path() []string {
	_, rest, found := strings.Cut(a.Resource, "/")
	if !found {
		return nil
	}
	return strings.Split(rest, "/")
}

// Is reports whether s looks like an ARN rather than a short name.
func Is(s string) bool { return strings.HasPrefix(s, "arn:") }

// Parse reads an ARN. It checks the form only, not that the resource exists.
func Parse(s string) (ARN, error) {
	parts := strings.SplitN(s, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[1] == "" || parts[2] == "" || parts[5] == "" {
		return ARN{}, fmt.Errorf("%q is not an ARN", s)
	}
	return ARN{Partition: parts[1], Service: parts[2], Region: parts[3], AccountID: parts[4], Resource: parts[5]}, nil
}

// Scope is where resources are made: one account in one region. Its methods
// build the ARNs of what lives there.
type Scope struct {
	Partition string // "aws" when empty
	Region    string
	AccountID string
}

// Regional returns the ARN of a resource of a service in the scope's region.
func (s Scope) Regional(service, resource string) string {
	partition := s.Partition
	if partition == "" {
		partition = "aws"
	}
	return ARN{Partition: partition, Service: service, Region: s.Region, AccountID: s.AccountID, Resource: resource}.String()
}

// Global returns the ARN of a resource of a service that has no regions, such
// as iam and sts.
func (s Scope) Global(service, resource string) string {
	s.Region = ""
	return s.Regional(service, resource)
}

// Cluster returns the ARN of an ECS cluster.
func (s Scope) Cluster(name string) string { return s.Regional("ecs", "cluster/"+name) }

// Task returns the ARN of an ECS task; id has 32 lower-case hex digits.
func (s Scope) Task(cluster, id string) string { return s.Regional("ecs", "task/"+cluster+"/"+id) }

// Container returns the ARN of one container of a task; id is a UUID.
func (s Scope) Container(cluster, taskID, id string) string {
	return s.Regional("ecs", "container/"+cluster+"/"+taskID+"/"+id)
}

// ContainerInstance returns the ARN of a container instance.
func (s Scope) ContainerInstance(cluster, id string) string {
	return s.Regional("ecs", "container-instance/"+cluster+"/"+id)
}

// TaskDefinition returns the ARN of one revision of a family.
func (s Scope) TaskDefinition(family string, revision int) string {
	return s.Regional("ecs", fmt.Sprintf("task-definition/%s:%d", family, revision))
}

// CapacityProvider returns the ARN of a capacity provider.
func (s Scope) CapacityProvider(name string) string {
	return s.Regional("ecs", "capacity-provider/"+name)
}

// Service returns the ARN of an ECS service.
func (s Scope) Service(cluster, name string) string {
	return s.Regional("ecs", "service/"+cluster+"/"+name)
}

// ServiceDeployment returns the ARN of a service deployment; id has 21
// URL-safe characters.
func (s Scope) ServiceDeployment(cluster, service, id string) string {
	return s.Regional("ecs", "service-deployment/"+cluster+"/"+service+"/"+id)
}

// ServiceRevision returns the ARN of a service revision; id is a number.
func (s Scope) ServiceRevision(cluster, service, id string) string {
	return s.Regional("ecs", "service-revision/"+cluster+"/"+service+"/"+id)
}

// ServiceLinkedRole returns the ARN of the role that ECS itself acts in.
func (s Scope) ServiceLinkedRole() string {
	return s.Global("iam", "role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS")
}

// LogGroup returns the ARN of a log group without the trailing ":*".
func (s Scope) LogGroup(name string) string { return s.Regional("logs", "log-group:"+name) }

// EC2 returns the ARN of an EC2 resource such as vpc/vpc-0123.
func (s Scope) EC2(kind, id string) string { return s.Regional("ec2", kind+"/"+id) }

// Namespace returns the ARN of a Cloud Map namespace.
func (s Scope) Namespace(id string) string { return s.Regional("servicediscovery", "namespace/"+id) }

// DiscoveryService returns the ARN of a Cloud Map service.
func (s Scope) DiscoveryService(id string) string {
	return s.Regional("servicediscovery", "service/"+id)
}

// Repository returns the ARN of a repository of images, whose name may have
// slashes.
func (s Scope) Repository(name string) string { return s.Regional("ecr", "repository/"+name) }

// Root returns the ARN of the account's root user.
func (s Scope) Root() string {
	return s.Global("iam", "root")
}

// IAM returns the ARN of a principal or policy of the account: kind is user,
// group, role, policy or instance-profile, and path begins and ends with a
// slash.
func (s Scope) IAM(kind, path, name string) string {
	return s.Global("iam", kind+path+name)
}

// AssumedRole returns the ARN of a role's session. The role's path is not part
// of it.
func (s Scope) AssumedRole(role, session string) string {
	return s.Global("sts", "assumed-role/"+role+"/"+session)
}
