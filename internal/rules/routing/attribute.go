package routing

import "strconv"

// attributes are AWS's defaults of the attributes that this package reads, of load balancers, listeners and target
// groups. Those that it does not know are not its business.
var attributes = map[string]string{
	"idle_timeout.timeout_seconds":                                              "60",
	"client_keep_alive.seconds":                                                 "3600",
	"routing.http2.enabled":                                                     "true",
	"routing.http.drop_invalid_header_fields.enabled":                           "false",
	"routing.http.preserve_host_header.enabled":                                 "false",
	"routing.http.xff_header_processing.mode":                                   "append",
	"routing.http.xff_client_port.enabled":                                      "false",
	"routing.http.x_amzn_tls_version_and_cipher_suite.enabled":                  "false",
	"routing.http.response.server.enabled":                                      "true",
	"deregistration_delay.connection_termination.enabled":                       "false",
	"load_balancing.algorithm.type":                                             "round_robin",
	"slow_start.duration_seconds":                                               "0",
	"stickiness.enabled":                                                        "false",
	"stickiness.type":                                                           "lb_cookie",
	"stickiness.lb_cookie.duration_seconds":                                     "86400",
	"stickiness.app_cookie.cookie_name":                                         "",
	"stickiness.app_cookie.duration_seconds":                                    "86400",
	"target_health_state.unhealthy.connection_termination.enabled":              "true",
	"proxy_protocol_v2.enabled":                                                 "false",
	"target_group_health.unhealthy_state_routing.minimum_healthy_targets.count": "1",
	AccessLogGroup: "",
}

// AccessLogGroup is the load balancer attribute that names the log group which access logs go to; empty: none. It is
// Berth's own: on AWS access logs go to a bucket.
const AccessLogGroup = "berth.access_logs.log_group"

// attribute is the value of key in set, or AWS's default.
func attribute(set map[string]string, key string) string {
	if v, ok := set[key]; ok {
		return v
	}
	return attributes[key]
}

func enabled(set map[string]string, key string) bool { return attribute(set, key) == "true" }

// number reads text within bounds; the provider has checked it, and what it let pass is brought in.
func number(text string, least, most int) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return least
	}
	return min(max(n, least), most)
}
