package elbv2

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/elbv2api"
)

// setting is one attribute that a call sets.
type setting struct{ key, value *string }

// check refuses a value that an attribute cannot have, or whose effect there is
// nothing here to bring about.
type check func(key, value string) error

func oneOf(values ...string) check {
	return func(key, value string) error {
		if slices.Contains(values, value) {
			return nil
		}
		return invalid("The value for attribute '%s' must be one of '%s'", key, strings.Join(values, ", "))
	}
}

func onOff(key, value string) error { return oneOf("true", "false")(key, value) }

func within(least, most int) check {
	return func(key, value string) error {
		if n, err := strconv.Atoi(value); err != nil || n < least || n > most {
			return invalid("The value for attribute '%s' must be between '%d' and '%d' inclusive", key, least, most)
		}
		return nil
	}
}

// orWord allows a word besides what other allows.
func orWord(word string, other check) check {
	return func(key, value string) error {
		if value == word {
			return nil
		}
		return other(key, value)
	}
}

func anything(string, string) error { return nil }

// only allows the value that has an effect here, and says why others have none.
func only(value, why string, known check) check {
	return func(key, given string) error {
		if given == value {
			return nil
		}
		if err := known(key, given); err != nil {
			return err
		}
		return failure(codeOperationNotPermitted, "Berth does not support the value '%s' of attribute '%s' yet: %s.", given, key, why)
	}
}

// change applies settings to the attributes of a thing of that kind.
func change(noun, kind string, known []model.BalancerAttribute, checks map[string]check, set map[string]string, settings []setting) (map[string]string, error) {
	out := maps.Clone(set)
	if out == nil {
		out = map[string]string{}
	}
	seen := map[string]bool{}
	for _, s := range settings {
		if s.key == nil || s.value == nil {
			return nil, invalid("An attribute must have a key and a value")
		}
		key, value := *s.key, *s.value
		i := slices.IndexFunc(known, func(a model.BalancerAttribute) bool { return a.Key == key })
		switch {
		case i < 0:
			return nil, invalid("%s attribute key '%s' is not recognized", noun, key)
		case !known[i].For(kind):
			return nil, failure(codeInvalidConfiguration, "%s attribute key '%s' is not supported on %ss with type '%s'", noun, key, strings.ToLower(noun), kind)
		case seen[key]:
			return nil, invalid("%s attribute key '%s' is specified more than once", noun, key)
		}
		seen[key] = true
		if err := checks[key](key, value); err != nil {
			return nil, err
		}
		out[key] = value
	}
	return out, nil
}

const (
	noS3       = "there is no S3 to write to; set '" + model.AttributeAccessLogGroup + "' to the name of a log group for an access log"
	noLogs     = "there is no S3 to write to"
	noShift    = "there is no zonal shift"
	noIPv6     = "there is no IPv6"
	noFirewall = "there is no web application firewall"
	noDNS      = "a load balancer has one address"
)

// balancerChecks are those of load balancers' attributes.
func balancerChecks() map[string]check {
	return map[string]check{
		"access_logs.s3.enabled":                                   only("false", noS3, onOff),
		"access_logs.s3.bucket":                                    anything, // used when enabled only
		"access_logs.s3.prefix":                                    anything,
		model.AttributeAccessLogGroup:                              logGroup,
		"idle_timeout.timeout_seconds":                             within(1, 4000),
		"deletion_protection.enabled":                              onOff,
		"routing.http2.enabled":                                    onOff,
		"routing.http.drop_invalid_header_fields.enabled":          onOff,
		"routing.http.xff_client_port.enabled":                     onOff,
		"routing.http.preserve_host_header.enabled":                onOff,
		"routing.http.xff_header_processing.mode":                  oneOf("append", "preserve", "remove"),
		"load_balancing.cross_zone.enabled":                        onOff,
		"routing.http.desync_mitigation_mode":                      only("defensive", "ambiguous requests are refused", oneOf("monitor", "defensive", "strictest")),
		"client_keep_alive.seconds":                                within(60, 604800),
		"waf.fail_open.enabled":                                    only("false", noFirewall, onOff),
		"routing.http.x_amzn_tls_version_and_cipher_suite.enabled": onOff,
		"zonal_shift.config.enabled":                               only("false", noShift, onOff),
		"connection_logs.s3.enabled":                               only("false", noLogs, onOff),
		"connection_logs.s3.bucket":                                anything,
		"connection_logs.s3.prefix":                                anything,
		"health_check_logs.s3.enabled":                             only("false", noLogs, onOff),
		"health_check_logs.s3.bucket":                              anything,
		"health_check_logs.s3.prefix":                              anything,
		"ipv6.deny_all_igw_traffic":                                only("false", noIPv6, onOff),
		"dns_record.client_routing_policy": only("any_availability_zone", noDNS,
			oneOf("availability_zone_affinity", "partial_availability_zone_affinity", "any_availability_zone")),
		"secondary_ips.auto_assigned.per_subnet": only("0", noDNS, within(0, 7)),
	}
}

