package api

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/wire/smithy"
	"berth.dev/berth/internal/wire/smithy/smithytest"
)

// TestConstraints: a valid input of any operation passes, and with any one of
// its constraints broken it is refused, for one reason and with the service's
// code.
func TestConstraints(t *testing.T) {
	for _, svc := range services {
		for _, op := range svc.Operations {
			t.Run(svc.Name+"/"+op.Name, rapid.MakeCheck(func(t *rapid.T) {
				tree := smithytest.DrawValid(t, op.Input)
				if err := smithy.Validate(op, fill(t, op, tree)); err != nil {
					t.Fatalf("valid input: %v", err)
				}
				for _, broken := range smithytest.Break(op.Input, tree) {
					err := smithy.Validate(op, fill(t, op, broken.Tree))
					var got *smithy.ValidationError
					if !errors.As(err, &got) {
						t.Fatalf("%s: got %v", broken.What, err)
					}
					want := op.Codes.Violation
					if strings.HasSuffix(broken.What, ": missing") {
						want = op.Codes.Missing
					}
					if got.Code != want || len(got.Violations) != 1 || got.HTTPStatus() != 400 || got.ErrorMessage() == "" {
						t.Fatalf("%s: got %v, want one violation and %s", broken.What, got, want)
					}
				}
			}))
		}
	}
}

func fill(t *rapid.T, op *smithy.Operation, tree map[string]any) smithy.Shape {
	in := op.NewInput()
	if err := smithytest.Fill(in, tree); err != nil {
		t.Fatal(err)
	}
	return in
}

// TestGarbage: whatever arrives for whatever operation is an input or a refusal
// with the service's code; what is an input can be validated.
func TestGarbage(t *testing.T) {
	fragment := rapid.SampledFrom([]string{
		"{", "}", "[", "]", ":", ",", `"`, "null", "true", "1", "1e400", "-", `"tags"`, `"cluster"`, `"containerDefinitions"`, `"logEvents"`, `\u`, "\xff",
		"Filter.1.Name=", "Filter.1.Value.99999999999=", "VpcId", ".", "=", "&", "%", "MaxResults=", "a", "\x00",
	})
	bodies := rapid.OneOf(
		rapid.SliceOf(rapid.Byte()),
		rapid.Map(rapid.SliceOf(fragment), func(parts []string) []byte { return []byte(strings.Join(parts, "")) }),
		rapid.Map(rapid.MapOf(rapid.SampledFrom([]string{"tags", "cluster", "tasks", "family", "overrides", "limit", "logGroupName"}), rapid.SampledFrom([]string{"1", "[]", "{}", `""`, "null", "[[]]", "[{}]", "1.5", "true"})),
			func(members map[string]string) []byte {
				var parts []string
				for name, v := range members {
					parts = append(parts, `"`+name+`":`+v)
				}
				return []byte("{" + strings.Join(parts, ",") + "}")
			}),
	)
	for _, svc := range services {
		t.Run(svc.Name, rapid.MakeCheck(func(t *rapid.T) {
			body := bodies.Draw(t, "body")
			for _, op := range svc.Operations {
				in, err := protocolOf(svc).DecodeRequest(svc, op, httptest.NewRequest("POST", "/", nil), body)
				if err != nil {
					var refusal *smithy.SerializationError
					if !errors.As(err, &refusal) || refusal.Code != op.Codes.Malformed {
						t.Fatalf("%s: got %v, want a SerializationError", op.Name, err)
					}
					continue
				}
				var refusal smithy.APIError
				if err := smithy.Validate(op, in); err != nil && (!errors.As(err, &refusal) || refusal.HTTPStatus() != 400) {
					t.Fatalf("%s: got %v, want an error of the client", op.Name, err)
				}
			}
		}))
	}
}
