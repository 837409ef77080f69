package cli

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeAWS answers AWS calls from tables of functions, and remembers which
// calls changed something.
type fakeAWS struct {
	t *testing.T

	mu sync.Mutex
	// json answers operations of the JSON protocols by their names; what it
	// returns is marshalled with the member names of the API.
	json map[string]func(in map[string]any) (any, error)
	// query answers operations of the query protocols with the inside of
	// their result elements.
	query map[string]func(in url.Values) (string, error)
	calls []string
}

// refusal is an error that the API answers.
type refusal struct{ code, message string }

func (r *refusal) Error() string { return r.code + ": " + r.message }

// start serves it, and points this test's environment to it.
func (f *fakeAWS) start() {
	server := httptest.NewServer(f)
	f.t.Cleanup(server.Close)
	for name, value := range map[string]string{
		endpointVariable: server.URL, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_MAX_ATTEMPTS": "1",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "ECS_CLUSTER": "default", "BERTH_DATA_DIR": "",
	} {
		f.t.Setenv(name, value)
	}
}

func (f *fakeAWS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		f.t.Error(err)
	}
	if target := r.Header.Get("X-Amz-Target"); target != "" {
		f.answerJSON(w, target, body)
		return
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		f.t.Error(err)
	}
	f.answerQuery(w, form)
}

func (f *fakeAWS) answerJSON(w http.ResponseWriter, target string, body []byte) {
	prefix, operation, _ := strings.Cut(target, ".")
	name := operation
	if strings.HasPrefix(prefix, "Route53") {
		name = "sd:" + operation
	}
	var in map[string]any
	if err := json.Unmarshal(body, &in); err != nil {
		f.t.Errorf("%s: %v", name, err)
	}
	f.remember(operation, string(body))
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	answer := f.json[name]
	var out any
	var err error = &refusal{"UnknownOperationException", name + " is not part of this test"}
	if answer != nil {
		out, err = answer(in)
	} else {
		f.t.Errorf("%s was called", name)
	}
	if err != nil {
		code := "ServerException"
		if r, ok := err.(*refusal); ok { //nolint:errorlint // made here
			code = r.code
		}
		w.WriteHeader(http.StatusBadRequest)
		out = map[string]any{"__type": code, "message": err.Error()}
	}
	rename := lowerFirst
	if strings.HasPrefix(name, "sd:") || strings.HasPrefix(prefix, "CloudTrail") || prefix == "secretsmanager" {
		rename = func(s string) string { return s }
	}
	if err := json.NewEncoder(w).Encode(epochs(shapeOf(reflect.ValueOf(out), rename))); err != nil {
		f.t.Error(err)
	}
}

func (f *fakeAWS) answerQuery(w http.ResponseWriter, form url.Values) {
	action := form.Get("Action")
	f.remember(action, form.Encode())
	var inside string
	var err error = &refusal{"InvalidAction", action + " is not part of this test"}
	if answer := f.query[action]; answer != nil {
		inside, err = answer(form)
	} else {
		f.t.Errorf("%s was called", action)
	}
	if err != nil {
		code := "InternalFailure"
		if r, ok := err.(*refusal); ok { //nolint:errorlint // made here
			code = r.code
		}
		var text strings.Builder
		if err := xml.EscapeText(&text, []byte(err.Error())); err != nil {
			f.t.Error(err)
		}
		w.WriteHeader(http.StatusBadRequest)
		if form.Get("Version") == "2016-11-15" { // EC2 has a shape of its own
			fmt.Fprintf(w, "<Response><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors></Response>", code, text.String()) //nolint:errcheck // a test
			return
		}
		fmt.Fprintf(w, "<ErrorResponse><Error><Code>%s</Code><Message>%s</Message></Error></ErrorResponse>", code, text.String()) //nolint:errcheck // a test
		return
	}
	if form.Get("Version") == "2016-11-15" {
		fmt.Fprintf(w, "<%[1]sResponse>%[2]s</%[1]sResponse>", action, inside) //nolint:errcheck // a test
		return
	}
	fmt.Fprintf(w, "<%[1]sResponse><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>", action, inside) //nolint:errcheck // a test
}

func (f *fakeAWS) remember(operation, input string) {
	for _, verb := range reading {
		if strings.HasPrefix(operation, verb) {
			return
		}
	}
	f.calls = append(f.calls, operation+" "+input)
}

// changes are the calls that changed something.
func (f *fakeAWS) changes() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// called finds the only call of an operation, and returns its input.
func (f *fakeAWS) called(operation string) string {
	f.t.Helper()
	var found []string
	for _, c := range f.changes() {
		if name, input, _ := strings.Cut(c, " "); name == operation {
			found = append(found, input)
		}
	}
	if len(found) != 1 {
		f.t.Fatalf("%s was called %d times; calls: %q", operation, len(found), f.changes())
	}
	return found[0]
}

// epochs turns times into the seconds that the JSON protocols send.
func epochs(v any) any {
	switch v := v.(type) {
	case time.Time:
		return float64(v.UnixMilli()) / 1000
	case map[string]any:
		for k := range v {
			v[k] = epochs(v[k])
		}
	case []any:
		for i := range v {
			v[i] = epochs(v[i])
		}
	}
	return v
}

// berth runs one command, and returns what it printed, without what differs
// from run to run, and its exit code.
func berth(t *testing.T, args ...string) (out, errOut string, code int) {
	t.Helper()
	var stdout, stderr strings.Builder
	code = Main(t.Context(), args, strings.NewReader(""), &stdout, &stderr)
	return stdout.String(), steadied(stderr.String()), code
}

var durations = regexp.MustCompile(`\b\d+\.\d+ s\b`)

func steadied(s string) string { return durations.ReplaceAllString(s, "N s") }