// logGroup checks the name of a log group; empty turns the access log off.
func logGroup(key, value string) error {
	if len(value) > 512 || strings.ContainsFunc(value, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-/.#", r)
	}) {
		return invalid("The value for attribute '%s' must be the name of a log group", key)
	}
	return nil
}

// groupChecks are those of target groups' attributes.
func groupChecks(g *model.TargetGroup) map[string]check {
	const health = "target_group_health."
	count := orWord("off", within(1, maxTargets))
	percentage := orWord("off", within(1, 100))
	noFailover := "a load balancer has one address"
	noRouting := "requests go to all targets only when none is healthy"
	checks := map[string]check{
		health + "unhealthy_state_routing.minimum_healthy_targets.count":      only("1", noRouting, count),
		health + "unhealthy_state_routing.minimum_healthy_targets.percentage": only("off", noRouting, percentage),
		health + "dns_failover.minimum_healthy_targets.count":                 orWord("off", only("1", noFailover, count)),
		health + "dns_failover.minimum_healthy_targets.percentage":            only("off", noFailover, percentage),
		"stickiness.enabled":                     onOff,
		"stickiness.type":                        oneOf("lb_cookie", "app_cookie"),
		"stickiness.lb_cookie.duration_seconds":  within(1, 604800),
		"stickiness.app_cookie.cookie_name":      cookieName,
		"stickiness.app_cookie.duration_seconds": within(1, 604800),
		"slow_start.duration_seconds":            orWord("0", within(30, 900)),
		"load_balancing.cross_zone.enabled": allowed([]string{"use_load_balancer_configuration", "true"}, "targets of all zones get requests",
			oneOf("true", "false", "use_load_balancer_configuration")),
		"load_balancing.algorithm.type": allowed([]string{"round_robin", "least_outstanding_requests"}, "targets are chosen in turn or by outstanding requests",
			oneOf("round_robin", "least_outstanding_requests", "weighted_random")),
		"load_balancing.algorithm.anomaly_mitigation":                  only("off", "anomalies are not detected", oneOf("on", "off")),
		model.AttributeDeregistrationDelay:                             within(0, 3600),
		"deregistration_delay.connection_termination.enabled":          onOff,
		"preserve_client_ip.enabled":                                   onOff,
		"proxy_protocol_v2.enabled":                                    onOff,
		"target_health_state.unhealthy.connection_termination.enabled": onOff,
		"target_health_state.unhealthy.draining_interval_seconds":      only("0", "connections to unhealthy targets are not drained", within(0, 360000)),
	}
	if g.BalancerType() == model.LoadBalancerNetwork {
		checks["stickiness.type"] = oneOf("source_ip")
		checks["stickiness.enabled"] = only("false", "connections of one client go to several targets", onOff)
		if g.Protocol == "UDP" || g.Protocol == "TCP_UDP" {
			checks["proxy_protocol_v2.enabled"] = only("false", "datagrams are not wrapped", onOff)
		}
	}
	if g.Protocol != "TCP" && g.Protocol != "TLS" || g.TargetType != targetIP {
		if g.Protocol == "UDP" || g.Protocol == "TCP_UDP" {
			checks["preserve_client_ip.enabled"] = func(key, value string) error {
				if value == "true" {
					return nil
				}
				return invalid("Client IP preservation cannot be disabled for target groups with the %s protocol", g.Protocol)
			}
		}
	}
	return checks
}

