package routing

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/model"
)

// hostile draws text that tries to leave the place that it is written to.
func hostile() *rapid.Generator[string] {
	pieces := rapid.SampledFrom([]string{
		"\n", "\r\n", "\n  bind 127.0.0.1:1", " if TRUE", "\"", "'", "\\", "\\x", "\\\\\n", "#", "$", "${HOME}", "%", "%%", "%[env(HOME)]", "%{", "%[",
		"{", "}", "||", "!", "-f /etc/passwd", "-f", "--", "-m", "-i", "(", ")", "(?", "[", "]", "[^", "*", "?", ",", ";", "\t", "\x00", "\x7f", "é", "\xff", "#{host}", "#{path}", "#{", "a", "Z", "0", "/", ".",
		" ", "\\1", "\\Q", "(?i)", "a{1000}", "a{1001}", "(?P<x>a)", "[[:alpha:]]", "\\d+", "x*y?", "+", "|", "^$",
	})
	return rapid.Map(rapid.SliceOfN(pieces, 0, 6), func(p []string) string { return strings.Join(p, "") })
}

func conditionGen() *rapid.Generator[model.RuleCondition] {
	return rapid.Custom(func(t *rapid.T) model.RuleCondition {
		c := model.RuleCondition{
			Field:      rapid.SampledFrom([]string{"host-header", "path-pattern", "http-header", "http-request-method", "query-string", "source-ip", "weird\nfield"}).Draw(t, "field"),
			HeaderName: rapid.OneOf(hostile(), rapid.Just("X-A")).Draw(t, "header"),
			Values:     rapid.SliceOfN(rapid.OneOf(hostile(), rapid.Just("10.0.0.0/8")), 0, 3).Draw(t, "values"),
			Regex:      rapid.SliceOfN(hostile(), 0, 2).Draw(t, "regex"),
		}
		for range rapid.IntRange(0, 2).Draw(t, "pairs") {
			c.Query = append(c.Query, model.QueryArg{Key: hostile().Draw(t, "key"), Value: hostile().Draw(t, "value")})
		}
		return c
	})
}

func actionGen() *rapid.Generator[[]model.BalancerAction] {
	return rapid.Custom(func(t *rapid.T) []model.BalancerAction {
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			a := forward(groupA, groupB, hostile().Draw(t, "arn"))
			a[0].StickySeconds = int32(rapid.IntRange(0, 10).Draw(t, "sticky"))
			return a
		case 1:
			return []model.BalancerAction{{Type: "fixed-response", FixedResponse: &model.FixedResponseAction{
				StatusCode: rapid.OneOf(hostile(), rapid.SampledFrom([]string{"200", "404", "503", "999"})).Draw(t, "status"), ContentType: hostile().Draw(t, "type"), Body: hostile().Draw(t, "body"),
			}}}
		case 2:
			draw := func(label string) string { return hostile().Draw(t, label) }
			return []model.BalancerAction{{Type: "redirect", Redirect: &model.RedirectAction{
				Protocol: draw("protocol"), Host: draw("host"), Port: draw("port"),
				Path: draw("path"), Query: draw("query"), StatusCode: draw("status"),
			}}}
		}
		return []model.BalancerAction{{Type: hostile().Draw(t, "type")}}
	})
}

func balancerGen() *rapid.Generator[*model.NodeLoadBalancer] {
	return rapid.Custom(func(t *rapid.T) *model.NodeLoadBalancer {
		lb := everything()
		draw := func(label string) string { return hostile().Draw(t, label) }
		lb.LoadBalancer.ARN, lb.Listeners[0].ARN = draw("arn"), draw("listener")
		lb.Listeners = lb.Listeners[:1]
		lb.Listeners[0].DefaultActions = actionGen().Draw(t, "default")
		lb.LoadBalancer.Attributes = map[string]string{
			"idle_timeout.timeout_seconds": draw("idle"), "routing.http.xff_header_processing.mode": draw("mode"),
			"client_keep_alive.seconds": draw("alive"),
		}
		g := &lb.TargetGroups[0]
		g.HealthCheck.Path, g.HealthCheck.HTTPCodes, g.HealthCheck.Port, g.Attributes = draw("path"), draw("codes"), draw("port"), map[string]string{
			"stickiness.enabled": "true", "stickiness.type": "app_cookie", "stickiness.app_cookie.cookie_name": draw("cookie"),
			"slow_start.duration_seconds": draw("slow"), "load_balancing.algorithm.type": draw("algorithm"),
		}
		lb.TargetGroups[2].HealthCheck.GRPCCodes = draw("grpc")
		lb.TargetGroups[1].ID = draw("id")
		lb.Rules = nil
		for i := range rapid.IntRange(0, 4).Draw(t, "rules") {
			lb.Rules = append(lb.Rules, model.ListenerRule{
				ID: fmt.Sprint(i), ListenerID: lb.Listeners[0].ID, Priority: i + 1,
				Conditions: rapid.SliceOfN(conditionGen(), 0, 3).Draw(t, "conditions"), Actions: actionGen().Draw(t, "actions"),
			})
		}
		return lb
	})
}

