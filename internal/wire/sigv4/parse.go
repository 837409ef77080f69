package sigv4

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	timeForm   = "20060102T150405Z"
	dateForm   = "20060102"

	// maxSkew is how far a client's clock may be off, either way.
	maxSkew = 5 * time.Minute
	// maxExpires is the longest life of a presigned request.
	maxExpires = 7 * 24 * time.Hour
)

// Scope is what a signing key is good for: one day, one region, one service.
type Scope struct {
	Date    string // yyyymmdd
	Region  string
	Service string // the SigV4 signing name, such as ecs or elasticloadbalancing
}

// Claim is what a request says about its signature. Nothing of it has been
// checked against a secret: use it to choose how to answer, never whom to trust.
type Claim struct {
	AccessKeyID   string
	Scope         Scope
	SignedHeaders []string // as sent
	Signature     string   // hexadecimal
	Time          time.Time
	Presigned     bool

	lifetime time.Duration // how long after Time the request is good
	token    string        // session token, when one was sent
}

// Parse reads the signature's parameters from r. Its errors are *Error with the
// reasons Missing, Incomplete, MalformedQuery and OutOfScope (a scope that
// contradicts itself); the claim is then as complete as could be read.
func Parse(r *http.Request) (Claim, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		// A pair that cannot be parsed would be dropped from the canonical
		// query, and so could be changed without breaking the signature.
		return Claim{}, &Error{MalformedQuery, "The query string contains a syntax error."}
	}
	switch values := r.Header.Values("Authorization"); {
	case len(values) == 1:
		return parseHeader(r, values[0])
	case len(values) > 1:
		return Claim{}, incomplete("Only one Authorization header is allowed.")
	case query.Has("X-Amz-Algorithm") || query.Has("X-Amz-Signature") || query.Has("X-Amz-Credential"):
		return parseQuery(query)
	default:
		return Claim{}, &Error{Reason: Missing}
	}
}

func incomplete(format string, args ...any) *Error {
	return &Error{Incomplete, fmt.Sprintf(format, args...)}
}

// parseHeader reads the header form:
//
//	AWS4-HMAC-SHA256 Credential=AKID/20260102/us-east-1/ecs/aws4_request, SignedHeaders=host;x-amz-date, Signature=…
func parseHeader(r *http.Request, value string) (Claim, error) {
	c := Claim{lifetime: maxSkew, token: r.Header.Get("X-Amz-Security-Token")}
	scheme, rest, _ := strings.Cut(strings.TrimSpace(value), " ")
	if scheme == "" {
		return c, &Error{Reason: Missing}
	}
	if scheme != algorithm {
		return c, incomplete("Unsupported AWS 'algorithm': '%s'.", scheme)
	}
	parameters := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, val, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok {
			return c, incomplete("Invalid key=value pair (missing equal-sign) in Authorization header %s", fingerprint(value))
		}
		if _, twice := parameters[name]; twice {
			return c, incomplete("Duplicate key '%s' in Authorization header %s", name, fingerprint(value))
		}
		parameters[name] = val
	}
	var lacking []string
	for _, name := range []string{"Credential", "Signature", "SignedHeaders"} {
		if parameters[name] == "" {
			lacking = append(lacking, fmt.Sprintf("Authorization header requires '%s' parameter.", name))
		}
	}
	dates := r.Header.Values("X-Amz-Date")
	if len(dates) == 0 {
		lacking = append(lacking, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	if len(lacking) > 0 {
		return c, incomplete("%s Authorization header %s", strings.Join(lacking, " "), fingerprint(value))
	}
	if len(dates) > 1 {
		return c, incomplete("Only one 'X-Amz-Date' header is allowed.")
	}
	return c, c.fill(parameters["Credential"], parameters["SignedHeaders"], parameters["Signature"], dates[0])
}

// fingerprint names a header value without repeating it: an answer must not
// echo a signature into somebody's log.
func fingerprint(value string) string {
	sum := sha256.Sum256([]byte(value))
	return fmt.Sprintf("(hashed with SHA-256 and encoded with Base64): '%s'.", base64.StdEncoding.EncodeToString(sum[:]))
}

// parseQuery reads the presigned form. Without X-Amz-Expires a presigned
// request is good for as long as one in header form.
func parseQuery(query url.Values) (Claim, error) {
	c := Claim{Presigned: true, lifetime: maxSkew, token: query.Get("X-Amz-Security-Token")}
	for name, values := range query {
		if len(values) > 1 && strings.HasPrefix(name, "X-Amz-") {
			return c, incomplete("Query-string parameter '%s' must be given once.", name)
		}
	}
	for _, name := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date"} {
		if query.Get(name) == "" {
			return c, incomplete("AWS query-string parameters must include 'X-Amz-Algorithm', 'X-Amz-Credential', 'X-Amz-Signature', 'X-Amz-SignedHeaders' and 'X-Amz-Date'. Re-examine the query-string parameters.")
		}
	}
	if got := query.Get("X-Amz-Algorithm"); got != algorithm {
		return c, incomplete("Unsupported AWS 'algorithm': '%s'.", got)
	}
	if query.Has("X-Amz-Expires") {
		seconds, err := strconv.Atoi(query.Get("X-Amz-Expires"))
		if err != nil || seconds < 1 || seconds > int(maxExpires/time.Second) {
			return c, incomplete("X-Amz-Expires must be a number of seconds between 1 and 604800 (a week).")
		}
		c.lifetime = time.Duration(seconds) * time.Second
	}
	return c, c.fill(query.Get("X-Amz-Credential"), query.Get("X-Amz-SignedHeaders"), query.Get("X-Amz-Signature"), query.Get("X-Amz-Date"))
}

// fill checks the parameters that both forms have, and sets them.
func (c *Claim) fill(credential, signedHeaders, signature, date string) error {
	parts := strings.Split(credential, "/")
	if len(parts) != 5 || slices.Contains(parts, "") {
		return incomplete("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '%s'.", credential)
	}
	c.AccessKeyID = parts[0]
	c.Scope = Scope{Date: parts[1], Region: parts[2], Service: parts[3]}
	c.SignedHeaders = strings.Split(signedHeaders, ";")
	c.Signature = signature

	at, err := time.Parse(timeForm, date)
	if err != nil || at.Format(timeForm) != date { // time.Parse also takes fractions of a second
		return incomplete("Date must be in ISO-8601 'basic format'. Got '%s'. See http://en.wikipedia.org/wiki/ISO_8601", date)
	}
	c.Time = at
	for _, must := range c.mustSign() {
		if !slices.Contains(c.SignedHeaders, must) {
			return incomplete("'%s' must be a 'SignedHeader' in the AWS Authorization.", http.CanonicalHeaderKey(must))
		}
	}
	if parts[4] != terminator {
		return &Error{OutOfScope, fmt.Sprintf("Credential should be scoped with a valid terminator: '%s', not '%s'.", terminator, parts[4])}
	}
	if day := at.Format(dateForm); day != c.Scope.Date {
		return &Error{OutOfScope, fmt.Sprintf("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s', from '%s'.", c.Scope.Date, day, date)}
	}
	return nil
}

// mustSign lists headers without which a signature would say nothing about
// where and when. The presigned form carries its date in the query.
func (c *Claim) mustSign() []string {
	if c.Presigned {
		return []string{"host"}
	}
	return []string{"host", "x-amz-date"}
}
