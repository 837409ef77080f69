package lb

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"strings"
	"testing"
	"time"

	"berth.dev/berth/internal/model"
)

func rule(l *model.Listener, priority int, actions []model.BalancerAction, conditions ...model.RuleCondition) model.ListenerRule {
	return model.ListenerRule{ID: fmt.Sprintf("%s/%d", l.ID, priority), ListenerID: l.ID, Priority: priority, Conditions: conditions, Actions: actions}
}

func fixed(status, contentType, body string) []model.BalancerAction {
	return []model.BalancerAction{{Type: "fixed-response", FixedResponse: &model.FixedResponseAction{StatusCode: status, ContentType: contentType, Body: body}}}
}

func TestRules(t *testing.T) {
	l := newLab(t)
	one, two := l.site("one"), l.site("two")
	doc := l.balancer(one)
	doc.TargetGroups = append(doc.TargetGroups, targetGroup("other", two))
	other := forward(&doc.TargetGroups[1])
	here := &doc.Listeners[0]
	redirect := func(r model.RedirectAction) []model.BalancerAction {
		return []model.BalancerAction{{Type: "redirect", Redirect: &r}}
	}
	doc.Rules = []model.ListenerRule{
		rule(here, 5, other, model.RuleCondition{Field: "host-header", Values: []string{"*.Shop.example"}}),
		rule(here, 7, fixed("418", "text/plain", "short and \"stout\" 100%\n"), model.RuleCondition{Field: "path-pattern", Values: []string{"/tea*"}},
			model.RuleCondition{Field: "http-request-method", Values: []string{"GET"}}),
		rule(here, 8, fixed("200", "application/json", "{}"), model.RuleCondition{Field: "path-pattern", Values: []string{"/Case"}}),
		rule(here, 10, redirect(model.RedirectAction{Protocol: "HTTPS", Port: "443", StatusCode: "HTTP_301"}), model.RuleCondition{Field: "path-pattern", Values: []string{"/secure/*"}}),
		rule(here, 11, redirect(model.RedirectAction{Host: "new.#{host}", Path: "/moved/#{path}", Query: "was=#{query}", StatusCode: "HTTP_302"}),
			model.RuleCondition{Field: "path-pattern", Values: []string{"/old/?"}}),
		rule(here, 20, other, model.RuleCondition{Field: "http-header", HeaderName: "X-Kind", Values: []string{"other", "*ish"}}),
		rule(here, 21, other, model.RuleCondition{Field: "query-string", Query: []model.QueryArg{{Key: "v", Value: "2*"}, {Value: "beta"}}}),
		rule(here, 22, other, model.RuleCondition{Field: "path-pattern", Regex: []string{"^/r[0-9]+$"}}),
		rule(here, 23, other, model.RuleCondition{Field: "source-ip", Values: []string{two.eni.Address + "/32"}}),
		rule(here, 50, other, model.RuleCondition{Field: "path-pattern", Values: []string{"/tea*"}}), // 7 comes first
	}
	l.apply(l.start(), doc)
	l.healthy(doc.LoadBalancer.ID, one, two)
	c := l.client(l.host)
	base := "http://" + publicAddress + ":80"
	for _, test := range []struct {
		path    string
		headers []string
		status  int
		body    string
		header  string // a header's name and value
	}{
		{"/", nil, 200, "one", ""},
		{"/", []string{"Host", "www.shop.EXAMPLE:80"}, 200, "two", ""},
		{"/", []string{"Host", "shop.example"}, 200, "one", ""},
		{"/tea/time", nil, 418, "short and \"stout\" 100%\n", "Server: awselb/2.0"},
		{"/tea/time", []string{"Host", "a.shop.example"}, 200, "two", ""},
		{"/Case", nil, 200, "{}", "Content-Type: application/json"},
		{"/case", nil, 200, "one", ""},
		{"/secure/a%20b?x=1&y=2", []string{"Host", "www.example"}, 301, "*", "Location: https://www.example:443/secure/a%20b?x=1&y=2"},
		{"/secure/", []string{"Host", "www.example:80"}, 301, "*", "Location: https://www.example:443/secure/"},
		{"/old/7?q=%0d", []string{"Host", "x.example"}, 302, "*", "Location: http://new.x.example:80/moved/old/7?was=q=%0d"},
		{"/old/77", nil, 200, "one", ""},
		{"/", []string{"X-Kind", "OTHER"}, 200, "two", ""},
		{"/", []string{"X-Kind", "no", "X-Kind", "smallish"}, 200, "two", ""},
		{"/", []string{"X-Kind", "othe"}, 200, "one", ""},
		{"/?v=21", nil, 200, "two", ""},
		{"/?V=2", nil, 200, "two", ""},
		{"/?w=2&v=1", nil, 200, "one", ""},
		{"/?any=BETA", nil, 200, "two", ""},
		{"/?any=betamax", nil, 200, "one", ""},
		{"/r2", nil, 200, "two", ""},
		{"/r2d2", nil, 200, "one", ""},
	} {
		got := get(t, c, base+test.path, test.headers...)
		if got.status != test.status || test.body != "*" && got.body != test.body {
			t.Errorf("%s %v: %d %q, want %d %q", test.path, test.headers, got.status, got.body, test.status, test.body)
		}
		if key, value, ok := strings.Cut(test.header, ": "); ok && got.header.Get(key) != value {
			t.Errorf("%s: %s is %q, want %q", test.path, key, got.header.Get(key), value)
		}
	}
	if got := get(t, l.client(two.path), "http://"+doc.Interfaces[0].Address+":80/").body; got != "two" {
		t.Errorf("from %s: %s, want two", two.eni.Address, got)
	}
}

