package routing

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"berth.dev/berth/internal/model"
)

// Fields of an access log record, in the order in which HAProxy writes them, separated by tabs. What a client wrote is
// percent-encoded.
const (
	fieldListener = iota
	fieldSeconds
	fieldMillis
	fieldClientAddress
	fieldClientPort
	fieldTargetAddress
	fieldTargetPort
	fieldRequestTime
	fieldQueueTime
	fieldConnectTime
	fieldTargetTime
	fieldResponseTime
	fieldStatus
	fieldTargetStatus
	fieldReceived
	fieldSent
	fieldMethod
	fieldHost
	fieldPath
	fieldVersion
	fieldUserAgent
	fieldCipher
	fieldProtocol
	fieldBackend
	fieldTrace
	fieldSNI
	fieldRule
	fieldUpgrade
	fieldLocation
	fieldTermination
	fieldCount
)

// accessLog writes what is logged of a request: one record, which AccessLogLine reads.
func (c *compiler) accessLog(l *model.Listener) {
	if c.site.Access == "" {
		return
	}
	fields := [fieldCount]string{
		fieldListener: strconv.Itoa(int(l.Port)),
		fieldSeconds:  "%Ts", fieldMillis: "%ms", fieldClientAddress: "%ci", fieldClientPort: "%cp",
		fieldTargetAddress: "%[var(txn.log_ta)]", fieldTargetPort: "%[var(txn.log_tp)]",
		fieldRequestTime: "%TR", fieldQueueTime: "%Tw", fieldConnectTime: "%Tc", fieldTargetTime: "%Tr", fieldResponseTime: "%Td",
		fieldStatus: "%ST", fieldTargetStatus: "%[var(txn.log_ts)]", fieldReceived: "%U", fieldSent: "%B", fieldMethod: "%HM",
		fieldHost: "%[var(txn.log_host),url_enc]", fieldPath: "%[var(txn.log_path),url_enc]", fieldVersion: "%HV",
		fieldUserAgent: "%[var(txn.log_ua),url_enc]", fieldCipher: "%sslc", fieldProtocol: "%sslv", fieldBackend: "%[var(txn.tg)]",
		fieldTrace: "%[var(txn.log_trace),url_enc]", fieldSNI: "%[ssl_fc_sni,url_enc]", fieldRule: "%[var(txn.rule)]",
		fieldUpgrade: "%[var(txn.log_upgrade),url_enc]", fieldLocation: "%[var(txn.log_location),url_enc]", fieldTermination: "%ts",
	}
	c.line("log ring@access len 16384 format raw local0")
	c.line("log-format", quote(strings.Join(fields[:], "\t")))
	c.line("http-request set-var(txn.log_host) req.hdr(host)")
	c.line("http-request set-var(txn.log_path) pathq")
	c.line("http-request set-var(txn.log_ua) req.fhdr(user-agent)")
	c.line("http-request set-var(txn.log_upgrade) req.fhdr(upgrade)")
	c.line("http-response set-var(txn.log_ta) bc_dst")
	c.line("http-response set-var(txn.log_tp) bc_dst_port")
	c.line("http-response set-var(txn.log_ts) status")
	c.line("http-after-response set-var(txn.log_location) res.fhdr(location)")
}

// ring writes where access log records wait for the agent: while it is away they stay in memory, the newest of them.
func (c *compiler) ring() {
	if c.site.Access == "" {
		return
	}
	c.section("ring", "access")
	c.line("format raw")
	c.line("maxlen 16384")
	c.line("size 4194304")
	c.line("timeout connect 5s")
	c.line("timeout server 5s")
	c.line("server agent", quote("unix@"+c.site.Access), "log-proto octet-count")
}

