package routing

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth.dev/berth/internal/model"
)

var update = flag.Bool("update", false, "write the golden files")

const (
	groupA = "arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/a/aaaaaaaaaaaaaaaa"
	groupB = "arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/b/bbbbbbbbbbbbbbbb"
	groupG = "arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/g/cccccccccccccccc"
)

func group(arn, protocol, version string, attributes map[string]string) model.NodeTargetGroup {
	_, id, _ := strings.Cut(arn, ":1:")
	return model.NodeTargetGroup{TargetGroup: model.TargetGroup{
		ID: id, ARN: arn, Name: strings.Split(id, "/")[1], Protocol: protocol, ProtocolVersion: version, Port: 80, TargetType: "ip",
		Attributes: attributes, HealthCheck: model.TargetHealthCheck{
			Enabled: true, Protocol: "HTTP", Port: "traffic-port", Path: "/health",
			IntervalSeconds: 30, TimeoutSeconds: 5, HealthyThreshold: 5, UnhealthyThreshold: 2, HTTPCodes: "200,300-399", GRPCCodes: "12",
		},
	}}
}

func forward(arns ...string) []model.BalancerAction {
	a := model.BalancerAction{Type: "forward"}
	for i, arn := range arns {
		a.TargetGroups = append(a.TargetGroups, model.WeightedTarget{TargetGroupARN: arn, Weight: int32(i + 1)})
	}
	return []model.BalancerAction{a}
}

// everything is a load balancer that uses all that there is.
func everything() *model.NodeLoadBalancer {
	lb := &model.NodeLoadBalancer{
		LoadBalancer: model.LoadBalancer{
			ID: "app/web/0123456789abcdef", ARN: "arn:aws:elasticloadbalancing:eu-west-1:1:loadbalancer/app/web/0123456789abcdef",
			Type: model.LoadBalancerApplication, PublicAddress: "127.64.0.1",
		},
		Interfaces: []model.AssignedNetwork{
			{NetworkInterface: model.NetworkInterface{ID: "eni-1", Address: "10.0.0.5"}},
			{NetworkInterface: model.NetworkInterface{ID: "eni-2", Address: "10.0.16.5"}},
		},
		Listeners: []model.Listener{
			{ID: "l80", ARN: "arn:l80", Port: 80, Protocol: "HTTP", DefaultActions: forward(groupA)},
			{
				ID: "l8443", ARN: "arn:l8443", Port: 8443, Protocol: "HTTPS", DefaultActions: []model.BalancerAction{{
					Type:          "fixed-response",
					FixedResponse: &model.FixedResponseAction{StatusCode: "404", ContentType: "application/json", Body: "{\"a\": \"100% \\\"b\\\"\"}\n"},
				}},
				SSLPolicy: "ELBSecurityPolicy-TLS13-1-2-2021-06", Certificates: []string{"cert-1"},
			},
		},
		TargetGroups: []model.NodeTargetGroup{
			group(groupA, "HTTP", "HTTP1", map[string]string{"stickiness.enabled": "true", "load_balancing.algorithm.type": "least_outstanding_requests"}),
			group(groupB, "HTTPS", "HTTP2", map[string]string{
				"stickiness.enabled": "true", "stickiness.type": "app_cookie",
				"stickiness.app_cookie.cookie_name": "SESSION", "slow_start.duration_seconds": "30",
			}),
			group(groupG, "HTTP", "GRPC", nil),
		},
	}
	sticky := forward(groupA, groupB)
	sticky[0].StickySeconds = 600
	redirect := []model.BalancerAction{{Type: "redirect", Redirect: &model.RedirectAction{Protocol: "HTTPS", Port: "443", StatusCode: "HTTP_301"}}}
	rules := []struct {
		conditions []model.RuleCondition
		actions    []model.BalancerAction
	}{
		{[]model.RuleCondition{{Field: "host-header", Values: []string{"*.Example.com", "a?c.example.com"}}}, forward(groupB)},
		{[]model.RuleCondition{
			{Field: "path-pattern", Values: []string{"/img/*", "*.css", "/exact", "*mid*", "/a*b?c", "*"}},
			{Field: "source-ip", Values: []string{"10.0.0.0/8", "::1/128"}},
		}, sticky},
		{[]model.RuleCondition{{Field: "http-header", HeaderName: "User-Agent", Values: []string{"*Chrome*"}, Regex: []string{"^curl/[0-9]+"}}}, forward(groupA, groupB)},
		{[]model.RuleCondition{{Field: "query-string", Query: []model.QueryArg{{Key: "version", Value: "v*"}, {Value: "example"}}}}, redirect},
		{[]model.RuleCondition{{Field: "http-request-method", Values: []string{"GET", "CUSTOM"}}}, []model.BalancerAction{{
			Type:     "redirect",
			Redirect: &model.RedirectAction{Host: "x.#{host}", Path: "/50% off/#{path}", Query: "from=#{host}&#{query}", StatusCode: "HTTP_302"},
		}}},
		{[]model.RuleCondition{{Field: "path-pattern", Regex: []string{"(("}}}, redirect},
		{[]model.RuleCondition{{Field: "path-pattern", Values: []string{"/grpc.*"}}}, forward(groupG)},
	}
	for _, l := range lb.Listeners {
		for i, r := range rules {
			lb.Rules = append(lb.Rules, model.ListenerRule{ID: fmt.Sprint(l.ID, i), ListenerID: l.ID, Priority: 10 * (i + 1), Conditions: r.conditions, Actions: r.actions})
		}
	}
	return lb
}