// TestHeaders: what a target learns of the client, with and without what the client says itself.
func TestHeaders(t *testing.T) {
	l := newLab(t)
	one, client := l.site("one"), l.site("client")
	doc := l.balancer(one)
	a := l.start()
	l.apply(a, doc)
	l.healthy(doc.LoadBalancer.ID, one)
	c := l.client(client.path)
	url := "http://" + doc.Interfaces[0].Address + ":80/echo"
	from := client.eni.Address

	echo := get(t, c, url, "Host", "a.example:80").body
	for header, want := range map[string]string{"Host": "a.example", "X-Forwarded-For": from, "X-Forwarded-Proto": "http", "X-Forwarded-Port": "80"} {
		if got := strings.TrimSpace(after(echo, header+": ")); got != want {
			t.Errorf("%s: %q, want %q", header, got, want)
		}
	}
	if peer, _, _ := strings.Cut(after(echo, "Peer: "), ":"); peer != doc.Interfaces[0].Address {
		t.Errorf("connection from %s, want the load balancer's interface", peer)
	}
	trace := strings.TrimSpace(after(echo, "X-Amzn-Trace-Id: "))
	if len(trace) != len("Root=1-12345678-123456789012345678901234") || !strings.HasPrefix(trace, "Root=1-") {
		t.Errorf("trace %q", trace)
	}
	echo = get(t, c, url, "X-Forwarded-For", "192.0.2.7", "X-Forwarded-Proto", "gopher", "X-Amzn-Trace-Id", trace, "Bad_Name!", "x").body
	if got, want := strings.TrimSpace(after(echo, "X-Forwarded-For: ")), "192.0.2.7, "+from; got != want {
		t.Errorf("X-Forwarded-For: %q, want %q", got, want)
	}
	if got := strings.TrimSpace(after(echo, "X-Amzn-Trace-Id: ")); !strings.HasPrefix(got, "Self=1-") || !strings.HasSuffix(got, ";"+trace) {
		t.Errorf("trace %q does not continue %q", got, trace)
	}
	if !strings.Contains(echo, "X-Forwarded-Proto: http\r") {
		t.Errorf("X-Forwarded-Proto was believed:\n%s", echo)
	}

	for _, test := range []struct {
		attributes map[string]string
		want, not  string
	}{
		{map[string]string{"routing.http.xff_header_processing.mode": "remove"}, "", "X-Forwarded-For"},
		{map[string]string{"routing.http.xff_header_processing.mode": "preserve"}, "X-Forwarded-For: 192.0.2.7\r", from + "\r"},
		{map[string]string{"routing.http.xff_client_port.enabled": "true"}, "X-Forwarded-For: 192.0.2.7, " + from + ":", ""},
		{map[string]string{"routing.http.drop_invalid_header_fields.enabled": "true"}, "", "Bad_name!"},
		{map[string]string{"routing.http.preserve_host_header.enabled": "true"}, "Host: b.example:80", ""},
	} {
		changed := copyOf(doc)
		changed.LoadBalancer.Attributes = test.attributes
		l.apply(a, changed)
		l.eventually(fmt.Sprint(test.attributes), func() bool {
			echo := get(t, c, url, "Host", "b.example:80", "X-Forwarded-For", "192.0.2.7", "Bad_Name!", "x").body
			return strings.Contains(echo, test.want) && (test.not == "" || !strings.Contains(strings.ToLower(echo), strings.ToLower(test.not)))
		})
	}
}

