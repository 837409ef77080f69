// Package express makes what ECS itself manages for express services: what one
// call of CreateExpressGatewayService asks for.
//
// It keeps true that
//
//   - an express service has a log group, a certificate for its endpoint, a
//     security group for its tasks, a target group, and a rule for its host
//     name at the HTTPS listener of a load balancer, which up to 25 services of
//     one VPC and access share, with the load balancer's own security group;
//   - there is exactly one of each, however often the server dies or an answer
//     is lost: names are decided and stored before anything is made under them,
//     and what the store has under such a name is adopted;
//   - no task of the service starts before these are there, and then its tasks
//     are targets; requests reach the ports of all revisions that still run;
//   - what is missing later is made again, and a certificate is renewed in time;
//   - when the service drains and its tasks have ended, all of it is taken away
//     but the log group, and a load balancer with its last service. Only then
//     the service becomes INACTIVE;
//   - the record says of each resource how far it is, and what is in the way in
//     AWS's words.
//
// What is there is read from the store. What is to be made is asked of the AWS
// API as a session of the service's infrastructure role, so that the role's
// policies decide and the trail records it. Two things no policy of AWS for
// such roles allows, because AWS does them otherwise: importing a certificate,
// where AWS requests one (the role must be allowed acm:RequestCertificate), and
// changing a target group's health check, where AWS makes a second group for
// its canary deployments. These ECS does for itself.
//
// The decision is a pure function (view.next): of what the store has and of the
// time, one step. The loop does it and looks again.
//
// It writes express gateways; of express services gatewayId and resources; of
// services resources and, before their first task, what their revisions say of
// load balancers and security groups. It is woken by changes of all that it
// looks at, and by the hour.
//
// Behaviour: behaviour/exec-and-more.md §4 and the managed policy
// AmazonECSInfrastructureRoleforExpressGatewayServices, which tells what AWS
// does. Names of resources are partly Berth's own (uncertain).
package express
