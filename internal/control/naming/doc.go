// Package naming derives the DNS zones that nodes answer from.
//
// It keeps true that every name of a DNS namespace, and every load balancer's
// name, resolves where it does on AWS and nowhere else, to what is registered
// and healthy now. There is one document (model.NodeZone) for
//
//   - each private DNS namespace, on the nodes that have interfaces in its VPC
//     and for these only, provided that the VPC's enableDnsSupport and
//     enableDnsHostnames are on, as Route 53 demands for private hosted zones;
//   - each public DNS namespace, on every node, for all VPCs and for the host.
//     Names that it does not have are asked upstream: the domain may well exist
//     in the world outside, where nothing has delegated it to Berth;
//   - each load balancer in its VPC: its private addresses, also when it is
//     internet-facing, since the address it has on a host means nothing inside;
//   - each internet-facing load balancer outside: its public address. One on the
//     loopback range is told to the host that serves it and to no VPC;
//   - the endpoint of each express service, likewise, which has its load
//     balancer's addresses.
//
// A service's name has the addresses of its healthy instances, or of all if
// none is healthy (Route 53 considers all healthy then). Services of type HTTP
// and services in HTTP namespaces have no names. With SRV records each instance
// has a name of its own below the service's, whether it is healthy or not, so
// that an answer of a moment ago still leads somewhere.
//
// The package writes nothing and has no loop: the dispatcher asks it for
// documents and which of them a change concerns. It is derived from the
// namespaces, services and instances of Cloud Map, load balancers, express services, VPCs, and,
// for where VPCs are, network interfaces.
//
// Sources of behaviour: behaviour/networking-lb-discovery.md §5 and Cloud Map's
// API reference (DnsConfig, RegisterInstance).
package naming
