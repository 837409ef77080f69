package elbv2

import (
	"strconv"
	"strings"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/elbv2api"
)

const (
	versionGRPC = "GRPC"
	trafficPort = "traffic-port"
)

// checkChange is what a call says about a health check; what it leaves out
// stays.
type checkChange struct {
	protocol                              string
	port, path                            *string
	enabled                               *bool
	interval, timeout, healthy, unhealthy *int32
	matcher                               *elbv2api.Matcher
}

// defaultCheck is the health check of a group that says no more of it than the
// protocol, which may be empty.
func defaultCheck(g *model.TargetGroup, protocol string) model.TargetHealthCheck {
	check := model.TargetHealthCheck{
		Enabled: true, Protocol: protocol, Port: trafficPort, IntervalSeconds: 30, TimeoutSeconds: 5, HealthyThreshold: 5, UnhealthyThreshold: 2,
	}
	if check.Protocol == "" {
		check.Protocol = "HTTP"
		if g.BalancerType() == model.LoadBalancerNetwork {
			check.Protocol = "TCP"
		}
	}
	if g.BalancerType() == model.LoadBalancerNetwork {
		check.TimeoutSeconds = 10
		if check.Protocol == "HTTP" {
			check.TimeoutSeconds = 6
		}
	}
	overHTTP(g, &check)
	return check
}

// overHTTP gives a check what only HTTP has, and takes it from one over TCP.
func overHTTP(g *model.TargetGroup, check *model.TargetHealthCheck) {
	if check.Protocol == "TCP" {
		check.Path, check.HTTPCodes, check.GRPCCodes = "", "", ""
		return
	}
	switch {
	case g.ProtocolVersion == versionGRPC:
		check.Path, check.GRPCCodes = orElse(check.Path, "/AWS.ALB/healthcheck"), orElse(check.GRPCCodes, "12")
	case g.BalancerType() == model.LoadBalancerNetwork:
		check.Path, check.HTTPCodes = orElse(check.Path, "/"), orElse(check.HTTPCodes, "200-399")
	default:
		check.Path, check.HTTPCodes = orElse(check.Path, "/"), orElse(check.HTTPCodes, "200")
	}
}

func orElse(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

// changeCheck applies a change to the health check of a group and refuses one
// that could not work. Bounds of numbers are in the model.
func changeCheck(g *model.TargetGroup, change checkChange) error {
	check := &g.HealthCheck
	if change.enabled != nil && !*change.enabled {
		return invalid("Health check enabled must be true for target groups with target type '%s'", g.TargetType)
	}
	if change.protocol != "" {
		if err := checkProtocol(g, change.protocol); err != nil {
			return err
		}
		check.Protocol = change.protocol
	}
	if change.port != nil {
		if n, err := strconv.ParseUint(*change.port, 10, 16); *change.port != trafficPort && (err != nil || n == 0) {
			return invalid("Health check port '%s' must be '%s' or a number between 1 and 65535", *change.port, trafficPort)
		}
		check.Port = *change.port
	}
	if change.path != nil {
		switch {
		case check.Protocol == "TCP":
			return invalid("Health check path cannot be specified for health checks with the TCP protocol")
		case !strings.HasPrefix(*change.path, "/"):
			return invalid("Health check path '%s' must begin with a '/'", *change.path)
		case strings.ContainsAny(*change.path, " \t\r\n\""):
			return invalid("Health check path '%s' must not contain spaces", *change.path)
		}
		check.Path = *change.path
	}
	for target, given := range map[*int32]*int32{
		&check.IntervalSeconds: change.interval, &check.TimeoutSeconds: change.timeout,
		&check.HealthyThreshold: change.healthy, &check.UnhealthyThreshold: change.unhealthy,
	} {
		if given != nil {
			*target = *given
		}
	}
	overHTTP(g, check)
	if change.matcher != nil {
		if err := matcher(g, check, change.matcher); err != nil {
			return err
		}
	}
	if check.IntervalSeconds <= check.TimeoutSeconds {
		return invalid("Health check interval must be greater than the timeout.")
	}
	return nil
}

func checkProtocol(g *model.TargetGroup, protocol string) error {
	switch {
	case protocol == "HTTP", protocol == "HTTPS":
		return nil
	case protocol == "TCP" && g.BalancerType() == model.LoadBalancerNetwork:
		return nil
	case g.BalancerType() == model.LoadBalancerNetwork:
		return invalid("Health check protocol '%s' must be one of 'HTTP, HTTPS, TCP'", protocol)
	default:
		return invalid("Health check protocol '%s' must be one of 'HTTP, HTTPS'", protocol)
	}
}

// matcher sets the codes that mean health: numbers and ranges of them.
func matcher(g *model.TargetGroup, check *model.TargetHealthCheck, m *elbv2api.Matcher) error {
	switch {
	case m.HttpCode == nil && m.GrpcCode == nil:
		return nil
	case m.HttpCode != nil && m.GrpcCode != nil:
		return invalid("Only one of HTTP codes or gRPC codes can be specified")
	case check.Protocol == "TCP":
		return invalid("A matcher cannot be specified for health checks with the TCP protocol")
	case m.GrpcCode != nil:
		if g.ProtocolVersion != versionGRPC {
			return invalid("gRPC codes can only be specified for target groups with the protocol version GRPC")
		}
		if !codes(*m.GrpcCode, 0, 99) {
			return invalid("Health check matcher gRPC code '%s' must be within '0-99' inclusive", *m.GrpcCode)
		}
		check.GRPCCodes = *m.GrpcCode
		return nil
	case g.ProtocolVersion == versionGRPC:
		return invalid("HTTP codes cannot be specified for target groups with the protocol version GRPC")
	}
	last := 499
	if g.BalancerType() == model.LoadBalancerNetwork {
		last = 599
	}
	if !codes(*m.HttpCode, 200, last) {
		return invalid("Health check matcher HTTP code '%s' must be within '200-%d' inclusive", *m.HttpCode, last)
	}
	check.HTTPCodes = *m.HttpCode
	return nil
}

// codes reports whether text lists codes and ranges of them within bounds.
func codes(text string, least, most int) bool {
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, err := strconv.Atoi(from)
		last, err2 := strconv.Atoi(to)
		if err != nil || err2 != nil || first < least || last > most || first > last {
			return false
		}
	}
	return true
}
