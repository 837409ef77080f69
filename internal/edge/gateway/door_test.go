package gateway_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/wire/api/ec2api"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/api/logsapi"
	"berth.dev/berth/internal/wire/api/stsapi"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/sigv4"
	"berth.dev/berth/internal/wire/smithy"
)

const (
	rootKey  = "AKIAROOT"
	userKey  = "AKIAUSER"
	secret   = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	formType = "application/x-www-form-urlencoded; charset=utf-8"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// keys is a CredentialStore of one root and one user.
type keys struct{}

func (keys) Credentials(_ context.Context, id, _ string) (sigv4.Credential, caller.Identity, error) {
	who := caller.Identity{AccountID: "123456789012", ARN: "arn:aws:iam::123456789012:root", UserID: "123456789012"}
	switch id {
	case rootKey:
	case userKey:
		who.ARN = "arn:aws:iam::123456789012:user/dev"
	case "AKIAAWAY":
		return sigv4.Credential{}, who, fmt.Errorf("the store at 10.0.0.7 is away")
	default:
		return sigv4.Credential{}, who, fault.New(fault.NotFound, "access key %s", id)
	}
	return sigv4.Credential{SecretAccessKey: secret}, who, nil
}

// journal keeps log lines for tests to read.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(b)
}

// lines returns the log lines of a level, such as "ERROR".
func (j *journal) lines(level string) []map[string]any {
	j.mu.Lock()
	defer j.mu.Unlock()
	var found []map[string]any
	for line := range bytes.Lines(j.b.Bytes()) {
		var entry map[string]any
		if json.Unmarshal(line, &entry) == nil && entry["level"] == level {
			found = append(found, entry)
		}
	}
	return found
}

// door is a gateway under test.
type door struct {
	*gateway.Gateway
	log *journal
	ids int
}

