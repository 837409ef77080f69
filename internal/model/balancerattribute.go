package model

import "slices"

// BalancerAttribute is a setting of a load balancer, target group or listener
// that goes by a key, with what it is while nobody has set it.
type BalancerAttribute struct {
	Key     string
	Default string
	// Kinds are those that have the attribute: types of load balancer for a
	// load balancer, and for a target group or listener the type of load
	// balancer that its protocol is for.
	Kinds []string
}

var (
	applicationOnly = []string{LoadBalancerApplication}
	networkOnly     = []string{LoadBalancerNetwork}
	bothKinds       = []string{LoadBalancerApplication, LoadBalancerNetwork}
)

// AttributeAccessLogGroup is Berth's own attribute of an application load
// balancer: the log group that gets its access log; empty, none.
const AttributeAccessLogGroup = "berth.access_logs.log_group"

// AttributeDeregistrationDelay is how long a target that was deregistered may
// finish what it is doing, in seconds.
const AttributeDeregistrationDelay = "deregistration_delay.timeout_seconds"

// LoadBalancerAttributes lists the attributes that load balancers have, in the
// order in which they are described.
func LoadBalancerAttributes() []BalancerAttribute {
	return []BalancerAttribute{
		{"access_logs.s3.enabled", "false", bothKinds},
		{"access_logs.s3.bucket", "", bothKinds},
		{"access_logs.s3.prefix", "", bothKinds},
		{AttributeAccessLogGroup, "", applicationOnly},
		{"idle_timeout.timeout_seconds", "60", applicationOnly},
		{"deletion_protection.enabled", "false", bothKinds},
		{"routing.http2.enabled", "true", applicationOnly},
		{"routing.http.drop_invalid_header_fields.enabled", "false", applicationOnly},
		{"routing.http.xff_client_port.enabled", "false", applicationOnly},
		{"routing.http.preserve_host_header.enabled", "false", applicationOnly},
		{"routing.http.xff_header_processing.mode", "append", applicationOnly},
		{"load_balancing.cross_zone.enabled", "", bothKinds}, // see Attribute
		{"routing.http.desync_mitigation_mode", "defensive", applicationOnly},
		{"client_keep_alive.seconds", "3600", applicationOnly},
		{"waf.fail_open.enabled", "false", applicationOnly},
		{"routing.http.x_amzn_tls_version_and_cipher_suite.enabled", "false", applicationOnly},
		{"zonal_shift.config.enabled", "false", bothKinds},
		{"connection_logs.s3.enabled", "false", applicationOnly},
		{"connection_logs.s3.bucket", "", applicationOnly},
		{"connection_logs.s3.prefix", "", applicationOnly},
		{"health_check_logs.s3.enabled", "false", applicationOnly},
		{"health_check_logs.s3.bucket", "", applicationOnly},
		{"health_check_logs.s3.prefix", "", applicationOnly},
		{"ipv6.deny_all_igw_traffic", "false", bothKinds},
		{"dns_record.client_routing_policy", "any_availability_zone", networkOnly},
		{"secondary_ips.auto_assigned.per_subnet", "0", networkOnly},
	}
}

// TargetGroupAttributes lists the attributes that target groups have.
func TargetGroupAttributes() []BalancerAttribute {
	return []BalancerAttribute{
		{"target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", "1", bothKinds},
		{"target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage", "off", bothKinds},
		{"target_group_health.dns_failover.minimum_healthy_targets.count", "1", bothKinds},
		{"target_group_health.dns_failover.minimum_healthy_targets.percentage", "off", bothKinds},
		{"stickiness.enabled", "false", bothKinds},
		{"stickiness.type", "", bothKinds}, // see Attribute
		{"stickiness.lb_cookie.duration_seconds", "86400", applicationOnly},
		{"stickiness.app_cookie.cookie_name", "", applicationOnly},
		{"stickiness.app_cookie.duration_seconds", "86400", applicationOnly},
		{"slow_start.duration_seconds", "0", applicationOnly},
		{"load_balancing.cross_zone.enabled", "use_load_balancer_configuration", bothKinds},
		{"load_balancing.algorithm.type", "round_robin", applicationOnly},
		{"load_balancing.algorithm.anomaly_mitigation", "off", applicationOnly},
		{AttributeDeregistrationDelay, "300", bothKinds},
		{"deregistration_delay.connection_termination.enabled", "false", networkOnly},
		{"preserve_client_ip.enabled", "", networkOnly}, // see Attribute
		{"proxy_protocol_v2.enabled", "false", networkOnly},
		{"target_health_state.unhealthy.connection_termination.enabled", "true", networkOnly},
		{"target_health_state.unhealthy.draining_interval_seconds", "0", networkOnly},
	}
}

