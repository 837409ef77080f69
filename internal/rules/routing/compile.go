package routing

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"

	"berth.dev/berth/internal/model"
)

// A Site is where a load balancer's process runs. Paths must not have spaces or control characters.
type Site struct {
	// Admin is the path of the process's own socket, State that of the file with the servers' states which it reads when it
	// starts.
	Admin, State string
	// Events is the path of the datagram socket that hears of health checks, Access that of the stream socket that
	// gets access log records; an empty Access means no access log.
	Events, Access string
	// Next is what the paths of the sockets begin with on which the newest process takes requests from those before it.
	Next string
	// Files is the directory that Config.Files are in.
	Files string
	// Namespaces has the name under /run/netns of each interface, by ENI id.
	Namespaces map[string]string
	// Slots has the number of servers of each target group, by id; MinSlots where it says nothing.
	Slots map[string]int
	// Connections is how many clients may be connected at once; 0 means 20,000. Each takes two open files.
	Connections int
	// Threads of the process; 0 leaves it to HAProxy: as many as there are processors.
	Threads int
}

// MinSlots is the least number of server slots of a target group.
const MinSlots = 16

// A Config is what Compile makes.
type Config struct {
	// Text is HAProxy's configuration file.
	Text string
	// Files are its certificates with keys, by name inside Site.Files.
	Files map[string]string
	Pools []Pool
	// Problems are the parts of the document that are not in Text, and why.
	Problems []string
}

// A Pool is a target group as HAProxy knows it: servers s1 to s<Slots> in both backends.
type Pool struct {
	TargetGroupID string
	Backend       string
	Open          string // the backend without health checks
	Slots         int

	tls       bool
	checkPort int // 0: the target's own
}

// Server is the name of a slot, which counts from 1.
func Server(slot int) string { return "s" + strconv.Itoa(slot) }

// A compiler holds what one run of Compile needs to know and collects what it finds.
type compiler struct {
	writer
	lb       *model.NodeLoadBalancer
	site     Site
	files    map[string]string
	certs    map[string]string // path by ARN
	groups   map[string]*model.NodeTargetGroup
	problems []string
}

// Proxied reports whether a listener is HAProxy's, not the kernel's.
func Proxied(lb *model.NodeLoadBalancer, l *model.Listener) bool {
	switch l.Protocol {
	case "HTTP", "HTTPS", "TLS":
		return true
	}
	for _, g := range Groups(lb, l.DefaultActions) {
		if attribute(g.Attributes, "proxy_protocol_v2.enabled") == "true" || g.Protocol == "TLS" {
			return true
		}
	}
	return false
}

// NeedsProcess reports whether a HAProxy process is needed at all.
func NeedsProcess(lb *model.NodeLoadBalancer) bool {
	return lb.LoadBalancer.Type != model.LoadBalancerNetwork ||
		slices.ContainsFunc(lb.Listeners, func(l model.Listener) bool { return Proxied(lb, &l) })
}

// Groups are the target groups that actions forward to.
func Groups(lb *model.NodeLoadBalancer, actions []model.BalancerAction) []*model.NodeTargetGroup {
	var groups []*model.NodeTargetGroup
	for _, a := range actions {
		for _, t := range a.TargetGroups {
			for i := range lb.TargetGroups {
				if lb.TargetGroups[i].ARN == t.TargetGroupARN {
					groups = append(groups, &lb.TargetGroups[i])
				}
			}
		}
	}
	return groups
}

// Compile makes the configuration of lb at site.
func Compile(lb *model.NodeLoadBalancer, site Site) Config {
	c := &compiler{lb: lb, site: site, files: map[string]string{}, certs: map[string]string{}, groups: map[string]*model.NodeTargetGroup{}}
	for i := range lb.TargetGroups {
		c.groups[lb.TargetGroups[i].ARN] = &lb.TargetGroups[i]
	}
	c.certificates()
	c.global()
	listeners := slices.SortedFunc(slices.Values(lb.Listeners), func(a, b model.Listener) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.ID, b.ID))
	})
	inHAProxy := map[string]bool{}
	for i := range listeners {
		if Proxied(lb, &listeners[i]) {
			c.listener(&listeners[i])
			for _, g := range Groups(lb, listeners[i].DefaultActions) {
				inHAProxy[g.ID] = true
			}
		}
	}
	pools := []Pool{}
	groups := slices.SortedFunc(slices.Values(lb.TargetGroups), func(a, b model.NodeTargetGroup) int { return cmp.Compare(a.ID, b.ID) })
	for i := range groups {
		if lb.LoadBalancer.Type == model.LoadBalancerNetwork && !inHAProxy[groups[i].ID] {
			continue
		}
		pools = append(pools, c.pool(&groups[i]))
	}
	return Config{Text: c.String(), Files: c.files, Pools: pools, Problems: c.problems}
}