// open makes a gateway with all generated services; change may alter its
// configuration. A nil provider is the generated Unimplemented.
func open(t testing.TB, change func(*gateway.Config)) *door {
	t.Helper()
	d := &door{log: &journal{}}
	cfg := gateway.Config{
		Services: []gateway.Service{
			{API: ecsapi.API, Provider: ecsapi.Unimplemented{}},
			{API: ec2api.API, Provider: ec2api.Unimplemented{}},
			{API: logsapi.API, Provider: logsapi.Unimplemented{}},
			{API: stsapi.API, Provider: stsapi.Unimplemented{}},
		},
		Credentials: keys{},
		Region:      "eu-central-1",
		Logger:      slog.New(slog.NewJSONHandler(d.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Now:         func() time.Time { return now },
		NewID:       func() string { d.ids++; return fmt.Sprintf("00000000-0000-4000-8000-%012d", d.ids) },
	}
	if change != nil {
		change(&cfg)
	}
	g, err := gateway.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	d.Gateway = g
	return d
}

// provide replaces the provider of one service.
func provide(api *smithy.Service, provider any) func(*gateway.Config) {
	return func(cfg *gateway.Config) {
		for i := range cfg.Services {
			if cfg.Services[i].API == api {
				cfg.Services[i].Provider = provider
			}
		}
	}
}

// request is one call and how to sign it; the zero signing fields mean the
// root key, eu-central-1 and the service given.
type request struct {
	method, target, contentType, amzTarget string
	body                                   []byte
	service, region, key, token            string
	unsigned                               bool
}

func jsonCall(api *smithy.Service, op, body string) request {
	return request{contentType: "application/x-amz-json-" + api.JSONVersion, amzTarget: api.TargetPrefix + "." + op, body: []byte(body), service: api.SigningName}
}

func formCall(api *smithy.Service, op, more string) request {
	return request{contentType: formType, body: []byte("Action=" + op + "&Version=" + api.APIVersion + more), service: api.SigningName}
}

func (q request) build(t testing.TB) *http.Request {
	t.Helper()
	or := func(s, otherwise string) string {
		if s == "" {
			return otherwise
		}
		return s
	}
	r := httptest.NewRequest(or(q.method, "POST"), or(q.target, "http://localhost:4566/"), bytes.NewReader(q.body))
	if q.contentType != "" {
		r.Header.Set("Content-Type", q.contentType)
	}
	if q.amzTarget != "" {
		r.Header.Set("X-Amz-Target", q.amzTarget)
	}
	if !q.unsigned {
		sum := sha256.Sum256(q.body)
		key := aws.Credentials{AccessKeyID: or(q.key, rootKey), SecretAccessKey: secret, SessionToken: q.token}
		if err := v4.NewSigner().SignHTTP(t.Context(), key, r, hex.EncodeToString(sum[:]), or(q.service, "ecs"), or(q.region, "eu-central-1"), now); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (d *door) send(t testing.TB, q request) reply {
	t.Helper()
	return d.do(t, q.build(t))
}

// do sends r and reads the answer; every answer must have a request id.
func (d *door) do(t failer, r *http.Request) reply {
	t.Helper()
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	got := reply{status: w.Code, header: w.Result().Header, body: w.Body.String()}
	if want := fmt.Sprintf("00000000-0000-4000-8000-%012d", d.ids); got.header.Get("x-amzn-RequestId") != want || len(got.header.Values("x-amzn-RequestId")) != 1 {
		t.Fatalf("x-amzn-RequestId %q, want %s", got.header.Values("x-amzn-RequestId"), want)
	}
	return got
}

// reply is an answer.
type reply struct {
	status int
	header http.Header
	body   string
}

func (a reply) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

// failure reads the error envelope of a protocol ("json", "query", "ec2", "s3") and
// complains about everything in it that is not well formed.
func (a reply) failure(protocol string) (code, message string, err error) {
	id := a.header.Get("x-amzn-RequestId")
	complain := func(format string, args ...any) (string, string, error) {
		return "", "", fmt.Errorf("not an error in %s: "+format+"\n%s", append(append([]any{protocol}, args...), a)...)
	}
	if a.status < 400 {
		return complain("status %d", a.status)
	}
	kind := a.header.Get("Content-Type")
	fault := "Sender"
	if a.status >= 500 {
		fault = "Receiver"
	}
	switch protocol {
	case "json":
		var e struct {
			Type    string  `json:"__type"`
			Message *string `json:"message"`
			Upper   *string `json:"Message"`
		}
		if err := json.Unmarshal([]byte(a.body), &e); err != nil {
			return complain("%v", err)
		}
		if !strings.HasPrefix(kind, "application/x-amz-json-1.") || e.Type == "" {
			return complain("content type %q, __type %q", kind, e.Type)
		}
		if e.Message == nil {
			e.Message = e.Upper
		}
		if e.Message != nil {
			message = *e.Message
		}
		_, code, ok := strings.Cut(e.Type, "#")
		if !ok {
			code = e.Type
		}
		return code, message, nil
	case "query":
		var e struct {
			XMLName xml.Name `xml:"ErrorResponse"`
			Error   struct{ Type, Code, Message string }
			ID      string `xml:"RequestId"`
		}
		if err := oneDocument(a.body, &e); err != nil {
			return complain("%v", err)
		}
		if !strings.HasPrefix(kind, "text/xml") || e.Error.Code == "" || e.Error.Type != fault || e.ID != id {
			return complain("content type %q, type %q, id %q", kind, e.Error.Type, e.ID)
		}
		return e.Error.Code, e.Error.Message, nil
	case "s3":
		var e struct {
			XMLName       xml.Name `xml:"Error"`
			Code, Message string
			ID            string `xml:"RequestId"`
		}
		if err := oneDocument(a.body, &e); err != nil {
			return complain("%v", err)
		}
		if kind != "application/xml" || e.Code == "" || e.ID != id {
			return complain("content type %q, id %q", kind, e.ID)
		}
		return e.Code, e.Message, nil
	default:
		var e struct {
			XMLName xml.Name                         `xml:"Response"`
			Errors  []struct{ Code, Message string } `xml:"Errors>Error"`
			ID      string                           `xml:"RequestID"`
		}
		if err := oneDocument(a.body, &e); err != nil {
			return complain("%v", err)
		}
		if !strings.HasPrefix(kind, "text/xml") || len(e.Errors) != 1 || e.Errors[0].Code == "" || e.ID != id {
			return complain("content type %q, errors %v, id %q", kind, e.Errors, e.ID)
		}
		return e.Errors[0].Code, e.Errors[0].Message, nil
	}
}

// oneDocument reads body as exactly one XML document.
func oneDocument(body string, into any) error {
	dec := xml.NewDecoder(strings.NewReader(body))
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("something follows the document: %w", err)
	}
	return nil
}

// wantFailure checks status, code and message; "*" as message matches any.
func wantFailure(t testing.TB, got reply, protocol string, status int, code, message string) {
	t.Helper()
	gotCode, gotMessage, err := got.failure(protocol)
	if err != nil {
		t.Fatal(err)
	}
	if got.status != status || gotCode != code || message != "*" && gotMessage != message {
		t.Fatalf("%d %s %q\nwant %d %s %q", got.status, gotCode, gotMessage, status, code, message)
	}
}

// failer is a *testing.T or a *rapid.T.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}
