package routing

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"berth.dev/berth/internal/model"
)

// listener writes the frontend of one listener.
func (c *compiler) listener(l *model.Listener) {
	c.section("frontend", fmt.Sprintf("listener-%d", l.Port))
	c.comment(l.ARN)
	tls := l.Protocol == "HTTPS" || l.Protocol == "TLS"
	options := ""
	if tls {
		var ok bool
		if options, ok = c.tlsOptions(l); !ok {
			c.problem("listener %s on port %d has no certificate that can be used", l.Protocol, l.Port)
			return
		}
	}
	c.binds(l, options)
	if l.Protocol != "HTTP" && l.Protocol != "HTTPS" {
		c.streams(l)
		return
	}
	c.keepAlive()
	successors := c.handOver(l, tls)
	c.accessLog(l)
	c.line("http-request return status 405 content-type text/html string", quote(page("405 Not Allowed")), "hdr Server", ServerHeader, "if METH_TRACE")
	c.rules(l)
	c.forwardedHeaders(l, tls)
	for _, s := range successors {
		c.line("use_backend", s.name, "if { stopping }"+s.when)
	}
	c.line("use_backend %[var(txn.tg)]-open if { var(txn.tg),nbsrv eq 0 }")
	c.line("use_backend %[var(txn.tg)]")
	for _, s := range successors {
		s.write(c)
	}
}

// A successor is the newest process, as those before it see it.
type successor struct{ name, socket, when, protocol string }

// handOver makes a process that is being replaced pass on what it is asked on the connections that it still has. So every
// request is decided by the newest rules and goes to a target of now, on whichever connection it comes; connections that
// are one long exchange, such as WebSockets, stay where they are.
func (c *compiler) handOver(l *model.Listener, tls bool) []successor {
	name := fmt.Sprintf("next-%d", l.Port)
	var all []successor
	if tls {
		h2 := successor{name + "-h2", fmt.Sprintf("%s%dh2", c.site.Next, l.Port), " { fc_http_major 2 }", " proto h2"}
		c.line("bind", quote("unix@"+h2.socket), "mode 600 accept-proxy proto h2")
		all = append(all, h2)
	}
	h1 := successor{name, fmt.Sprintf("%s%d", c.site.Next, l.Port), "", ""}
	c.line("bind", quote("unix@"+h1.socket), "mode 600 accept-proxy")
	c.line("http-request set-log-level silent if { stopping }")
	c.line("http-request allow if { stopping }")
	return append(all, h1)
}

func (s successor) write(c *compiler) {
	c.section("backend", s.name)
	c.line("server next", quote("unix@"+s.socket), "send-proxy-v2"+s.protocol)
}

// binds writes where the listener listens: at each interface, and at the address that clients outside the VPC use.
func (c *compiler) binds(l *model.Listener, options string) {
	for _, i := range c.lb.Interfaces {
		ns, ok := c.site.Namespaces[i.ID]
		if !ok || !address(i.Address) {
			c.problem("interface %s has no address here", i.ID)
			continue
		}
		c.line("bind", i.Address+":"+strconv.Itoa(int(l.Port)), "namespace", quote(ns)+options)
	}
	// That of a network load balancer leads to its interface, for its other listeners' sake.
	if public := c.lb.LoadBalancer.PublicAddress; address(public) && c.isHTTP() {
		c.line("bind", public+":"+strconv.Itoa(int(l.Port))+options)
	}
}

func address(text string) bool {
	_, err := netip.ParseAddr(text)
	return err == nil
}

// streams writes what a listener of a network load balancer does: all connections go to one target group.
func (c *compiler) streams(l *model.Listener) {
	groups := Groups(c.lb, l.DefaultActions)
	if len(groups) == 0 {
		c.problem("listener on port %d forwards to no target group", l.Port)
		return
	}
	backend := name(groups[0].ID)
	c.line("use_backend", backend+"-open if", "{ nbsrv("+backend+") eq 0 }")
	c.line("use_backend", backend)
}

// keepAlive ends connections of a client that are older than the load balancer allows: the last answer says so.
func (c *compiler) keepAlive() {
	seconds := number(attribute(c.lb.LoadBalancer.Attributes, "client_keep_alive.seconds"), 60, 604800)
	c.line("tcp-request session set-var(sess.since) date")
	c.linef("http-after-response set-header Connection close if { date,sub(sess.since) ge %d }", seconds)
}