func TestWeightsAndStickiness(t *testing.T) {
	l := newLab(t)
	one, two, three := l.site("one"), l.site("two"), l.site("three")
	doc := l.balancer(one, two)
	doc.TargetGroups = append(doc.TargetGroups, targetGroup("other", three))
	both := forward(&doc.TargetGroups[0], &doc.TargetGroups[1])
	both[0].TargetGroups[0].Weight = 3
	never := forward(&doc.TargetGroups[0], &doc.TargetGroups[1])
	never[0].TargetGroups[1].Weight = 0
	sticky := forward(&doc.TargetGroups[0], &doc.TargetGroups[1])
	sticky[0].StickySeconds = 60
	here := &doc.Listeners[0]
	here.DefaultActions = both
	doc.Rules = []model.ListenerRule{
		rule(here, 1, never, model.RuleCondition{Field: "path-pattern", Values: []string{"/never"}}),
		rule(here, 2, sticky, model.RuleCondition{Field: "path-pattern", Values: []string{"/sticky"}}),
	}
	a := l.start()
	l.apply(a, doc)
	l.healthy(doc.LoadBalancer.ID, one, two, three)
	c := l.client(l.host)
	base := "http://" + publicAddress + ":80"
	count := func(path string, n int, headers ...string) map[string]int {
		seen := map[string]int{}
		for range n {
			seen[get(t, c, base+path, headers...).body]++
		}
		return seen
	}
	// 300 draws with a chance of 1/4: 40 and 115 are more than five standard deviations away.
	if seen := count("/", 300); seen["three"] < 40 || seen["three"] > 115 || seen["one"] == 0 || seen["two"] == 0 {
		t.Errorf("weights 3:1 gave %v", seen)
	}
	if seen := count("/never", 40); seen["three"] > 0 {
		t.Errorf("weight 0 gave %v", seen)
	}
	first := get(t, c, base+"/sticky")
	chosen := setCookie(first, "AWSALBTG")
	if chosen == "" || setCookie(first, "AWSALBTGCORS") != chosen || !strings.Contains(strings.Join(first.header["Set-Cookie"], "\n"), "Expires=") {
		t.Fatalf("cookies %v", first.header["Set-Cookie"])
	}
	want := count("/sticky", 30, "Cookie", "a=b; AWSALBTG="+chosen)
	if (want["three"] > 0) == (want["one"]+want["two"] > 0) {
		t.Errorf("a client that sticks to one group got %v", want)
	}

	stuck := copyOf(doc)
	stuck.Listeners[0].DefaultActions = forward(&doc.TargetGroups[0])
	stuck.Rules = nil
	stuck.TargetGroups[0].Attributes = map[string]string{"stickiness.enabled": "true"}
	l.apply(a, stuck)
	var cookie, name string
	l.eventually("a cookie", func() bool {
		first := get(t, c, base+"/")
		cookie, name = setCookie(first, "AWSALB"), first.body
		return cookie != "" && setCookie(first, "AWSALBCORS") == cookie
	})
	for _, header := range []string{"AWSALB=" + cookie, "AWSALBCORS=" + cookie} {
		if seen := count("/", 20, "Cookie", header); seen[name] != 20 {
			t.Errorf("a client with %s of %s got %v", header, name, seen)
		}
	}
	// A target that drains loses its clients at once, and they stick to another.
	drained := copyOf(stuck)
	for i, s := range []*site{one, two} {
		drained.TargetGroups[0].Targets[i].Draining = s.name == name
	}
	l.apply(a, drained)
	l.eventually("another target", func() bool {
		other := get(t, c, base+"/", "Cookie", "AWSALB="+cookie)
		return other.body != name && setCookie(other, "AWSALB") != cookie
	})

	app := copyOf(stuck)
	app.TargetGroups[0].Attributes = map[string]string{"stickiness.enabled": "true", "stickiness.type": "app_cookie", "stickiness.app_cookie.cookie_name": "SID"}
	for _, s := range []*site{one, two} {
		s.handle(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/login" {
				http.SetCookie(w, &http.Cookie{Name: "SID", Value: "1"})
			}
			io.WriteString(w, s.name)
		})
	}
	l.apply(a, app)
	l.eventually("an application's cookie binds", func() bool {
		login := get(t, c, base+"/login")
		cookie, name = setCookie(login, "AWSALBAPP-0"), login.body
		return cookie != ""
	})
	if got := get(t, c, base+"/"); setCookie(got, "AWSALBAPP-0") != "" {
		t.Error("a client is bound before the application sets its cookie")
	}
	if seen := count("/", 20, "Cookie", "SID=1; AWSALBAPP-0="+cookie); seen[name] != 20 {
		t.Errorf("a client bound to %s got %v", name, seen)
	}
}

