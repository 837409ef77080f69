package policy

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// seeds are documents of all kinds, those of the tables among them.
func seeds(f *testing.F) []string {
	f.Helper()
	documents := []string{
		"", allowAll, denyAll, resourcePolicy("Allow", `"*"`),
		allow(`"Action":"s3:*","Resource":"arn:aws:s3:::${aws:username, 'x'}/*","Condition":{"ForAllValues:StringLikeIfExists":{"aws:TagKeys":["a*","${*}"]},"DateLessThan":{"aws:CurrentTime":"2026-11-22T12:00:00Z"}}`),
		allow(`"NotAction":"s3:*","NotResource":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"},"NumericLessThan":{"x":1},"BinaryEquals":{"y":"QQ=="},"Null":{"z":true}}`),
	}
	for block := range strings.SplitSeq(malformedDocuments, "\n\n") {
		if _, document, found := strings.Cut(block, "\n"); found {
			documents = append(documents, strings.TrimSuffix(document, "\n"))
		}
	}
	small, err := filepath.Glob("managed/documents/AmazonECS*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range small {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		documents = append(documents, string(text))
	}
	return documents
}

// FuzzParse: no text makes the parser fall, a refusal has words, and what is
// accepted can be described and asked.
func FuzzParse(f *testing.F) {
	for _, document := range seeds(f) {
		for kind := range 4 {
			f.Add(kind, document)
		}
	}
	f.Fuzz(func(t *testing.T, kind int, text string) {
		d, err := Parse(Kind(kind&3), text)
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.Message == "" || d != nil {
				t.Fatalf("%v with %v", err, d)
			}
			return
		}
		last := Position{Line: 1, Column: 1}
		for _, s := range d.Statements() {
			if s.Start.Line < last.Line || s.End.Line < s.Start.Line || s.Start.Line == s.End.Line && s.End.Column <= s.Start.Column {
				t.Fatalf("from %v to %v, after %v", s.Start, s.End, last)
			}
			last = s.End
		}
		if n := d.Length(); n > len(text) || n < len(`{"Statement":{"Effect":"Deny"}}`) {
			t.Fatalf("%d of %d characters", n, len(text))
		}
		for _, key := range d.ContextKeys() {
			if !strings.Contains(strings.ToValidUTF8(text, "\uFFFD"), key) && !strings.Contains(text, `\`) && utf8.ValidString(text) {
				t.Fatalf("%q is a key that the text has not", key)
			}
		}
		request := Request{Principal: user(), Action: "s3:GetObject", Resource: "arn:aws:s3:::b/k"}
		p := Policies{Identity: []Source{{Document: d}}, Resource: &Source{Document: d}}
		if outcome := Evaluate(request, p); outcome.Outcome == Allowed != (outcome.Sentence(request) == "") {
			t.Fatalf("%+v", outcome)
		}
	})
}

// FuzzEvaluate: whatever is asked of whatever policies, an explicit deny that
// matched decides, and a policy that denies everything is never overruled.
func FuzzEvaluate(f *testing.F) {
	for _, document := range seeds(f) {
		f.Add(document, resourcePolicy("Allow", `{"AWS":"123456789012"}`), "s3:GetObject", "arn:aws:s3:::bob/k", "aws:username", "bob")
	}
	f.Add(allowAll, allowAll, "sts:AssumeRole", "*", "aws:currenttime", "2026-11-22T12:00:00+01:00")
	deny, err := Parse(Identity, denyAll)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, identity, resource, action, arn, key, value string) {
		request := Request{Principal: user(), Action: action, Resource: arn, Context: map[string][]string{strings.ToLower(key): {value, value}, "x": {value}, "y": {value}}}
		p := Policies{}
		if d, err := Parse(Identity, identity); err == nil {
			p.Identity = []Source{{Document: d}}
		}
		if d, err := Parse(Resource, resource); err == nil {
			p.Resource = &Source{Document: d}
		}
		for _, principal := range []Principal{user(), session(), root(), service()} {
			request.Principal = principal
			d := Evaluate(request, p)
			for _, m := range d.Matched {
				if m.Deny && d.Outcome != ExplicitDeny {
					t.Fatalf("a deny was overruled: %+v", d)
				}
			}
			denied := p
			denied.Identity = append([]Source{{Document: deny}}, p.Identity...)
			if d := Evaluate(request, denied); d.Outcome != ExplicitDeny {
				t.Fatalf("everything is denied: %+v", d)
			}
		}
	})
}
