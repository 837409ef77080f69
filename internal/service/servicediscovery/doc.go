// Package servicediscovery answers the API of AWS Cloud Map: namespaces,
// services, instances, and their discovery.
//
// It writes namespaces, services, the instances that users register and the
// operations that say how calls ended; instances of ECS services are written by
// the control plane, through the same functions of data/records. Nothing wakes
// it but calls. Names get their effect in DNS by control/naming, which derives
// zones from what is written here.
//
// It keeps true that a service's instances can be found as long as they are
// registered (nothing in use can be deleted), that the revision of a service
// grows with every change of its instances, and that what it accepts has an
// effect: what it cannot do is refused with InvalidInput that says so. That is
// HealthCheckConfig (checks by Route 53's checkers), AWS_ALIAS_DNS_NAME and
// AWS_EC2_INSTANCE_ID.
//
// Calls that are asynchronous on AWS are done when they are answered: their
// operations are SUCCESS, or FAIL where AWS finds out later too. The newest
// thousand operations are remembered for a day.
//
// Custom health has its effect at once; AWS waits about thirty seconds.
//
// DiscoverInstances and DiscoverInstancesRevision are sent to a host that begins
// with "data-". The gateway does not look at the host, so they are answered
// there and at the plain one.
//
// Sources of behaviour: behaviour/networking-lb-discovery.md §5 and Cloud Map's
// API reference. What neither of them says is marked [GK] in testdata.
package servicediscovery
