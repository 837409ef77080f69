package routing

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"berth.dev/berth/internal/model"
)

func TestHealth_Next(t *testing.T) {
	check := model.TargetHealthCheck{HealthyThreshold: 3, UnhealthyThreshold: 2}
	for _, test := range []struct {
		name    string
		results string // + passed, - failed
		states  string // i initial, h healthy, u unhealthy, after each
	}{
		{"one success makes a new target healthy", "+", "h"},
		{"a new target that fails", "--", "iu"},
		{"a new target that is late", "-+", "ih"},
		{"a failure is not enough", "+-+-+", "hhhhh"},
		{"failures in a row are", "+--", "hhu"},
		{"it takes successes in a row to come back", "--++-+++", "iuuuuuuh"},
		{"afterwards failures count from zero", "--+++-+--", "iuuuhhhhu"},
	} {
		h := Registered()
		var got strings.Builder
		for _, r := range test.results {
			result := Passed()
			if r == '-' {
				result = TimedOut()
			}
			h = h.Next(result, check)
			got.WriteString(h.State[:1])
			if (h.State == model.TargetHealthy) != (h.Reason == "") {
				t.Errorf("%s: %+v", test.name, h)
			}
		}
		if got.String() != test.states {
			t.Errorf("%s: %s gave %s, want %s", test.name, test.results, got.String(), test.states)
		}
	}
}

func TestVerdict(t *testing.T) {
	for _, test := range []struct {
		status string
		code   int
		want   Result
		known  bool
	}{
		{"INI", 0, Result{}, false},
		{"", 0, Result{}, false},
		{"L7OK", 200, Passed(), true},
		{"* L7OK", 200, Passed(), true},
		{"L4OK", 0, Passed(), true},
		{"L7STS", 404, Result{Reason: "Target.ResponseCodeMismatch", Description: "Health checks failed with these codes: [404]"}, true},
		{"L7TOUT", 0, Result{Reason: "Target.Timeout", Description: "Request timed out"}, true},
		{"L4TOUT", 0, TimedOut(), true},
		{"L4CON", 0, Result{Reason: "Target.FailedHealthChecks", Description: "Health checks failed"}, true},
		{"L7RSP", 0, Failed(), true},
	} {
		if got, known := Verdict(test.status, test.code); got != test.want || known != test.known {
			t.Errorf("%s %d: %+v %v, want %+v %v", test.status, test.code, got, known, test.want, test.known)
		}
	}
}

func TestServing(t *testing.T) {
	for _, test := range []struct {
		states string // h i u, capital: draining
		want   []int
	}{
		{"hhu", []int{0, 1}},
		{"Hhu", []int{1}},
		{"iu", []int{1}},
		{"uuU", []int{0, 1}},
		{"i", nil},
		{"HU", nil},
	} {
		got := Serving(len(test.states), func(i int) (string, bool) {
			states := map[string]string{"h": model.TargetHealthy, "i": model.TargetInitial, "u": model.TargetUnhealthy}
			letter := test.states[i : i+1]
			return states[strings.ToLower(letter)], letter != strings.ToLower(letter)
		})
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.states, got, test.want)
		}
	}
}

func TestMatches(t *testing.T) {
	for _, test := range []struct {
		matcher string
		code    int
		want    bool
	}{
		{"200", 200, true},
		{"200", 201, false},
		{"200,202", 202, true},
		{"200-299", 250, true},
		{"200-299", 300, false},
		{"200, 300 - 399", 301, true},
		{"", 200, false},
		{"x", 200, false},
		{"0-99", 12, true},
	} {
		if got := Matches(test.matcher, test.code); got != test.want {
			t.Errorf("%q and %d: %v", test.matcher, test.code, got)
		}
	}
}

