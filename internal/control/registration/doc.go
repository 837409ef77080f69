// Package registration leads load balancers and names to the tasks of services.
//
// It keeps true:
//
//   - a task of a service that runs is a target of the service's target groups
//     and an instance of its Cloud Map services, each once: what a user takes
//     out afterwards stays out. With a container health check it gets its name
//     when it is HEALTHY, and the name says from then on how healthy it is;
//   - a task that is to stop is taken out first, and its node is not told to
//     stop it before the deregistration delay is over and resolvers have
//     forgotten the name: new connections go elsewhere, old ones may end;
//   - a task that nothing leads to, or that has stopped already, waits for
//     nothing. Nor does one whose target group is gone.
//
// Of tasks it writes registered, deregisteredAt and released; it makes targets
// and marks them deregistered, makes and deletes instances of Cloud Map
// services, and adds events to services. control/balancing deletes a target
// when its delay is over, and control/dispatch tells the node when the task is
// released. What it must remember is in these records, so that it can end and
// begin again at any point.
//
// It is woken by tasks, and by targets and target groups and Cloud Map services
// for tasks that wait; time only ends the wait for resolvers.
//
// Behaviour: the Amazon ECS developer guide, "Use load balancing to distribute
// service traffic" and "Use service discovery"; names and texts of attributes
// and events as in real output.
package registration
