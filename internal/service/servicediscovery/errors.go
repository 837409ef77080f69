package servicediscovery

import (
	"fmt"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/servicediscoveryapi"
)

func invalid(format string, args ...any) error {
	return &servicediscoveryapi.InvalidInput{Message: new(fmt.Sprintf(format, args...))}
}

func namespaceNotFound(ref string) error {
	return &servicediscoveryapi.NamespaceNotFound{Message: new("Namespace not found: " + ref)}
}

func serviceNotFound(ref string) error {
	return &servicediscoveryapi.ServiceNotFound{Message: new("Service not found: " + ref)}
}

func instanceNotFound(id string) error {
	return &servicediscoveryapi.InstanceNotFound{Message: new("Instance not found: " + id)}
}

func namespaceExists(ns *model.Namespace) error {
	return &servicediscoveryapi.NamespaceAlreadyExists{
		Message:          new("A namespace with the name " + ns.Name + " already exists."),
		CreatorRequestId: optional(ns.CreatorRequestID), NamespaceId: &ns.ID,
	}
}

func serviceExists(s *model.DiscoveryService) error {
	return &servicediscoveryapi.ServiceAlreadyExists{
		Message:          new("A service with the name " + s.Name + " already exists in the namespace."),
		CreatorRequestId: optional(s.CreatorRequestID), ServiceId: &s.ID, ServiceArn: &s.ARN,
	}
}

func inUse(message string) error {
	return &servicediscoveryapi.ResourceInUse{Message: &message}
}
