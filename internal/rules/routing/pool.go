package routing

import (
	"fmt"
	"strconv"
	"strings"

	"berth.dev/berth/internal/model"
)

// pool writes the two backends of a target group.
func (c *compiler) pool(g *model.NodeTargetGroup) Pool {
	p := Pool{TargetGroupID: g.ID, Backend: name(g.ID), Slots: max(c.site.Slots[g.ID], MinSlots)}
	p.Open = p.Backend + "-open"
	p.tls = g.Protocol == "HTTPS" || g.Protocol == "TLS"
	if port, err := strconv.Atoi(g.HealthCheck.Port); err == nil && port > 0 && port < 65536 {
		p.checkPort = port
	}
	options := c.serverOptions(g)
	c.section("backend", p.Backend)
	c.comment(g.ARN)
	c.balance(g)
	c.check(g)
	c.slots(p, options+c.checkOptions(g, p.checkPort))
	c.section("backend", p.Open)
	c.balance(g)
	c.slots(p, options)
	return p
}

// slots writes a pool's places for targets, one by one: of a server-template
// only the first gets the namespace (HAProxy 2.6 does not copy it), and the
// others would connect from the host, past the load balancer's own interface.
func (c *compiler) slots(p Pool, options string) {
	for n := range p.Slots {
		// Without a port HAProxy would add the listener's to that of a target. States says why there is a host name.
		c.line("server", Server(n+1), hostName+":1 init-addr last,0.0.0.0"+options)
	}
}

func (c *compiler) isHTTP() bool { return c.lb.LoadBalancer.Type != model.LoadBalancerNetwork }

// balance writes what both backends do with requests.
func (c *compiler) balance(g *model.NodeTargetGroup) {
	if !c.isHTTP() {
		c.line("balance source") // the nearest that HAProxy has to a hash of the flow
		c.line("hash-type consistent")
		return
	}
	switch attribute(g.Attributes, "load_balancing.algorithm.type") {
	case "least_outstanding_requests":
		c.line("balance leastconn")
	case "weighted_random":
		c.line("balance random(1)")
	default:
		c.line("balance roundrobin")
	}
	if g.ProtocolVersion == "GRPC" {
		c.answer(464, "text/html", page("464"), "if !{ fc_http_major 2 } or !METH_POST")
	}
	c.stickiness(g)
	// 503 means that no connection could be made: AWS's 504 when that took an attempt's whole time, else its 502.
	late := fmt.Sprintf("date(0,ms),sub(txn.since),div(%d),bool", connectTimeout-50)
	c.answer(503, "text/html", page("503 Service Temporarily Unavailable"), "if { nbsrv eq 0 }")
	c.line("http-request set-var(txn.since) date(0,ms)")
	c.line("http-response set-var(txn.since) int(0)") // a target answered: its own 503 stays
	text := literal(page("\x00"))
	text = strings.ReplaceAll(text, "\x00", "%["+late+",iif(504 Gateway Time-out,502 Bad Gateway)]")
	c.line("http-error status 503 content-type text/html lf-string", quote(text), "hdr Server", ServerHeader)
	unanswered := "{ status 503 } { var(txn.since) -m int gt 0 }"
	c.line("http-after-response set-status 504 reason", quote("Gateway Time-out"), "if", unanswered, "{ "+late+" }")
	c.line("http-after-response set-status 502 reason", quote("Bad Gateway"), "if", unanswered)
}

func (c *compiler) speaksHTTP2(g *model.NodeTargetGroup) bool {
	return c.isHTTP() && (g.ProtocolVersion == "HTTP2" || g.ProtocolVersion == "GRPC")
}

// serverOptions are those of every slot: how the target is spoken to, and from where.
func (c *compiler) serverOptions(g *model.NodeTargetGroup) string {
	options := ""
	if len(c.lb.Interfaces) > 0 {
		// From the load balancer's own interface, so that its security groups are what targets see.
		if ns, ok := c.site.Namespaces[c.lb.Interfaces[0].ID]; ok {
			options += " namespace " + quote(ns)
		}
	}
	h2 := c.speaksHTTP2(g)
	switch {
	case g.Protocol == "HTTPS" && h2:
		options += " ssl verify none alpn h2"
	case g.Protocol == "HTTPS", g.Protocol == "TLS":
		options += " ssl verify none" // AWS does not verify targets' certificates either
	case h2:
		options += " proto h2"
	}
	if seconds := number(attribute(g.Attributes, "slow_start.duration_seconds"), 0, 900); seconds > 0 {
		options += fmt.Sprintf(" slowstart %ds", seconds)
	}
	if !c.isHTTP() && enabled(g.Attributes, "proxy_protocol_v2.enabled") {
		options += " send-proxy-v2"
	}
	return options
}