// rules writes the listener's rules, the default action last.
func (c *compiler) rules(l *model.Listener) {
	var rules []model.ListenerRule
	for _, r := range c.lb.Rules {
		if r.ListenerID == l.ID {
			rules = append(rules, r)
		}
	}
	slices.SortFunc(rules, func(a, b model.ListenerRule) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.ID, b.ID))
	})
	if slices.ContainsFunc(rules, func(r model.ListenerRule) bool {
		return slices.ContainsFunc(r.Conditions, func(c model.RuleCondition) bool { return c.Field == "host-header" })
	}) {
		c.line("http-request set-var(txn.host) req.hdr(host),field(1,:),lower")
	}
	for _, r := range rules {
		label := "r" + strconv.Itoa(r.Priority)
		conditions, err := c.conditions(label, r.Conditions)
		if err != nil {
			c.problem("rule %d of the listener on port %d never matches: %v", r.Priority, l.Port, err)
			continue
		}
		c.action(label, strconv.Itoa(r.Priority), l, r.Actions, conditions)
	}
	c.action("default", "0", l, l.DefaultActions, nil)
}

// forwardedHeaders writes what a target learns of the client.
func (c *compiler) forwardedHeaders(l *model.Listener, tls bool) {
	set := c.lb.LoadBalancer.Attributes
	if enabled(set, "routing.http.drop_invalid_header_fields.enabled") {
		c.line("http-request del-header", quote("[^-A-Za-z0-9]"), "-m reg")
	}
	client := "%[src]"
	if enabled(set, "routing.http.xff_client_port.enabled") {
		client += ":%[src_port]"
	}
	switch attribute(set, "routing.http.xff_header_processing.mode") {
	case "append":
		// Several lines of this header are one list; the last gets the client. Each line sees what those before it did.
		c.line("http-request add-header X-Forwarded-For " + client + " if { req.fhdr_cnt(x-forwarded-for) gt 1 }")
		c.line(`http-request replace-header X-Forwarded-For ^(.*)$ "\1, ` + client + `" if { req.fhdr_cnt(x-forwarded-for) eq 1 }`)
		c.line("http-request set-header X-Forwarded-For " + client + " if { req.fhdr_cnt(x-forwarded-for) eq 0 }")
	case "remove":
		c.line("http-request del-header X-Forwarded-For")
	}
	proto := "http"
	if tls {
		proto = "https"
	}
	c.line("http-request set-header X-Forwarded-Proto", proto)
	c.linef("http-request set-header X-Forwarded-Port %d", l.Port)
	c.traceID()
	if tls && enabled(set, "routing.http.x_amzn_tls_version_and_cipher_suite.enabled") {
		c.line("http-request set-header X-Amzn-Tls-Version %[ssl_fc_protocol]")
		c.line("http-request set-header X-Amzn-Tls-Cipher-Suite %[ssl_fc_cipher]")
	}
	if !enabled(set, "routing.http.preserve_host_header.enabled") {
		c.hostHeader(l, tls)
	}
}

// traceID gives a request without a trace its root, and a link to it to one that has a root.
func (c *compiler) traceID() {
	id := "1-%[date,be2hex,bytes(8),lower]-%[rand,be2hex,bytes(8),lower]%[rand,be2hex,bytes(8),lower]%[rand,be2hex,bytes(8),lower]"
	if c.site.Access != "" {
		defer c.line("http-request set-var(txn.log_trace) req.fhdr(x-amzn-trace-id)")
	}
	c.line("acl has-root req.fhdr(x-amzn-trace-id) -m sub Root=")
	c.line("http-request set-header X-Amzn-Trace-Id Self=" + id + ";%[req.fhdr(x-amzn-trace-id)] if has-root")
	c.line("http-request set-header X-Amzn-Trace-Id Root=" + id + " if !has-root")
}

// hostHeader writes the Host header as AWS does unless it is to be preserved: with the listener's port, but without the
// port that the protocol has by default.
func (c *compiler) hostHeader(l *model.Listener, tls bool) {
	port := strconv.Itoa(int(l.Port))
	standard := !tls && l.Port == 80 || tls && l.Port == 443
	if standard {
		c.line("http-request replace-header Host "+quote("^(.*):"+port+"$"), `\\1`, "if { req.hdr(host) -m end :"+port+" }")
		return
	}
	c.line("http-request set-header Host %[req.hdr(host)]:"+port, "if { req.hdr(host) -m found } !{ req.hdr(host) -m sub : }")
}