func site(dir string) Site {
	return Site{
		Admin: dir + "/admin.sock", Next: dir + "/next.", State: dir + "/state", Events: dir + "/events.sock", Access: dir + "/access.sock", Files: dir,
		Slots: map[string]int{"targetgroup/b/bbbbbbbbbbbbbbbb": 32},
	}
}

// keyPair makes a self-signed certificate for a name.
func keyPair(t *testing.T, host string) model.NodeTLSKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return model.NodeTLSKey{
		Certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		PrivateKey:  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})),
	}
}

// accepts fails the test unless HAProxy takes the configuration. Namespaces are left out of it: they do not exist.
func accepts(t interface {
	Helper()
	Fatalf(string, ...any)
}, dir string, c Config,
) {
	t.Helper()
	for file, content := range c.Files {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			t.Fatalf("%v", err)
		}
	}
	path := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(path, []byte(c.Text), 0o600); err != nil {
		t.Fatalf("%v", err)
	}
	if out, err := exec.Command("haproxy", "-c", "-f", path).CombinedOutput(); err != nil {
		t.Fatalf("haproxy refuses: %v\n%s\n%s", err, out, c.Text)
	}
}

func needHAProxy(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("haproxy"); err != nil {
		t.Skip("needs haproxy on PATH")
	}
}

func TestCompile_Golden(t *testing.T) {
	lb := everything()
	s := site("/run/lb")
	s.Namespaces = map[string]string{"eni-1": "berth-x-eni-1", "eni-2": "berth-x-eni-2"}
	lb.Listeners[1].Certificates = nil
	got := Compile(lb, s)
	text := got.Text + "\n# problems\n" + strings.Join(got.Problems, "\n") + "\n"
	golden := filepath.Join("testdata", "everything.cfg")
	if *update {
		os.MkdirAll("testdata", 0o755)
		if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("configuration differs from %s; run with -update and look at the difference:\n%s", golden, text)
	}
	if again := Compile(everything(), s); again.Text == "" {
		t.Error("no text")
	}
}

func TestCompile_IsAcceptedByHAProxy(t *testing.T) {
	needHAProxy(t)
	dir := t.TempDir()
	lb := everything()
	lb.Certificates = map[string]model.NodeTLSKey{"cert-1": keyPair(t, "www.example.com"), "broken": {Certificate: "x", PrivateKey: "y"}}
	c := Compile(lb, site(dir))
	accepts(t, dir, c)
	if len(c.Files) != 1 {
		t.Errorf("%d certificate files, want 1: %v", len(c.Files), c.Problems)
	}
}