// ListenerAttributes lists the attributes that listeners have.
func ListenerAttributes() []BalancerAttribute {
	attributes := []BalancerAttribute{
		{"tcp.idle_timeout.seconds", "350", networkOnly},
		{"routing.http.response.server.enabled", "true", applicationOnly},
	}
	for _, header := range []string{
		"strict_transport_security", "access_control_allow_origin", "access_control_allow_methods", "access_control_allow_headers",
		"access_control_allow_credentials", "access_control_expose_headers", "access_control_max_age", "content_security_policy",
		"x_content_type_options", "x_frame_options",
	} {
		attributes = append(attributes, BalancerAttribute{"routing.http.response." + header + ".header_value", "", applicationOnly})
	}
	for _, header := range []string{
		"x_amzn_mtls_clientcert_serial_number", "x_amzn_mtls_clientcert_issuer", "x_amzn_mtls_clientcert_subject", "x_amzn_mtls_clientcert_validity",
		"x_amzn_mtls_clientcert_leaf", "x_amzn_mtls_clientcert", "x_amzn_tls_version", "x_amzn_tls_cipher_suite",
	} {
		attributes = append(attributes, BalancerAttribute{"routing.http.request." + header + ".header_name", "", applicationOnly})
	}
	return attributes
}

// For reports whether the attribute is one of kind.
func (a BalancerAttribute) For(kind string) bool { return slices.Contains(a.Kinds, kind) }

// Attribute is the value of an attribute: what was set, else AWS's default.
func (l *LoadBalancer) Attribute(key string) string {
	if key == "load_balancing.cross_zone.enabled" && l.Attributes[key] == "" {
		if l.Type == LoadBalancerApplication { // whose targets never mind the zone
			return "true"
		}
		return "false"
	}
	return attributeOf(l.Attributes, LoadBalancerAttributes(), key)
}

// BalancerType is the type of load balancer that can forward to the group.
func (g *TargetGroup) BalancerType() string {
	if g.Protocol == "HTTP" || g.Protocol == "HTTPS" {
		return LoadBalancerApplication
	}
	return LoadBalancerNetwork
}

// Attribute is the value of an attribute: what was set, else AWS's default.
// Targets by address behind TCP and TLS see the load balancer's address unless
// that is changed, all others the client's.
func (g *TargetGroup) Attribute(key string) string {
	if value, set := g.Attributes[key]; set {
		return value
	}
	switch key {
	case "stickiness.type":
		if g.BalancerType() == LoadBalancerNetwork {
			return "source_ip"
		}
		return "lb_cookie"
	case "preserve_client_ip.enabled":
		if g.TargetType == "ip" && (g.Protocol == "TCP" || g.Protocol == "TLS") {
			return "false"
		}
		return "true"
	}
	return attributeOf(g.Attributes, TargetGroupAttributes(), key)
}

// Attribute is the value of an attribute: what was set, else AWS's default.
func (l *Listener) Attribute(key string) string {
	return attributeOf(l.Attributes, ListenerAttributes(), key)
}

func attributeOf(set map[string]string, known []BalancerAttribute, key string) string {
	if value, ok := set[key]; ok {
		return value
	}
	for _, a := range known {
		if a.Key == key {
			return a.Default
		}
	}
	return ""
}
