// Package routing decides what a load balancer does: it compiles a model.NodeLoadBalancer to what the engines on a node
// understand, and says what the result of a health check means.
//
//   - Compile makes the configuration of a HAProxy process: all of an application load balancer, and of a network load
//     balancer those listeners that need more than addresses (TLS, proxy protocol). Targets are not in it: each target
//     group gets a pool of server slots, which the agent fills through HAProxy's socket, so that a target comes and goes
//     without a reload. The same document and site give the same bytes, so that an unchanged text means "nothing to do".
//   - Ruleset makes the nftables rules of a network load balancer's other listeners.
//   - Health is a target's health from check to check.
//   - AccessLogLine writes a line of AWS's access log.
//
// # What it keeps true
//
//   - Nothing that a user wrote can become configuration. Every word that holds a user's text passes quote, which writes
//     all but letters, digits and a few harmless marks as \xNN; texts that HAProxy parses a second time (log formats,
//     regular expressions) are escaped for that first. What cannot be expressed leaves the configuration and is named in
//     Config.Problems; a rule that lost a condition never matches.
//   - The rule with the lowest priority number whose conditions all hold decides. HAProxy evaluates its http-request rules
//     in order; the first match sets txn.tg, the backend's name, and every later rule asks that it is not set.
//
// # How a target group becomes HAProxy's
//
// A target group is two backends with the same slots. The first, of the group's name, has health checks. The second,
// with -open behind the name, has none: it gets the requests when the first has no usable server, which is AWS's rule that
// a group of which all targets are unhealthy is used as if all were healthy. Cookies are derived from a target's address
// and port, so that they mean the same target in both, in any slot, after a reload and after a restart.
//
// HAProxy answers 503 whenever no connection could be made. AWS answers 503 only when there is no target, 502 when the
// target refused and 504 when it did not answer, so the pools rewrite their own 503 by the time that went by.
//
// Behaviour: behaviour/networking-lb-discovery.md §2 and §3; the ELB user guides (listener rules, target group attributes,
// X-Forwarded headers, host header, access logs). Deviations are named where they are made.
package routing