func (c *compiler) problem(format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

// global writes what holds for the whole process.
func (c *compiler) global() {
	c.WriteString("# Made from the load balancer's records; changes made here are lost.\n")
	c.section("global")
	c.comment(c.lb.LoadBalancer.ARN)
	c.line("stats socket", quote(c.site.Admin), "mode 600 level admin expose-fd listeners")
	c.line("stats timeout 1m")
	c.line("server-state-file", quote(c.site.State))
	// Without a limit HAProxy makes tables for as many files as the system allows, which may be a thousand million.
	c.linef("maxconn %d", cmp.Or(c.site.Connections, 20000))
	// Sockets are handed over at a reload. Sharing addresses instead would let two load balancers have the same one.
	c.line("noreuseport")
	if c.site.Threads > 0 {
		c.linef("nbthread %d", c.site.Threads)
	}
	// AWS takes headers of 64 K in all from clients and of 32 K from targets, and 128 streams on a connection. A larger
	// buffer costs every request.
	c.line("tune.bufsize 32768")
	c.line("tune.http.maxhdr 256")
	c.line("tune.h2.max-concurrent-streams 128")
	c.line("tune.ssl.default-dh-param 2048")
	c.line("ssl-load-extra-files none")

	c.ring()
	c.section("defaults")
	mode := "http"
	idle := c.idleTimeout()
	if c.lb.LoadBalancer.Type == model.LoadBalancerNetwork {
		mode, idle = "tcp", 350
	}
	c.line("mode", mode)
	c.line("load-server-state-from-file global")
	// Two attempts of five seconds, the second at another target, make AWS's ten. (AWS tries once.)
	c.linef("timeout connect %dms", connectTimeout)
	c.line("retries 1")
	c.line("option redispatch 1")
	for _, what := range []string{"client", "server", "tunnel"} {
		c.linef("timeout %s %ds", what, idle)
	}
	if mode == "tcp" {
		return
	}
	c.linef("timeout http-request %ds", idle)
	c.linef("timeout http-keep-alive %ds", idle)
	// A reload must not close a connection on which a client is about to send.
	c.line("option idle-close-on-response")
	for _, e := range ownErrors {
		c.linef("http-error status %d content-type text/html string %s hdr Server %s", e.status, quote(page(e.text)), ServerHeader)
	}
}

// connectTimeout is how long one attempt to connect to a target may take, in milliseconds.
const connectTimeout = 5000

// ServerHeader is the Server header of what the load balancer answers itself.
const ServerHeader = "awselb/2.0"

// ownErrors are the answers that HAProxy gives by itself.
var ownErrors = []struct {
	status int
	text   string
}{
	{400, "400 Bad Request"},
	{403, "403 Forbidden"},
	{405, "405 Not Allowed"},
	{408, "408 Request Time-out"},
	{413, "413 Request Entity Too Large"},
	{500, "500 Internal Server Error"},
	{501, "501 Not Implemented"},
	{502, "502 Bad Gateway"},
	{503, "503 Service Temporarily Unavailable"},
	{504, "504 Gateway Time-out"},
}

// page is the body of an answer that the load balancer gives itself.
func page(text string) string {
	return "<html>\r\n<head><title>" + text + "</title></head>\r\n<body>\r\n<center><h1>" + text + "</h1></center>\r\n</body>\r\n</html>\r\n"
}

func (c *compiler) idleTimeout() int {
	return number(attribute(c.lb.LoadBalancer.Attributes, "idle_timeout.timeout_seconds"), 1, 4000)
}

// digest is a short name for bytes.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}
