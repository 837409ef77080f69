package routing

import (
	"fmt"
	"strconv"
	"strings"

	"berth.dev/berth/internal/model"
)

// unless no earlier rule has decided.
const undecided = "!{ var(txn.tg) -m found }"

// action writes what a rule does when its conditions hold and no earlier rule has decided.
func (c *compiler) action(label, priority string, l *model.Listener, actions []model.BalancerAction, conditions []string) {
	when := "if " + strings.Join(append([]string{undecided}, conditions...), " ")
	if c.site.Access != "" {
		c.line(append([]string{"http-request set-var(txn.rule) str(" + priority + ") if !{ var(txn.rule) -m found }"}, conditions...)...)
	}
	for _, a := range actions {
		switch a.Type {
		case "forward":
			c.forward(label, a, when)
		case "redirect":
			c.redirect(a.Redirect, l, when)
		case "fixed-response":
			c.fixedResponse(a.FixedResponse, when)
		default:
			c.problem("action %q of rule %s", a.Type, priority)
			c.answer(500, "text/html", page("500 Internal Server Error"), when)
		}
	}
	if len(actions) == 0 {
		c.answer(503, "text/html", page("503 Service Temporarily Unavailable"), when)
	}
}

// forward chooses a target group. With several the choice is random by weight, and sticks by a cookie when that is wanted.
func (c *compiler) forward(label string, a model.BalancerAction, when string) {
	type share struct {
		backend string
		upTo    int
	}
	var shares []share
	total := 0
	for _, t := range a.TargetGroups {
		g, ok := c.groups[t.TargetGroupARN]
		if !ok {
			c.problem("rule %s forwards to %s, which is not known here", label, t.TargetGroupARN)
			continue
		}
		weight := int(t.Weight)
		if len(a.TargetGroups) == 1 {
			weight = 1
		}
		if weight > 0 {
			total += weight
			shares = append(shares, share{name(g.ID), total})
		}
	}
	if len(shares) == 0 {
		c.answer(503, "text/html", page("503 Service Temporarily Unavailable"), when)
		return
	}
	if len(shares) == 1 && a.StickySeconds == 0 {
		c.line("http-request set-var(txn.tg) str(" + shares[0].backend + ") " + when)
		return
	}
	// The choice is made in steps on a variable of its own, so that the rule counts as decided only at the end.
	chosen := "{ var(txn.choice) -m str " + label + " }"
	c.line("http-request set-var(txn.choice) str(" + label + ") " + when + " !{ var(txn.choice) -m found }")
	if a.StickySeconds > 0 {
		for _, s := range shares {
			c.line("http-request set-var(txn.tg) str("+s.backend+") if", chosen, "{ req.cook(AWSALBTG) -m str", cookie(s.backend), "} or", chosen,
				"{ req.cook(AWSALBTGCORS) -m str", cookie(s.backend), "}")
		}
	}
	c.linef("http-request set-var(txn.lot) rand(%d) if %s", total, chosen)
	for _, s := range shares {
		c.line("http-request set-var(txn.tg) str("+s.backend+") if", chosen, undecided, "{ var(txn.lot) -m int lt", strconv.Itoa(s.upTo), "}")
	}
	if a.StickySeconds > 0 {
		expires := fmt.Sprintf("Expires=%%[date(%d),http_date]", a.StickySeconds)
		for _, s := range shares {
			condition := "if " + chosen + " { var(txn.tg) -m str " + s.backend + " }"
			c.line(`http-response add-header Set-Cookie "AWSALBTG=`+cookie(s.backend)+`; `+expires+`; Path=/"`, condition)
			c.line(`http-response add-header Set-Cookie "AWSALBTGCORS=`+cookie(s.backend)+`; `+expires+`; Path=/; SameSite=None; Secure"`, condition)
		}
	}
}

// cookie is how a target group is called in a client's cookie.
func cookie(backend string) string { return digest("AWSALBTG" + backend) }

// answer writes a response of the load balancer's own.
func (c *compiler) answer(status int, contentType, body, when string, headers ...string) {
	words := []string{"http-request return status", strconv.Itoa(status)}
	if body != "" {
		words = append(words, "content-type", quote(contentType), "string", quote(body))
	}
	words = append(words, "hdr Server", ServerHeader)
	for i := 0; i < len(headers); i += 2 {
		words = append(words, "hdr", headers[i], headers[i+1])
	}
	c.line(append(words, when)...)
}

var contentTypes = []string{"text/plain", "text/css", "text/html", "application/javascript", "application/json"}

func (c *compiler) fixedResponse(r *model.FixedResponseAction, when string) {
	if r == nil {
		r = &model.FixedResponseAction{StatusCode: "503"}
	}
	contentType := "text/plain"
	for _, t := range contentTypes {
		if r.ContentType == t {
			contentType = t
		}
	}
	body := r.Body
	if !expressible(body) || len(body) > 1024 {
		c.problem("body of a fixed response is left out")
		body = ""
	}
	c.answer(number(r.StatusCode, 200, 599), contentType, body, when)
}

// redirect answers with another URL. Its members may have #{protocol}, #{host}, #{port}, #{path} and #{query}.
func (c *compiler) redirect(r *model.RedirectAction, l *model.Listener, when string) {
	if r == nil {
		r = &model.RedirectAction{StatusCode: "HTTP_302"}
	}
	member := func(value, byDefault string) string {
		if value == "" {
			return byDefault
		}
		return value
	}
	protocol := strings.ToLower(member(r.Protocol, "#{protocol}"))
	host, port := member(r.Host, "#{host}"), member(r.Port, "#{port}")
	path, query := member(r.Path, "/#{path}"), member(r.Query, "#{query}")
	for _, text := range []string{protocol, host, port, path, query} {
		if !expressible(text) || strings.ContainsAny(text, "\r\n") {
			c.problem("redirect to %q", text)
			c.answer(500, "text/html", page("500 Internal Server Error"), when)
			return
		}
	}
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	scheme := "http"
	if l.Protocol == "HTTPS" {
		scheme = "https"
	}
	keywords := strings.NewReplacer("%", "%%", "#{protocol}", scheme, "#{host}", "%[req.hdr(host),field(1,:)]", "#{port}", strconv.Itoa(int(l.Port)),
		"#{path}", "%[path,regsub(^/,)]", "#{query}", "%[query]")
	status, text := 302, "302 Found"
	if r.StatusCode == "HTTP_301" {
		status, text = 301, "301 Moved Permanently"
	}
	location := keywords.Replace(protocol + "://" + host + ":" + port + path)
	answer := func(location, when string) {
		c.answer(status, "text/html", page(text), when, "Location", quote(location))
	}
	// Without anything in the query there is no question mark either.
	if query == "#{query}" {
		answer(location, when+" !{ query -m len gt 0 }")
		answer(location+"?%[query]", when)
		return
	}
	answer(location+"?"+keywords.Replace(query), when)
}