func setCookie(a answer, name string) string {
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// TestOwnAnswers: what clients get when no target answers.
func TestOwnAnswers(t *testing.T) {
	l := newLab(t)
	one := l.site("one")
	doc := l.balancer()
	a := l.start()
	l.apply(a, doc)
	c := l.client(l.host)
	url := "http://" + publicAddress + ":80/"
	l.healthy(doc.LoadBalancer.ID)
	expect := func(status int, title string) {
		t.Helper()
		got := get(t, c, url)
		if got.status != status || !strings.Contains(got.body, "<h1>"+title+"</h1>") || got.header.Get("Server") != "awselb/2.0" {
			t.Errorf("%d %q %v, want %d %s", got.status, got.body, got.header, status, title)
		}
	}
	expect(503, "503 Service Temporarily Unavailable") // no target
	doc.TargetGroups[0].Targets = []model.NodeTarget{one.target()}
	doc.TargetGroups[0].HealthCheck.IntervalSeconds = 300 // health does not change while we look
	l.apply(a, doc)
	l.healthy(doc.LoadBalancer.ID, one)
	one.handle(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(503)
		io.WriteString(w, "mine")
	})
	if got := get(t, c, url); got.status != 503 || got.body != "mine" || got.header.Get("Server") != "" {
		t.Errorf("a target's own 503 became %v", got)
	}
	one.handle(func(w http.ResponseWriter, r *http.Request) {
		conn, _, _ := w.(http.Hijacker).Hijack()
		conn.Close()
	})
	expect(502, "502 Bad Gateway") // closed without an answer
	one.handle(func(w http.ResponseWriter, r *http.Request) {
		conn, _, _ := w.(http.Hijacker).Hijack()
		io.WriteString(conn, "what?\r\n\r\n")
		conn.Close()
	})
	expect(502, "502 Bad Gateway") // nonsense
	one.stop()
	expect(502, "502 Bad Gateway") // refused

	full := copyOf(doc)
	full.LoadBalancer.Attributes = map[string]string{"idle_timeout.timeout_seconds": "1"}
	one.serve(t)
	released := make(chan struct{})
	defer close(released)
	one.handle(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-released:
		case <-r.Context().Done():
		}
	})
	l.apply(a, full)
	l.eventually("504", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, "GET", url, nil)
		resp, err := c.Do(req)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode == 504 && strings.Contains(string(body), "<h1>504 Gateway Time-out</h1>")
	})
}