// AccessLogLine makes a line of an application load balancer's access log of a record. False means that the record is
// not complete.
func AccessLogLine(lb *model.NodeLoadBalancer, record string) (at time.Time, line string, ok bool) {
	f := strings.Split(strings.TrimRight(record, "\n"), "\t")
	if len(f) != fieldCount {
		return time.Time{}, "", false
	}
	seconds, err1 := strconv.ParseInt(f[fieldSeconds], 10, 64)
	millis, err2 := strconv.ParseInt(f[fieldMillis], 10, 64)
	if err1 != nil || err2 != nil {
		return time.Time{}, "", false
	}
	for _, i := range []int{fieldHost, fieldPath, fieldUserAgent, fieldTrace, fieldSNI, fieldUpgrade, fieldLocation} {
		if text, err := url.PathUnescape(f[i]); err == nil {
			f[i] = text
		}
	}
	began := time.Unix(seconds, millis*int64(time.Millisecond)).UTC()
	spent := time.Duration(0)
	for _, i := range []int{fieldRequestTime, fieldQueueTime, fieldConnectTime, fieldTargetTime, fieldResponseTime} {
		if ms, err := strconv.Atoi(f[i]); err == nil && ms > 0 {
			spent += time.Duration(ms) * time.Millisecond
		}
	}
	ended := began.Add(spent)
	const stamp = "2006-01-02T15:04:05.000000Z"
	target := dash("")
	if !empty(f[fieldTargetAddress]) {
		target = f[fieldTargetAddress] + ":" + f[fieldTargetPort]
	}
	host := f[fieldHost]
	if !strings.Contains(host, ":") {
		host += ":" + f[fieldListener]
	}
	scheme, kind := logProtocols(f)
	words := []string{
		kind, ended.Format(stamp), lb.LoadBalancer.ID, f[fieldClientAddress] + ":" + f[fieldClientPort], target,
		took(f[fieldQueueTime], f[fieldConnectTime]), took(f[fieldTargetTime]), took(f[fieldResponseTime]),
		dash(f[fieldStatus]), dash(f[fieldTargetStatus]), f[fieldReceived], f[fieldSent],
		quoted(f[fieldMethod] + " " + scheme + "://" + host + f[fieldPath] + " " + f[fieldVersion]), quoted(dash(f[fieldUserAgent])),
		dash(f[fieldCipher]), dash(f[fieldProtocol]), dash(groupARN(lb, f[fieldBackend])), quoted(dash(f[fieldTrace])),
		quoted(dash(f[fieldSNI])), quoted("-"), dash(f[fieldRule]), began.Format(stamp), quoted(actionOf(f)), quoted(dash(f[fieldLocation])),
		quoted("-"), quoted(target), quoted(dash(f[fieldTargetStatus])), quoted("-"), quoted("-"),
	}
	return ended, strings.Join(words, " "), true
}

// logProtocols are the scheme of a request and the type of its log entry.
func logProtocols(f []string) (scheme, kind string) {
	secure, upgraded := !empty(f[fieldProtocol]), strings.EqualFold(f[fieldUpgrade], "websocket")
	switch {
	case upgraded && secure:
		return "wss", "wss"
	case upgraded:
		return "ws", "ws"
	case f[fieldVersion] == "HTTP/2.0" && secure:
		return "https", "h2"
	case secure:
		return "https", "https"
	}
	return "http", "http"
}

// actionOf is what the load balancer did.
func actionOf(f []string) string {
	switch {
	case !empty(f[fieldBackend]):
		return "forward"
	case !empty(f[fieldLocation]):
		return "redirect"
	}
	return "fixed-response"
}

func groupARN(lb *model.NodeLoadBalancer, backend string) string {
	for i := range lb.TargetGroups {
		if name(lb.TargetGroups[i].ID) == backend {
			return lb.TargetGroups[i].ARN
		}
	}
	return ""
}

// took is a time in seconds, or -1 when the request never came so far.
func took(millis ...string) string {
	total := 0
	for _, m := range millis {
		ms, err := strconv.Atoi(m)
		if err != nil || ms < 0 {
			return "-1"
		}
		total += ms
	}
	return fmt.Sprintf("%d.%03d", total/1000, total%1000)
}

func empty(s string) bool { return s == "" || s == "-" }

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// quoted encloses text in quotation marks; those in it, and what is not printable, are written \xNN as AWS does.
func quoted(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(text) {
		if c := text[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			fmt.Fprintf(&b, `\x%02X`, c)
		} else {
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
