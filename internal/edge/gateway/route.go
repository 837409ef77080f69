package gateway

import (
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"berth.dev/berth/internal/wire/awsjson"
	"berth.dev/berth/internal/wire/awsquery"
	"berth.dev/berth/internal/wire/ec2query"
	"berth.dev/berth/internal/wire/sigv4"
	"berth.dev/berth/internal/wire/smithy"
)

// service is a Service with what follows from it.
type service struct {
	api      *smithy.Service
	provider any
	maxBody  int64
	protocol smithy.Protocol
	family   sigv4.Family
}

// route is where a request goes. protocol and family are always set: they say
// how to answer even when nothing else is known.
type route struct {
	service   *service          // nil when the request names none that we serve
	operation *smithy.Operation // nil when err is set
	protocol  smithy.Protocol
	family    sigv4.Family
	asked     string // the operation as the client wrote it
	err       error  // why there is no operation; told only to a signed request
}

// serviceName is the service for logs and metrics: never a stranger's text.
func (r route) serviceName() string {
	if r.service == nil {
		return "unknown"
	}
	return r.service.api.Name
}

// operationName is the operation for logs and metrics.
func (r route) operationName() string {
	if r.operation == nil {
		return "unknown"
	}
	return r.operation.Name
}

// routes finds services by each of their names on the wire.
type routes struct {
	byTarget  map[string]*service   // last word of X-Amz-Target before its operation
	byVersion map[string][]*service // Version parameter
	bySigning map[string][]*service // service in the credential scope
	byName    map[string]*service   // name of the API
	names     []string              // all services, for messages
}

func newRoutes(services []Service) (routes, error) {
	rs := routes{byTarget: map[string]*service{}, byVersion: map[string][]*service{}, bySigning: map[string][]*service{}, byName: map[string]*service{}}
	for _, s := range services {
		svc := &service{api: s.API, provider: s.Provider, maxBody: s.MaxBody}
		if svc.maxBody == 0 {
			svc.maxBody = defaultMaxBody(s.API.Name)
		}
		switch s.API.Protocol {
		case "json":
			svc.protocol, svc.family = awsjson.JSON11(), sigv4.JSON
			if s.API.JSONVersion == "1.0" {
				svc.protocol = awsjson.JSON10()
			}
			if other := rs.byTarget[lastWord(s.API.TargetPrefix)]; other != nil {
				return rs, fmt.Errorf("%s and %s have the same target prefix", other.api.Name, s.API.Name)
			}
			rs.byTarget[lastWord(s.API.TargetPrefix)] = svc
		case "query", "ec2":
			svc.protocol, svc.family = awsquery.Query(), sigv4.Query
			if s.API.Protocol == "ec2" {
				svc.protocol, svc.family = ec2query.EC2(), sigv4.EC2
			}
			for _, other := range rs.byVersion[s.API.APIVersion] {
				if other.api.SigningName == s.API.SigningName {
					return rs, fmt.Errorf("%s and %s have the same version and signing name", other.api.Name, s.API.Name)
				}
			}
			rs.byVersion[s.API.APIVersion] = append(rs.byVersion[s.API.APIVersion], svc)
		default:
			return rs, fmt.Errorf("%s: no codec for protocol %q", s.API.Name, s.API.Protocol)
		}
		rs.bySigning[s.API.SigningName] = append(rs.bySigning[s.API.SigningName], svc)
		rs.byName[s.API.Name] = svc
		rs.names = append(rs.names, s.API.Name)
	}
	slices.Sort(rs.names)
	return rs, nil
}

// defaultMaxBody leaves logs room for a batch of 1 MiB in the worst encoding:
// six bytes (\u001b) for one of the message.
func defaultMaxBody(name string) int64 {
	if name == "logs" {
		return 6*DefaultMaxBody + DefaultMaxBody/2
	}
	return DefaultMaxBody
}

// answering is a route that only says how to answer.
func answering(svc *service) route {
	return route{service: svc, protocol: svc.protocol, family: svc.family}
}

// byHead guesses from the head of a request which service is meant, so that a
// body can be limited and a refusal written before the body is read.
func (rs routes) byHead(r *http.Request, scope sigv4.Scope) route {
	unknownJSON := route{protocol: awsjson.JSON11(), family: sigv4.JSON}
	unknownXML := route{protocol: awsquery.Query(), family: sigv4.Query}

	if target := r.Header.Get("X-Amz-Target"); target != "" {
		prefix, _ := splitTarget(target)
		if svc := rs.byTarget[prefix]; svc != nil {
			return answering(svc)
		}
		return unknownJSON
	}
	kind := mediaType(r)
	if query := r.URL.Query(); query.Has("Action") || query.Has("Version") {
		if svc := rs.ofVersion(query.Get("Version"), scope); svc != nil {
			return answering(svc)
		}
		return unknownXML
	}
	if all := rs.bySigning[scope.Service]; len(all) > 0 {
		return answering(all[0])
	}
	if slices.Contains(restXML, scope.Service) {
		return route{protocol: xmlErrors(), family: sigv4.Query}
	}
	if kind == formType {
		return unknownXML
	}
	return unknownJSON
}