func TestTLS(t *testing.T) {
	l := newLab(t)
	one := l.site("one")
	doc := l.balancer(one)
	doc.Certificates = map[string]model.NodeTLSKey{"cert-a": keyPair(t, "a.example"), "cert-b": keyPair(t, "b.example"), "cert-bad": {Certificate: "no"}}
	doc.Listeners = append(doc.Listeners, model.Listener{
		ID: "https", Port: 443, Protocol: "HTTPS", SSLPolicy: "ELBSecurityPolicy-TLS13-1-2-2021-06",
		Certificates: []string{"cert-a", "cert-b", "cert-bad"}, DefaultActions: forward(&doc.TargetGroups[0]),
	})
	a := l.start()
	l.apply(a, doc)
	l.healthy(doc.LoadBalancer.ID, one)
	connect := func(name string, least, most uint16) (tls.ConnectionState, error) {
		raw, err := dial(t.Context(), l.host, netip.MustParseAddrPort(publicAddress+":443"))
		must(t, err)
		defer raw.Close()
		conn := tls.Client(raw, &tls.Config{ServerName: name, InsecureSkipVerify: true, MinVersion: least, MaxVersion: most, NextProtos: []string{"h2", "http/1.1"}})
		err = conn.Handshake()
		return conn.ConnectionState(), err
	}
	for name, want := range map[string]string{"a.example": "a.example", "b.example": "b.example", "c.example": "a.example"} {
		s, err := connect(name, 0, 0)
		must(t, err)
		if got := s.PeerCertificates[0].DNSNames[0]; got != want || s.NegotiatedProtocol != "h2" || s.Version != tls.VersionTLS13 {
			t.Errorf("%s: certificate %s, protocol %s, version %x", name, got, s.NegotiatedProtocol, s.Version)
		}
	}
	if _, err := connect("a.example", tls.VersionTLS10, tls.VersionTLS11); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
	c := l.client(l.host)
	tr := c.Transport.(*http.Transport)
	tr.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	tr.ForceAttemptHTTP2 = true
	echo := get(t, c, "https://"+publicAddress+":443/echo").body
	if !strings.Contains(echo, "Proto: HTTP/1.1") || !strings.Contains(echo, "X-Forwarded-Proto: https") || !strings.Contains(echo, "X-Forwarded-Port: 443") {
		t.Errorf("echo:\n%s", echo)
	}
	// A certificate that is imported again is served without a new start.
	renewed := copyOf(doc)
	renewed.Certificates["cert-a"] = keyPair(t, "a2.example")
	l.apply(a, renewed)
	l.eventually("the new certificate", func() bool {
		s, err := connect("a.example", 0, 0)
		return err == nil && s.PeerCertificates[0].DNSNames[0] == "a2.example"
	})
}