// allowed is only with several values.
func allowed(values []string, why string, known check) check {
	return func(key, given string) error {
		if slices.Contains(values, given) {
			return nil
		}
		return only(values[0], why, known)(key, given)
	}
}

// cookieName checks the name of an application's cookie; AWS keeps its own to
// itself.
func cookieName(key, value string) error {
	if slices.Contains([]string{"AWSALB", "AWSALBAPP", "AWSALBTG"}, value) {
		return invalid("The value for attribute '%s' cannot be '%s', which is reserved", key, value)
	}
	if len(value) > 256 || strings.ContainsAny(value, " \t\r\n;,=\"\\") {
		return invalid("The value for attribute '%s' must be the name of a cookie", key)
	}
	return nil
}

// listenerChecks are those of listeners' attributes.
func listenerChecks() map[string]check {
	checks := map[string]check{}
	for _, a := range model.ListenerAttributes() {
		switch {
		case a.Key == "tcp.idle_timeout.seconds":
			checks[a.Key] = only(a.Default, "a flow that is idle is forgotten after a fixed time", within(60, 6000))
		case a.Key == "routing.http.response.server.enabled":
			checks[a.Key] = only(a.Default, "the load balancer's own answers always name it", onOff)
		default:
			checks[a.Key] = only(a.Default, "listeners change no headers of their own", anything)
		}
	}
	return checks
}