// TestCompile_NobodyGetsOut: whatever users write, HAProxy takes the configuration, every line of it is one of ours, and the
// same document gives the same text.
func TestCompile_NobodyGetsOut(t *testing.T) {
	needHAProxy(t)
	dir := t.TempDir()
	ours := regexp.MustCompile(`^(#|global$|ring access$|defaults$|(frontend|backend) [A-Za-z0-9-]+$|  (#|acl [a-z0-9-]+ |balance |bind (127\.64\.0\.1:\d+$|unix@)|cookie |default|dynamic-cookie-key |format |` +
		`http-after-response |http-check |http-error |http-request |http-response |load-server|log |log-format |maxconn |maxlen |mode |noreuseport|option |retries |server next |server agent |server-state-file |` +
		`server |size |ssl-load|stats (socket|timeout) |tcp-request session |timeout |tune\.|use_backend )|$)`)
	rapid.Check(t, func(t *rapid.T) {
		lb := balancerGen().Draw(t, "load balancer")
		c := Compile(lb, site(dir))
		for line := range strings.Lines(c.Text) {
			if !ours.MatchString(strings.TrimSuffix(line, "\n")) {
				t.Fatalf("line %q is not ours", line)
			}
		}
		if strings.Count(c.Text, "\n  bind ") != 2 {
			t.Fatalf("bind lines:\n%s", c.Text)
		}
		if again := Compile(lb, site(dir)); again.Text != c.Text {
			t.Fatal("another text of the same document")
		}
		accepts(t, dir, c)
	})
}

// TestCheckRegex_SpeaksForPCRE2: HAProxy takes every regular expression that checkRegex does.
func TestCheckRegex_SpeaksForPCRE2(t *testing.T) {
	needHAProxy(t)
	dir := t.TempDir()
	marks := []string{"^", "$", "*", "+", "?", "*?", "(", "(?:", "(?i)", "(?s:", ")", "[", "[^", "]", "{", "}", "{2}", "{,3}", "{1,}", "|", `\\`, `\b`, `\B`, `\A`,
		`\d`, `\W`, `\s`, `\x41`, `\x{41}`, `\n`, `\-`, "-", ".", "a", "b-d", "0", ",", ":", "/", "=", "!", "<", "#", " "}
	for seed := range uint64(10) { // each starts HAProxy once, which names the one that it refuses
		random := rand.New(rand.NewPCG(seed, 1))
		var accepted []string
		for len(accepted) < 400 {
			e := ""
			for range 1 + random.IntN(7) {
				e += marks[random.IntN(len(marks))]
			}
			if checkRegex(e) == nil {
				accepted = append(accepted, e)
			}
		}
		lb := everything()
		lb.Rules = nil
		for i, some := range slices.Collect(slices.Chunk(accepted, 20)) {
			lb.Rules = append(lb.Rules, model.ListenerRule{
				ID: fmt.Sprint(i), ListenerID: lb.Listeners[0].ID, Priority: i + 1, Actions: forward(groupA),
				Conditions: []model.RuleCondition{{Field: "path-pattern", Regex: some}},
			})
		}
		accepts(t, dir, Compile(lb, site(dir)))
	}
}

// TestQuote: a quoted word is one word that means the text.
func TestQuote(t *testing.T) {
	unquote := regexp.MustCompile(`\\x[0-9a-f]{2}`)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(hostile(), rapid.String()).Draw(t, "text")
		q := quote(text)
		if strings.ContainsAny(q, " \t\r\n'#$") || text != "" && strings.Contains(q, `"`) {
			t.Fatalf("%q has a mark that HAProxy would read", q)
		}
		back := unquote.ReplaceAllStringFunc(q, func(s string) string {
			var c byte
			fmt.Sscanf(s, `\x%02x`, &c)
			return string([]byte{c})
		})
		if text != "" && back != text {
			t.Fatalf("%q became %q", text, back)
		}
	})
}