// TestHTTP2Targets: groups of version HTTP2 and GRPC are spoken to, and checked, in HTTP/2.
func TestHTTP2Targets(t *testing.T) {
	l := newLab(t)
	h2c := func(s *http.Server) {
		s.Protocols = new(http.Protocols)
		s.Protocols.SetUnencryptedHTTP2(true)
	}
	one, two := l.site("one", h2c), l.site("two", h2c)
	two.handle(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		if r.URL.Path == "/AWS.ALB/healthcheck" {
			w.Header().Set("Grpc-Status", "12")
			return
		}
		w.Header().Set("Trailer", "Grpc-Status")
		io.Copy(w, r.Body)
		w.Header().Set("Grpc-Status", "0")
	})
	doc := l.balancer(one)
	doc.TargetGroups[0].ProtocolVersion = "HTTP2"
	rpc := targetGroup("rpc", two)
	rpc.ProtocolVersion, rpc.HealthCheck.Path, rpc.HealthCheck.GRPCCodes = "GRPC", "/AWS.ALB/healthcheck", "12"
	doc.TargetGroups = append(doc.TargetGroups, rpc)
	doc.Certificates = map[string]model.NodeTLSKey{"cert-a": keyPair(t, "a.example")}
	doc.Listeners = append(doc.Listeners, model.Listener{ID: "https", Port: 443, Protocol: "HTTPS", Certificates: []string{"cert-a"}, DefaultActions: forward(&doc.TargetGroups[0])})
	doc.Rules = []model.ListenerRule{rule(&doc.Listeners[1], 1, forward(&rpc), model.RuleCondition{Field: "path-pattern", Values: []string{"/my.Service/*"}})}
	l.apply(l.start(), doc)
	l.healthy(doc.LoadBalancer.ID, one, two)
	if echo := get(t, l.client(l.host), "http://"+publicAddress+":80/echo").body; !strings.Contains(echo, "Proto: HTTP/2.0") {
		t.Errorf("echo:\n%s", echo)
	}
	// HAProxy's own check has to pass too: it would take the target out otherwise.
	c := l.client(l.host)
	tr := c.Transport.(*http.Transport)
	tr.TLSClientConfig, tr.ForceAttemptHTTP2 = &tls.Config{InsecureSkipVerify: true}, true
	l.checked(doc, 2)
	req, err := http.NewRequestWithContext(t.Context(), "POST", "https://"+publicAddress+":443/my.Service/Call", strings.NewReader("\x00message"))
	must(t, err)
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("TE", "trailers")
	resp, err := c.Do(req)
	must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "\x00message" || resp.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("%q %v %v", body, resp.Trailer, err)
	}
	l.healthy(doc.LoadBalancer.ID, one, two)
	if got := get(t, c, "https://"+publicAddress+":443/my.Service/Call").status; got != 464 {
		t.Errorf("GET to a gRPC group: %d, want 464", got)
	}
}

// checked waits until HAProxy itself has checked n targets and found them well.
func (l *lab) checked(doc *model.NodeLoadBalancer, n int) {
	l.t.Helper()
	l.eventually("HAProxy's checks pass", func() bool {
		passed := 0
		for _, s := range l.slots(doc) {
			if strings.HasSuffix(s.check, "L7OK") && s.up() {
				passed++
			}
		}
		return passed == n
	})
}

// slots are a load balancer's servers as its HAProxy knows them.
func (l *lab) slots(doc *model.NodeLoadBalancer) map[serverName]server {
	l.t.Helper()
	m, err := New(l.config())
	must(l.t, err)
	all, err := servers(l.t.Context(), m.newBalancer(m.directory(doc.LoadBalancer.ID)).admin)
	must(l.t, err)
	return all
}