func TestRuleset(t *testing.T) {
	lb := networkBalancer()
	lb.Interfaces = lb.Interfaces[:1]
	lb.Listeners[0].DefaultActions = forward(groupA, groupB) // weights 1 and 2
	lb.TargetGroups[1].Attributes = map[string]string{"preserve_client_ip.enabled": "true"}
	got := Ruleset(lb, "t", func(g *model.NodeTargetGroup) []netip.AddrPort {
		if g.ARN == groupA {
			return []netip.AddrPort{netip.MustParseAddrPort("10.0.1.2:80"), netip.MustParseAddrPort("10.0.1.1:80")}
		}
		return []netip.AddrPort{netip.MustParseAddrPort("10.0.2.1:81")}
	})
	want := `add table ip t
add chain ip t prerouting { type nat hook prerouting priority dstnat; }
add chain ip t postrouting { type nat hook postrouting priority srcnat; }
flush chain ip t prerouting
flush chain ip t postrouting
add rule ip t prerouting ip daddr 10.0.0.5 tcp dport 80 dnat ip addr . port to jhash ip saddr . tcp sport . ip daddr . tcp dport mod 6 seed 0x1 map { 0 : 10.0.1.1 . 80, 1 : 10.0.1.2 . 80, 2-5 : 10.0.2.1 . 81 }
add rule ip t postrouting ip daddr 10.0.1.1 tcp dport 80 ct original ip daddr 10.0.0.5 ct original proto-dst 80 snat to 10.0.0.5
add rule ip t postrouting ip daddr 10.0.1.2 tcp dport 80 ct original ip daddr 10.0.0.5 ct original proto-dst 80 snat to 10.0.0.5
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	none := Ruleset(lb, "t", func(*model.NodeTargetGroup) []netip.AddrPort { return nil })
	if strings.Contains(none, "add rule") {
		t.Errorf("rules without targets:\n%s", none)
	}
}

func TestPreservesClient(t *testing.T) {
	for _, test := range []struct {
		groupProtocol, targetType, attribute, packet string
		want                                         bool
	}{
		{"TCP", "ip", "", "tcp", false},
		{"TCP", "instance", "", "tcp", true},
		{"TCP", "ip", "true", "tcp", true},
		{"TCP", "instance", "false", "tcp", false},
		{"UDP", "ip", "", "udp", true},
		{"TCP_UDP", "ip", "", "tcp", true},
		{"UDP", "ip", "false", "udp", true},
	} {
		g := model.NodeTargetGroup{TargetGroup: model.TargetGroup{Protocol: test.groupProtocol, TargetType: test.targetType}}
		if test.attribute != "" {
			g.Attributes = map[string]string{"preserve_client_ip.enabled": test.attribute}
		}
		if got := PreservesClient(&g, test.packet); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}

func TestCompile_Network(t *testing.T) {
	lb := networkBalancer()
	if NeedsProcess(lb) {
		t.Error("a TCP listener is the kernel's")
	}
	lb.Listeners = append(lb.Listeners, model.Listener{ID: "tls", Port: 443, Protocol: "TLS", Certificates: []string{"cert-1"}, ALPNPolicy: []string{"HTTP2Preferred"}, DefaultActions: forward(groupB)})
	lb.TargetGroups[1].Attributes = map[string]string{"proxy_protocol_v2.enabled": "true"}
	lb.TargetGroups[1].HealthCheck.Protocol = "TCP"
	lb.Certificates = map[string]model.NodeTLSKey{"cert-1": keyPair(t, "www.example.com")}
	if !NeedsProcess(lb) {
		t.Error("a TLS listener is HAProxy's")
	}
	dir := t.TempDir()
	here := site(dir)
	here.Namespaces = map[string]string{"eni-1": "one", "eni-2": "two"}
	c := Compile(lb, here)
	if len(c.Pools) != 1 || c.Pools[0].TargetGroupID != lb.TargetGroups[1].ID {
		t.Errorf("pools %+v: only the TLS listener's group", c.Pools)
	}
	for _, want := range []string{"mode tcp", "alpn h2,http/1.1", "send-proxy-v2", "option tcp-check", "timeout client 350s"} {
		if !strings.Contains(c.Text, want) {
			t.Errorf("no %q in\n%s", want, c.Text)
		}
	}
	if strings.Contains(c.Text, "http-request") {
		t.Errorf("rules for requests in\n%s", c.Text)
	}
	needHAProxy(t)
	c.Text = strings.NewReplacer(" namespace one", "", " namespace two", "").Replace(c.Text) // they do not exist
	accepts(t, dir, c)
}

func TestName(t *testing.T) {
	seen := map[string]string{}
	for _, id := range []string{"targetgroup/a/0123456789abcdef", "targetgroup/a-b/c", "targetgroup/a/b-c", "targetgroup/a b/c", "targetgroup/a\tb/c", "", strings.Repeat("x", 200), "é/é"} {
		n := name(id)
		if other, ok := seen[n]; ok {
			t.Logf("%q and %q are both %s", id, other, n)
		}
		seen[n] = id
		if strings.ContainsAny(n, " \t\n/") || n == "" {
			t.Errorf("%q is called %q", id, n)
		}
	}
	if name("targetgroup/a/0123456789abcdef") != "a-0123456789abcdef" {
		t.Error("names should be readable")
	}
}

func TestStates(t *testing.T) {
	pools := []Pool{{TargetGroupID: "g", Backend: "a", Open: "a-open", Slots: 2, tls: true, checkPort: 9}}
	got := States(pools, func(p Pool, n int) (Slot, bool) {
		return Slot{Address: "10.0.0.9", Port: 80, Up: true, Checked: true}, n == 2
	})
	for _, want := range []string{
		" a 1 s1 0.0.0.0 0 1 1 1 0 1 0 0 14 0 0 0 target.invalid 1 - 1 9 - - 0",
		" a 2 s2 10.0.0.9 2 0 1 1 0 1 0 0 6 0 0 0 target.invalid 80 - 1 9 - - 0",
		" a-open 1 s1 0.0.0.0 0 1 1 1 0 1 0 0 8 0 0 0 target.invalid 1 - 1 0 - - 0",
		" a-open 2 s2 10.0.0.9 2 0 1 1 0 1 0 0 8 0 0 0 target.invalid 80 - 1 0 - - 0",
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestAccessLogLine(t *testing.T) {
	lb := everything()
	var f [fieldCount]string
	for i := range f {
		f[i] = "-"
	}
	for i, v := range map[int]string{
		fieldListener: "443", fieldSeconds: "1700000000", fieldMillis: "250", fieldClientAddress: "192.0.2.1", fieldClientPort: "5000",
		fieldTargetAddress: "10.0.0.9", fieldTargetPort: "80", fieldRequestTime: "1", fieldQueueTime: "0", fieldConnectTime: "2", fieldTargetTime: "30", fieldResponseTime: "4",
		fieldStatus: "200", fieldTargetStatus: "200", fieldReceived: "100", fieldSent: "5000", fieldMethod: "GET", fieldHost: "www.example.com", fieldPath: "/a%3Fb%09",
		fieldVersion: "HTTP/2.0", fieldUserAgent: "curl%20%22x%22", fieldCipher: "TLS_AES_128_GCM_SHA256", fieldProtocol: "TLSv1.3", fieldBackend: "a-aaaaaaaaaaaaaaaa",
		fieldTrace: "Root%3D1-2-3", fieldSNI: "www.example.com", fieldRule: "10", fieldUpgrade: "", fieldLocation: "",
	} {
		f[i] = v
	}
	at, line, ok := AccessLogLine(lb, strings.Join(f[:], "\t")+"\n")
	want := `h2 2023-11-14T22:13:20.287000Z app/web/0123456789abcdef 192.0.2.1:5000 10.0.0.9:80 0.002 0.030 0.004 200 200 100 5000 ` +
		`"GET https://www.example.com:443/a?b\x09 HTTP/2.0" "curl \x22x\x22" TLS_AES_128_GCM_SHA256 TLSv1.3 ` + groupA +
		` "Root=1-2-3" "www.example.com" "-" 10 2023-11-14T22:13:20.250000Z "forward" "-" "-" "10.0.0.9:80" "200" "-" "-"`
	if !ok || line != want || !at.Equal(time.UnixMilli(1700000000287)) {
		t.Errorf("%v %v\n%s\nwant\n%s", ok, at, line, want)
	}
	for _, broken := range []string{"", "a\tb", strings.Repeat("x\t", int(fieldCount)-1) + "x"} {
		if _, _, ok := AccessLogLine(lb, broken); ok {
			t.Errorf("%q is a record", broken)
		}
	}
}

func TestCompile_LeavesOutWhatCannotBe(t *testing.T) {
	lb := everything()
	lb.Listeners = lb.Listeners[:1]
	lb.Rules = nil
	for i, c := range []model.RuleCondition{
		{Field: "path-pattern", Regex: []string{"("}},
		{Field: "path-pattern", Regex: []string{"^$+"}},
		{Field: "path-pattern", Regex: []string{`\pL`}},
		{Field: "path-pattern", Values: []string{"\x00"}},
		{Field: "source-ip", Values: []string{"nowhere"}},
		{Field: "http-header", HeaderName: "a b", Values: []string{"x"}},
		{Field: "unknown", Values: []string{"x"}},
	} {
		lb.Rules = append(lb.Rules, model.ListenerRule{ListenerID: lb.Listeners[0].ID, Priority: i + 1, Conditions: []model.RuleCondition{c}, Actions: forward(groupB)})
	}
	c := Compile(lb, site("/x"))
	if len(c.Problems) < 7 || strings.Contains(c.Text, "str(b-bbbbbbbbbbbbbbbb)") {
		t.Errorf("a rule that lost its condition acts, problems:\n%s\n%s", strings.Join(c.Problems, "\n"), c.Text)
	}
	for i := range 7 {
		if !strings.Contains(strings.Join(c.Problems, "\n"), fmt.Sprintf("rule %d ", i+1)) {
			t.Errorf("nothing is said of rule %d: %v", i+1, c.Problems)
		}
	}
}