// TestWildcards compares the compiled form of wildcards with a matcher that is simple enough to believe.
func TestWildcards(t *testing.T) {
	letters := rapid.StringOfN(rapid.SampledFrom([]rune("ab*?.")), 0, 6, -1)
	rapid.Check(t, func(t *rapid.T) {
		pattern := letters.Draw(t, "pattern")
		text := rapid.StringOfN(rapid.SampledFrom([]rune("ab.")), 0, 6, -1).Draw(t, "text")
		method, p := wildcard(pattern)
		got := false
		switch method {
		case "str":
			got = text == p
		case "beg":
			got = strings.HasPrefix(text, p)
		case "end":
			got = strings.HasSuffix(text, p)
		case "sub":
			got = strings.Contains(text, p)
		case "reg":
			got = regexp.MustCompile(p).MatchString(text)
		}
		if want := glob(pattern, text); got != want {
			t.Fatalf("%q matches %q: %v, want %v (as %s %q)", pattern, text, got, want, method, p)
		}
	})
}

func glob(pattern, text string) bool {
	if pattern == "" {
		return text == ""
	}
	if pattern[0] == '*' {
		return glob(pattern[1:], text) || text != "" && glob(pattern, text[1:])
	}
	return text != "" && (pattern[0] == '?' || pattern[0] == text[0]) && glob(pattern[1:], text[1:])
}

// TestRuleset_IsAcceptedByNftables: any network load balancer's rules are taken, by a kernel that is asked but not told.
func TestRuleset_IsAcceptedByNftables(t *testing.T) {
	if _, err := exec.LookPath("nft"); err != nil || os.Getuid() != 0 {
		t.Skip("needs nft and root")
	}
	rapid.Check(t, func(t *rapid.T) {
		lb := networkBalancer()
		lb.Listeners[0].Protocol = rapid.SampledFrom([]string{"TCP", "UDP", "TCP_UDP"}).Draw(t, "protocol")
		lb.Listeners[0].DefaultActions = forward(groupA, groupB)
		n := map[string]int{groupA: rapid.IntRange(0, 5).Draw(t, "a"), groupB: rapid.IntRange(0, 5).Draw(t, "b")}
		rules := Ruleset(lb, "berth-nlb-test", func(g *model.NodeTargetGroup) []netip.AddrPort { return endpoints(n[g.ARN]) })
		cmd := exec.Command("nft", "-c", "-f", "-")
		cmd.Stdin = strings.NewReader(rules)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s\n%s", err, out, rules)
		}
	})
}

func endpoints(n int) (all []netip.AddrPort) {
	for i := range n {
		all = append(all, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 1, byte(n - i)}), 80))
	}
	return all
}

func networkBalancer() *model.NodeLoadBalancer {
	lb := everything()
	lb.LoadBalancer.Type = model.LoadBalancerNetwork
	lb.Listeners, lb.Rules = lb.Listeners[:1], nil
	lb.Listeners[0].Protocol = "TCP"
	lb.TargetGroups = lb.TargetGroups[:2]
	for i := range lb.TargetGroups {
		lb.TargetGroups[i].Protocol, lb.TargetGroups[i].Attributes = "TCP", nil
	}
	return lb
}

// TestPolicies: every security policy is one that this HAProxy can serve.
func TestPolicies(t *testing.T) {
	needHAProxy(t)
	for _, p := range []string{
		"", "2016-08", "TLS-1-0-2015-04", "TLS-1-1-2017-01", "TLS-1-2-2017-01", "TLS-1-2-Ext-2018-06", "FS-2018-06", "FS-1-1-2019-08",
		"FS-1-2-2019-08", "FS-1-2-Res-2019-08", "FS-1-2-Res-2020-10", "TLS13-1-0-2021-06", "TLS13-1-1-2021-06", "TLS13-1-2-2021-06", "TLS13-1-2-Res-2021-06",
		"TLS13-1-2-Ext1-2021-06", "TLS13-1-2-Ext2-2021-06", "TLS13-1-3-2021-06",
	} {
		dir := t.TempDir()
		lb := everything()
		lb.Rules = nil
		lb.Listeners[1].SSLPolicy = "ELBSecurityPolicy-" + p
		lb.Certificates = map[string]model.NodeTLSKey{"cert-1": keyPair(t, "www.example.com")}
		c := Compile(lb, site(dir))
		accepts(t, dir, c)
		if !strings.Contains(c.Text, filepath.Base(dir)) || !strings.Contains(c.Text, " ssl crt ") {
			t.Errorf("%s: no certificate in\n%s", p, c.Text)
		}
	}
}