// find completes a route with what the body says.
func (rs routes) find(guess route, r *http.Request, body []byte, scope sigv4.Scope) route {
	switch {
	case r.Header.Get("X-Amz-Target") != "":
		return rs.byTargetHeader(guess, r, scope)
	case guess.family == sigv4.JSON:
		guess.err = guess.protocol.UnknownOperation(guess.api(), "")
		if guess.service == nil {
			guess.err = rs.notHere(scope.Service)
		}
		return guess
	default:
		return rs.byAction(guess, r, body, scope)
	}
}

func (r route) api() *smithy.Service {
	if r.service == nil {
		return nil
	}
	return r.service.api
}

// splitTarget parts a target header into service and operation. Some services'
// names are qualified (com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101),
// and some SDKs leave the qualification away: only the last word counts.
func splitTarget(target string) (service, operation string) {
	if dot := strings.LastIndexByte(target, '.'); dot >= 0 {
		target, operation = target[:dot], target[dot+1:]
	}
	return lastWord(target), operation
}

func lastWord(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }

func (rs routes) byTargetHeader(guess route, r *http.Request, scope sigv4.Scope) route {
	prefix, name := splitTarget(r.Header.Get("X-Amz-Target"))
	guess.asked = name
	if guess.service == nil {
		if scope.Service != "" {
			prefix = scope.Service
		}
		guess.err = rs.notHere(prefix)
		return guess
	}
	op, ok := guess.service.api.Operation(name)
	if !ok || r.Method != http.MethodPost || !isRoot(r) || !isJSON(mediaType(r)) {
		guess.err = guess.protocol.UnknownOperation(guess.api(), name)
		return guess
	}
	guess.operation = op
	return guess
}

func (rs routes) byAction(guess route, r *http.Request, body []byte, scope sigv4.Scope) route {
	values := r.URL.Query()
	if r.Method == http.MethodPost && mediaType(r) == formType {
		// What cannot be parsed is the codec's to complain about; the pairs
		// before it may still say which service is meant.
		form, _ := url.ParseQuery(string(body))
		for name, all := range form {
			values[name] = append(all, values[name]...)
		}
	}
	action, version := values.Get("Action"), values.Get("Version")
	guess.asked = action
	if svc := rs.ofVersion(version, scope); svc != nil {
		asked := guess.asked
		guess = answering(svc)
		guess.asked = asked
	}
	switch {
	case guess.service == nil:
		name := scope.Service
		if name == "" {
			name = version
		}
		guess.err = rs.notHere(name)
	case action == "":
		guess.err = smithy.NewError(http.StatusBadRequest, "MissingAction", "The request must contain the parameter Action")
	case version != "" && version != guess.service.api.APIVersion:
		guess.err = smithy.NewError(http.StatusBadRequest, "InvalidAction", fmt.Sprintf("Could not find operation %s for version %s", action, version))
	case r.Method != http.MethodPost && r.Method != http.MethodGet, !isRoot(r):
		guess.err = guess.protocol.UnknownOperation(guess.api(), action)
	default:
		op, ok := guess.service.api.Operation(action)
		if !ok {
			guess.err = guess.protocol.UnknownOperation(guess.api(), action)
		}
		guess.operation = op
	}
	return guess
}

// ofVersion finds the service by the Version parameter; the credential scope
// decides between services of one version, and where there is no version.
func (rs routes) ofVersion(version string, scope sigv4.Scope) *service {
	candidates := rs.byVersion[version]
	if len(candidates) == 1 {
		return candidates[0]
	}
	for _, svc := range rs.bySigning[scope.Service] {
		if svc.family != sigv4.JSON {
			return svc
		}
	}
	if len(candidates) > 0 {
		return candidates[0]
	}
	return nil
}

const formType = "application/x-www-form-urlencoded"

func mediaType(r *http.Request) string {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return kind
}

func isJSON(kind string) bool { return strings.HasPrefix(kind, "application/x-amz-json-") }

func isRoot(r *http.Request) bool { return r.URL.Path == "/" || r.URL.Path == "" }