// stickiness binds a client to a target by a cookie. HAProxy puts the target's name into a Set-Cookie that is there
// already ("rewrite"), so the header is added, with an end that moves with each answer as on AWS, and then named.
func (c *compiler) stickiness(g *model.NodeTargetGroup) {
	if !enabled(g.Attributes, "stickiness.enabled") {
		return
	}
	c.line("dynamic-cookie-key", "berth")
	switch attribute(g.Attributes, "stickiness.type") {
	case "lb_cookie":
		c.stickyCookie("AWSALB", number(attribute(g.Attributes, "stickiness.lb_cookie.duration_seconds"), 1, 604800), "")
	case "app_cookie":
		app := attribute(g.Attributes, "stickiness.app_cookie.cookie_name")
		if !headerName.MatchString(app) {
			c.problem("cookie name %q of target group %s", app, g.Name)
			return
		}
		// The client is bound when the application sets its own cookie.
		c.stickyCookie("AWSALBAPP-0", number(attribute(g.Attributes, "stickiness.app_cookie.duration_seconds"), 1, 604800), " if { res.cook("+app+") -m found }")
	}
}

func (c *compiler) stickyCookie(name string, seconds int, when string) {
	expires := fmt.Sprintf("Expires=%%[date(%d),http_date]", seconds)
	c.line("cookie", name, "rewrite dynamic")
	if name == "AWSALB" {
		// From another site a browser sends this one only.
		c.line("http-request add-header Cookie AWSALB=%[req.cook(AWSALBCORS)] if !{ req.cook(AWSALB) -m found } { req.cook(AWSALBCORS) -m found }")
		c.line(`http-after-response add-header Set-Cookie "AWSALBCORS=%[res.cook(AWSALB)]; `+expires+`; Path=/; SameSite=None; Secure"`,
			"if { res.cook(AWSALB) -m found }")
	}
	c.line(`http-response add-header Set-Cookie "` + name + `=_; ` + expires + `; Path=/"` + when)
}

// check writes how HAProxy checks the targets' health.
func (c *compiler) check(g *model.NodeTargetGroup) {
	h := g.HealthCheck
	c.line("log", quote(c.site.Events), "len 2048 format raw local0")
	c.line("option log-health-checks")
	c.linef("timeout check %ds", max(h.TimeoutSeconds, 1))
	if h.Protocol != "HTTP" && h.Protocol != "HTTPS" {
		c.line("option tcp-check")
		return
	}
	path := h.Path
	if path == "" || !expressible(path) {
		path = "/"
	}
	c.line("option httpchk")
	if g.ProtocolVersion == "GRPC" {
		c.line("http-check send meth POST uri", quote(path), `ver HTTP/2 hdr Host "%[bc_dst]:%[bc_dst_port]"`,
			"hdr User-Agent ELB-HealthChecker/2.0 hdr Content-Type application/grpc hdr TE trailers body", `\x01`)
		c.line("http-check expect", grpcExpectation(h.GRPCCodes))
		return
	}
	c.line("http-check send meth GET uri", quote(path), `ver HTTP/1.1 hdr Host "%[bc_dst]:%[bc_dst_port]"`,
		"hdr User-Agent ELB-HealthChecker/2.0 hdr Connection close")
	codes := h.HTTPCodes
	if !codeList.MatchString(codes) {
		codes = "200"
	}
	c.line("http-check expect status", strings.ReplaceAll(codes, " ", ""))
}

// checkOptions are those of a slot that is checked.
func (c *compiler) checkOptions(g *model.NodeTargetGroup, checkPort int) string {
	h := g.HealthCheck
	options := fmt.Sprintf(" check inter %ds fall %d rise %d", max(h.IntervalSeconds, 1), max(h.UnhealthyThreshold, 1), max(h.HealthyThreshold, 1))
	if checkPort > 0 {
		options += fmt.Sprintf(" port %d", checkPort)
	}
	h2 := c.speaksHTTP2(g)
	if h.Protocol == "HTTPS" {
		options += " check-ssl verify none"
		if h2 {
			options += " check-alpn h2"
		}
	} else {
		options += " no-check-ssl"
	}
	switch {
	case h.Protocol != "HTTP" && h.Protocol != "HTTPS":
	case h2:
		options += " check-proto h2"
	default:
		options += " check-proto h1"
	}
	return options
}