// ModifyLoadBalancerAttributes implements elbv2api.Service. It answers with
// the attributes that it was given, as AWS does.
func (p *Provider) ModifyLoadBalancerAttributes(ctx context.Context, in *elbv2api.ModifyLoadBalancerAttributesInput) (*elbv2api.ModifyLoadBalancerAttributesOutput, error) {
	var settings []setting
	for i := range in.Attributes {
		settings = append(settings, setting{in.Attributes[i].Key, in.Attributes[i].Value})
	}
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		lb, err := p.balancer(tx, in.LoadBalancerArn)
		if err != nil {
			return err
		}
		return records.LoadBalancers.Edit(tx, lb.ID, func(lb *model.LoadBalancer) error {
			if lb.Attributes, err = change("Load balancer", lb.Type, model.LoadBalancerAttributes(), balancerChecks(), lb.Attributes, settings); err != nil {
				return err
			}
			if lb.Type == model.LoadBalancerApplication && lb.Attribute("load_balancing.cross_zone.enabled") != "true" {
				return failure(codeInvalidConfiguration, "Cross-zone load balancing cannot be turned off for application load balancers; turn it off for a target group")
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return &elbv2api.ModifyLoadBalancerAttributesOutput{Attributes: in.Attributes}, nil
}

// DescribeLoadBalancerAttributes implements elbv2api.Service.
func (p *Provider) DescribeLoadBalancerAttributes(_ context.Context, in *elbv2api.DescribeLoadBalancerAttributesInput) (*elbv2api.DescribeLoadBalancerAttributesOutput, error) {
	lb, err := p.balancer(p.store.Snapshot(), in.LoadBalancerArn)
	if err != nil {
		return nil, err
	}
	out := &elbv2api.DescribeLoadBalancerAttributesOutput{Attributes: []elbv2api.LoadBalancerAttribute{}}
	for _, a := range model.LoadBalancerAttributes() {
		// Berth's own is shown to those who use it: AWS's tools need not know it.
		if value := lb.Attribute(a.Key); a.For(lb.Type) && (a.Key != model.AttributeAccessLogGroup || value != "") {
			out.Attributes = append(out.Attributes, elbv2api.LoadBalancerAttribute{Key: new(a.Key), Value: &value})
		}
	}
	return out, nil
}

// ModifyTargetGroupAttributes implements elbv2api.Service.
func (p *Provider) ModifyTargetGroupAttributes(ctx context.Context, in *elbv2api.ModifyTargetGroupAttributesInput) (*elbv2api.ModifyTargetGroupAttributesOutput, error) {
	var settings []setting
	for i := range in.Attributes {
		settings = append(settings, setting{in.Attributes[i].Key, in.Attributes[i].Value})
	}
	_, err := p.editGroup(ctx, in.TargetGroupArn, func(g *model.TargetGroup) (err error) {
		if g.Attributes, err = change("Target group", g.BalancerType(), model.TargetGroupAttributes(), groupChecks(g), g.Attributes, settings); err != nil {
			return err
		}
		return together(g)
	})
	if err != nil {
		return nil, err
	}
	return &elbv2api.ModifyTargetGroupAttributesOutput{Attributes: in.Attributes}, nil
}

// together refuses attributes that exclude each other.
func together(g *model.TargetGroup) error {
	if g.Attribute("slow_start.duration_seconds") != "0" && g.BalancerType() == model.LoadBalancerApplication &&
		g.Attribute("load_balancing.algorithm.type") != "round_robin" {
		return failure(codeInvalidConfiguration, "Slow start mode is only available with the round robin algorithm")
	}
	if g.Attribute("stickiness.enabled") == "true" && g.Attribute("stickiness.type") == "app_cookie" && g.Attribute("stickiness.app_cookie.cookie_name") == "" {
		return failure(codeInvalidConfiguration, "You must specify an application cookie name for application-based stickiness")
	}
	return expressible(&model.NodeLoadBalancer{
		LoadBalancer: model.LoadBalancer{Type: g.BalancerType()}, TargetGroups: []model.NodeTargetGroup{{TargetGroup: *g}},
	})
}

// DescribeTargetGroupAttributes implements elbv2api.Service.
func (p *Provider) DescribeTargetGroupAttributes(_ context.Context, in *elbv2api.DescribeTargetGroupAttributesInput) (*elbv2api.DescribeTargetGroupAttributesOutput, error) {
	g, err := p.targetGroup(p.store.Snapshot(), in.TargetGroupArn)
	if err != nil {
		return nil, err
	}
	out := &elbv2api.DescribeTargetGroupAttributesOutput{Attributes: []elbv2api.TargetGroupAttribute{}}
	for _, a := range model.TargetGroupAttributes() {
		if a.For(g.BalancerType()) {
			out.Attributes = append(out.Attributes, elbv2api.TargetGroupAttribute{Key: new(a.Key), Value: new(g.Attribute(a.Key))})
		}
	}
	return out, nil
}

// ModifyListenerAttributes implements elbv2api.Service.
func (p *Provider) ModifyListenerAttributes(ctx context.Context, in *elbv2api.ModifyListenerAttributesInput) (*elbv2api.ModifyListenerAttributesOutput, error) {
	var settings []setting
	for i := range in.Attributes {
		settings = append(settings, setting{in.Attributes[i].Key, in.Attributes[i].Value})
	}
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		l, lb, err := p.listener(tx, in.ListenerArn)
		if err != nil {
			return err
		}
		return records.Listeners.Edit(tx, l.ID, func(l *model.Listener) (err error) {
			l.Attributes, err = change("Listener", lb.Type, model.ListenerAttributes(), listenerChecks(), l.Attributes, settings)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return &elbv2api.ModifyListenerAttributesOutput{Attributes: in.Attributes}, nil
}

// DescribeListenerAttributes implements elbv2api.Service. TCP listeners have
// an idle timeout; other listeners of network load balancers have nothing.
func (p *Provider) DescribeListenerAttributes(_ context.Context, in *elbv2api.DescribeListenerAttributesInput) (*elbv2api.DescribeListenerAttributesOutput, error) {
	l, lb, err := p.listener(p.store.Snapshot(), in.ListenerArn)
	if err != nil {
		return nil, err
	}
	out := &elbv2api.DescribeListenerAttributesOutput{Attributes: []elbv2api.ListenerAttribute{}}
	for _, a := range model.ListenerAttributes() {
		secureOnly := strings.HasPrefix(a.Key, "routing.http.request.x_amzn_") && l.Protocol != "HTTPS"
		if a.For(lb.Type) && !secureOnly {
			out.Attributes = append(out.Attributes, elbv2api.ListenerAttribute{Key: new(a.Key), Value: new(l.Attribute(a.Key))})
		}
	}
	return out, nil
}