// TestWebSocketSurvivesARuleChange: a reload ends no connection.
func TestWebSocketSurvivesARuleChange(t *testing.T) {
	l := newLab(t)
	one := l.site("one")
	one.handle(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" {
			io.WriteString(w, "one")
			return
		}
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
		io.Copy(conn, rw)
	})
	doc := l.balancer(one)
	a := l.start()
	l.apply(a, doc)
	l.healthy(doc.LoadBalancer.ID, one)
	ws, err := dial(t.Context(), l.host, netip.MustParseAddrPort(publicAddress+":80"))
	must(t, err)
	defer ws.Close()
	ws.SetDeadline(time.Now().Add(30 * time.Second))
	io.WriteString(ws, "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
	head := readUntil(t, ws, "\r\n\r\n")
	if !strings.HasPrefix(head, "HTTP/1.1 101") {
		t.Fatalf("no upgrade: %s", head)
	}
	say := func(what string) {
		t.Helper()
		io.WriteString(ws, what)
		readUntil(t, ws, what)
	}
	say("before.")
	old := l.pids(doc)
	for i := range 3 {
		changed := copyOf(doc)
		changed.Rules = []model.ListenerRule{rule(&changed.Listeners[0], 1, fixed("200", "text/plain", fmt.Sprint("new", i)), model.RuleCondition{Field: "path-pattern", Values: []string{"/new"}})}
		l.apply(a, changed)
		fresh := l.client(l.host)
		fresh.Transport = onceOnly(fresh)
		l.eventually("the new rule", func() bool {
			return get(t, fresh, "http://"+publicAddress+":80/new").body == fmt.Sprint("new", i)
		})
		say("during.")
	}
	if now := l.pids(doc); len(now) < 2 || now[0] != old[0] {
		t.Errorf("processes %v before and %v after: the first should live", old, now)
	}
	ws.Close()
	l.eventually("the old processes end", func() bool { return len(l.pids(doc)) == 1 })
}

func readUntil(t *testing.T, c net.Conn, end string) string {
	t.Helper()
	var got []byte
	one := make([]byte, 1)
	for !strings.HasSuffix(string(got), end) {
		if _, err := io.ReadFull(c, one); err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		got = append(got, one...)
	}
	return string(got)
}

// TestOldConnectionsGetNewRules: a request on a connection of before a reload is decided by the rules of after it, and its
// target learns the same of the client.
func TestOldConnectionsGetNewRules(t *testing.T) {
	l := newLab(t)
	one, two, client := l.site("one"), l.site("two"), l.site("client")
	doc := l.balancer(one)
	doc.Certificates = map[string]model.NodeTLSKey{"cert-a": keyPair(t, "a.example")}
	doc.Listeners = append(doc.Listeners, model.Listener{ID: "https", Port: 443, Protocol: "HTTPS", Certificates: []string{"cert-a"}, DefaultActions: forward(&doc.TargetGroups[0])})
	a := l.start()
	l.apply(a, doc)
	l.healthy(doc.LoadBalancer.ID, one)
	at := doc.Interfaces[0].Address
	h1, s1, h2 := l.client(client.path), l.client(client.path), l.client(client.path)
	s1.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	h2.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	h2.Transport.(*http.Transport).ForceAttemptHTTP2 = true
	open := map[string]*http.Client{"http://" + at + ":80/": h1, "https://" + at + ":443/": s1, "https://" + at + ":443/?h2": h2}
	for url, c := range open {
		if got := get(t, c, url).body; got != "one" {
			t.Fatalf("%s: %q", url, got)
		}
	}
	changed := copyOf(doc)
	changed.TargetGroups = []model.NodeTargetGroup{targetGroup("other", two)}
	for i := range changed.Listeners {
		changed.Listeners[i].DefaultActions = forward(&changed.TargetGroups[0])
	}
	l.apply(a, changed)
	l.healthy(doc.LoadBalancer.ID, two)
	if n := len(l.pids(doc)); n != 2 {
		t.Fatalf("%d processes, want the old one too, for its connections", n)
	}
	one.stop()
	for url, c := range open {
		var reused bool
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }})
		req, err := http.NewRequestWithContext(ctx, "POST", url, nil)
		must(t, err)
		req.URL.Path = "/echo"
		resp, err := c.Do(req)
		must(t, err)
		echo, err := io.ReadAll(resp.Body)
		must(t, err, resp.Body.Close())
		peer, _, _ := strings.Cut(after(string(echo), "Peer: "), ":")
		kept := reused || resp.ProtoMajor == 2 // a client of HTTP/2 is told to make another
		if resp.StatusCode != 200 || !kept || peer != at ||
			strings.TrimSpace(after(string(echo), "X-Forwarded-For: ")) != client.eni.Address {
			t.Errorf("%s on a connection of before (%v): %d\n%s", url, reused, resp.StatusCode, echo)
		}
	}
}
