package audit_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/edge/audit"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/wire/api/acmapi"
	"berth.dev/berth/internal/wire/api/cloudtrailapi"
	"berth.dev/berth/internal/wire/api/ec2api"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/api/elbv2api"
	"berth.dev/berth/internal/wire/api/iamapi"
	"berth.dev/berth/internal/wire/api/kmsapi"
	"berth.dev/berth/internal/wire/api/logsapi"
	"berth.dev/berth/internal/wire/api/secretsmanagerapi"
	"berth.dev/berth/internal/wire/api/servicediscoveryapi"
	"berth.dev/berth/internal/wire/api/ssmapi"
	"berth.dev/berth/internal/wire/api/stsapi"
	"berth.dev/berth/internal/wire/smithy"
)

var services = []*smithy.Service{
	acmapi.API, cloudtrailapi.API, ec2api.API, ecsapi.API, elbv2api.API, iamapi.API, kmsapi.API, logsapi.API,
	secretsmanagerapi.API, servicediscoveryapi.API, ssmapi.API, stsapi.API,
}

// canary is in every secret that the filler makes.
const canary = "CANARY4711"

// leftOut are names that hold secrets though their models do not say so.
var leftOut = []string{"SessionToken", "SourceResult", "ClientSecret", "Password", "GrantToken", "logEvents"}

// filler is a smithy.ShapeDeserializer that has something for every member of
// every shape, and a canary where nobody may see it.
type filler struct {
	draw   func(label string, max int) int
	text   func(label string) string
	secret int // depth of the secret that is being filled; 0 outside
	depth  int
	made   int // secrets
}

func (f *filler) within(hidden bool, fill func() error) error {
	if hidden || f.secret > 0 {
		f.secret++
		defer func() { f.secret-- }()
	}
	f.depth++
	defer func() { f.depth-- }()
	return fill()
}

func (f *filler) ReadStruct(s *smithy.Schema, member func(*smithy.Member) error) error {
	if f.depth > 8 {
		return nil
	}
	for _, m := range s.Members {
		hidden := s.Sensitive || m.Target.Sensitive
		for _, name := range leftOut {
			hidden = hidden || m.Name == name
		}
		if s.Union && f.draw("member", 1) == 0 {
			continue
		}
		if err := f.within(hidden, func() error { return member(m) }); err != nil {
			return err
		}
	}
	return nil
}

func (f *filler) ReadList(m *smithy.Member, elem func() error) error {
	for range f.draw("elements", 2) {
		if err := f.within(m.Target.Sensitive || m.Target.Elem.Target.Sensitive, elem); err != nil {
			return err
		}
	}
	return nil
}

func (f *filler) ReadMap(m *smithy.Member, entry func(string) error) error {
	for range f.draw("entries", 2) {
		err := f.within(m.Target.Sensitive || m.Target.Value.Target.Sensitive, func() error {
			key := f.text("key")
			if m.Target.Key.Target.Sensitive {
				key = canary
			}
			return entry(key)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *filler) ReadString(m *smithy.Member) (string, error) {
	if f.secret > 0 || m.Target.Sensitive {
		f.made++
		return canary, nil
	}
	return f.text("text"), nil
}

func (f *filler) ReadBlob(*smithy.Member) ([]byte, error) { return []byte(canary), nil } // never shown
func (f *filler) ReadBool(*smithy.Member) (bool, error)   { return true, nil }
func (f *filler) ReadInt(*smithy.Member) (int64, error)   { return 7, nil }
func (f *filler) ReadFloat(*smithy.Member) (float64, error) {
	return []float64{1.5, math.NaN(), math.Inf(1)}[f.draw("float", 2)], nil
}
func (f *filler) ReadTime(*smithy.Member) (time.Time, error) { return begin, nil }

// check fills the input and output of an operation and looks for canaries in
// the record.
func check(t interface {
	Helper()
	Fatalf(string, ...any)
}, api *smithy.Service, op *smithy.Operation, f *filler,
) {
	t.Helper()
	in, out := op.NewInput(), op.NewOutput()
	for _, shape := range []smithy.Shape{in, out} {
		if err := shape.Deserialize(f); err != nil {
			t.Fatalf("%s: %v", op.Name, err)
		}
	}
	text := audit.Encode(account, "us-east-1", &gateway.AuditRecord{Time: begin, Caller: root(), Service: api, Operation: op, Input: in, Output: out})
	if !json.Valid([]byte(text)) || len(text) > 64<<10 {
		t.Fatalf("%s: a record of %d bytes: %s", op.Name, len(text), text)
	}
	if strings.Contains(text, canary) || strings.Contains(text, "Q0FOQVJZ") {
		t.Fatalf("%s: a secret in %s", op.Name, text)
	}
}

// No secret member of any operation that is served shows in its record.
func TestNoSecrets_EveryOperation(t *testing.T) {
	made := 0
	for _, api := range services {
		for _, op := range api.Operations {
			f := &filler{draw: func(_ string, most int) int { return most }, text: func(string) string { return "x" }}
			check(t, api, op, f)
			made += f.made
		}
	}
	if made < 20 {
		t.Errorf("only %d secrets were tried: the schemas have lost their marks", made)
	}
}

// The same with any texts and sizes; and every record is JSON.
func TestNoSecrets_Property(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		api := rapid.SampledFrom(services).Draw(t, "service")
		op := rapid.SampledFrom(api.Operations).Draw(t, "operation")
		check(t, api, op, &filler{
			draw: func(label string, most int) int { return rapid.IntRange(0, most).Draw(t, label) },
			text: func(label string) string { return string(rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, label)) },
		})
	})
}
