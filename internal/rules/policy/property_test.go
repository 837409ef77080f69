package policy

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The world of the properties: few words, so that statements meet requests.
var (
	genAction    = rapid.SampledFrom([]string{"*", "ecs:*", "ecs:Run*", "ecs:RunTask", "ecs:StopTask", "s3:Get?bject", "s3:*"})
	genResource  = rapid.SampledFrom([]string{"*", "arn:aws:s3:::a/*", "arn:aws:s3:::a/x", "arn:aws:s3:::${aws:username}/*", "arn:aws:ecs:*:*:task/*"})
	genPrincipal = rapid.SampledFrom([]any{
		"*",
		map[string]any{"AWS": account},
		map[string]any{"AWS": user().ARN},
		map[string]any{"AWS": []string{session().ARN, roleARN, account}},
		map[string]any{"AWS": roleARN},
		map[string]any{"Service": service().Service},
		map[string]any{"AWS": foreign},
	})
	genOperator = rapid.SampledFrom([]string{
		"StringEquals", "StringNotEquals", "StringLike", "StringEqualsIfExists", "ForAnyValue:StringEquals", "ForAllValues:StringNotLike", "Null",
	})
	genKey   = rapid.SampledFrom([]string{"aws:username", "aws:TagKeys", "aws:PrincipalTag/a"})
	genValue = rapid.SampledFrom([]string{"a", "b", "*", "true", "false", "${aws:username}"})
)

// genStatement draws a statement of a kind with an effect, "" for any.
func genStatement(t *rapid.T, kind Kind, effect string) map[string]any {
	pick := func(label, positive, negative string) string {
		if rapid.IntRange(0, 3).Draw(t, label) == 0 {
			return negative
		}
		return positive
	}
	if effect == "" {
		effect = pick("effect", "Allow", "Deny")
	}
	s := map[string]any{
		"Effect": effect,
		pick("action element", "Action", "NotAction"):       rapid.SliceOfN(genAction, 1, 2).Draw(t, "actions"),
		pick("resource element", "Resource", "NotResource"): rapid.SliceOfN(genResource, 1, 2).Draw(t, "resources"),
	}
	if kind == Resource {
		s[pick("principal element", "Principal", "NotPrincipal")] = genPrincipal.Draw(t, "principal")
	}
	if rapid.Bool().Draw(t, "has condition") {
		s["Condition"] = map[string]any{genOperator.Draw(t, "operator"): map[string]any{
			genKey.Draw(t, "key"): rapid.SliceOfN(genValue, 0, 2).Draw(t, "values"),
		}}
	}
	return s
}

type statements []map[string]any

func genStatements(t *rapid.T, kind Kind) statements {
	list := make(statements, rapid.IntRange(1, 3).Draw(t, "statements"))
	for i := range list {
		list[i] = genStatement(t, kind, "")
	}
	return list
}

func (s statements) parse(t *rapid.T, kind Kind) *Document {
	text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": s})
	if err != nil {
		t.Fatal(err)
	}
	d, err := Parse(kind, string(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return d
}

// scene is a question and all that bears on it; nil statements are no policy.
type scene struct {
	request                               Request
	identity, boundary, session, resource statements
	decides, cross                        bool
}

func genScene(t *rapid.T) scene {
	s := scene{
		request: Request{
			Principal: rapid.SampledFrom([]Principal{user(), session(), root(), service()}).Draw(t, "who"),
			Action:    rapid.SampledFrom([]string{"ecs:RunTask", "ecs:StopTask", "s3:GetObject"}).Draw(t, "action"),
			Resource:  rapid.SampledFrom([]string{"*", "arn:aws:s3:::a/x", "arn:aws:s3:::b/x", "arn:aws:ecs:us-east-1:123456789012:task/x"}).Draw(t, "resource"),
			Context:   map[string][]string{},
		},
		identity: genStatements(t, Identity),
		decides:  rapid.Bool().Draw(t, "resource decides"),
		cross:    rapid.Bool().Draw(t, "across accounts"),
	}
	for _, key := range []string{"aws:username", "aws:tagkeys", "aws:principaltag/a"} {
		if rapid.Bool().Draw(t, key) {
			s.request.Context[key] = rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b"}), 0, 2).Draw(t, "values")
		}
	}
	if rapid.Bool().Draw(t, "has boundary") {
		s.boundary = genStatements(t, Identity)
	}
	if rapid.Bool().Draw(t, "has session") {
		s.session = genStatements(t, Identity)
	}
	if rapid.Bool().Draw(t, "has resource policy") {
		s.resource = genStatements(t, Resource)
	}
	return s
}

func (s scene) evaluate(t *rapid.T) Decision {
	p := Policies{Identity: []Source{{Document: s.identity.parse(t, Identity)}}, ResourceDecides: s.decides}
	if s.boundary != nil {
		p.Boundary = &Source{Document: s.boundary.parse(t, Identity)}
	}
	if s.session != nil {
		p.Session = []Source{{Document: s.session.parse(t, Identity)}}
	}
	if s.resource != nil {
		p.Resource = &Source{Document: s.resource.parse(t, Resource)}
	}
	if s.cross {
		p.ResourceAccountID = foreign
	}
	return Evaluate(s.request, p)
}

// layers are the policies of the scene that exist, and their kinds.
func (s *scene) layers() (lists []*statements, kinds []Kind) {
	for _, l := range []*statements{&s.identity, &s.boundary, &s.session, &s.resource} {
		if *l != nil {
			kind := Identity
			if l == &s.resource {
				kind = Resource
			}
			lists, kinds = append(lists, l), append(kinds, kind)
		}
	}
	return lists, kinds
}

// with returns the scene with one more statement of an effect, anywhere in one
// of its policies.
func (s scene) with(t *rapid.T, effect string) scene {
	lists, kinds := s.layers()
	i := rapid.IntRange(0, len(lists)-1).Draw(t, "layer")
	at := rapid.IntRange(0, len(*lists[i])).Draw(t, "place")
	*lists[i] = slices.Insert(slices.Clone(*lists[i]), at, genStatement(t, kinds[i], effect))
	return s
}

// Deny always wins: a decision is an explicit deny exactly when a statement
// that denies matched.
func TestEvaluate_DenyAlwaysWins(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := genScene(t).evaluate(t)
		denied := slices.ContainsFunc(d.Matched, func(m Matched) bool { return m.Deny })
		if denied != (d.Outcome == ExplicitDeny) {
			t.Fatalf("%d although matched: %+v", d.Outcome, d.Matched)
		}
		if d.Outcome == Allowed && d.By == nil && d.Layer != "" {
			t.Fatalf("allowed by nothing: %+v", d)
		}
	})
}

// An Allow statement more never removes access.
func TestEvaluate_AllowNeverRemoves(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		before := genScene(t)
		if before.evaluate(t).Outcome != Allowed {
			return
		}
		if after := before.with(t, "Allow").evaluate(t); after.Outcome != Allowed {
			t.Fatalf("%+v", after)
		}
	})
}

// A Deny statement more never adds access.
func TestEvaluate_DenyNeverAdds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		before := genScene(t)
		if before.evaluate(t).Outcome == Allowed {
			return
		}
		if after := before.with(t, "Deny").evaluate(t); after.Outcome == Allowed {
			t.Fatalf("%+v", after)
		}
	})
}

// The order of statements does not matter, nor does it that one document says
// it or two.
func TestEvaluate_OrderDoesNotMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := genScene(t)
		want := s.evaluate(t)
		lists, _ := s.layers()
		for _, list := range lists {
			*list = rapid.Permutation(*list).Draw(t, "order")
		}
		if got := s.evaluate(t); got.Outcome != want.Outcome || got.Layer != want.Layer {
			t.Fatalf("%d by %s, was %d by %s", got.Outcome, got.Layer, want.Outcome, want.Layer)
		}
		identity := make([]Source, 0, len(s.identity))
		for i := range s.identity {
			identity = append(identity, Source{Document: s.identity[i:i+1].parse(t, Identity)})
		}
		together := Evaluate(s.request, Policies{Identity: []Source{{Document: s.identity.parse(t, Identity)}}})
		apart := Evaluate(s.request, Policies{Identity: identity})
		if together.Outcome != apart.Outcome {
			t.Fatalf("%d apart, %d together", apart.Outcome, together.Outcome)
		}
	})
}

// Boundaries, session policies and the border between accounts only limit.
func TestEvaluate_LimitsOnlyLimit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := genScene(t)
		if s.evaluate(t).Outcome != Allowed {
			return
		}
		for name, free := range map[string]scene{
			"boundary": {s.request, s.identity, nil, s.session, s.resource, s.decides, s.cross},
			"session":  {s.request, s.identity, s.boundary, nil, s.resource, s.decides, s.cross},
			"border":   {s.request, s.identity, s.boundary, s.session, s.resource, s.decides, false},
			"decides":  {s.request, s.identity, s.boundary, s.session, s.resource, false, s.cross},
		} {
			if got := free.evaluate(t); got.Outcome != Allowed {
				t.Fatalf("allowed with a %s, not without: %+v", name, got)
			}
		}
	})
}

// NotAction and NotResource are the complements of Action and Resource: of two
// statements that differ in that only, exactly one is about a request.
func TestEvaluate_Complements(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := genScene(t)
		for _, element := range []string{"Action", "Resource"} {
			positive := map[string]any{"Effect": "Allow", "Action": "*", "Resource": "*"}
			if element == "Action" {
				positive[element] = rapid.SliceOfN(genAction, 1, 3).Draw(t, element)
			} else {
				positive[element] = rapid.SliceOfN(genResource, 1, 3).Draw(t, element)
			}
			negative := maps.Clone(positive)
			delete(negative, element)
			negative["Not"+element] = positive[element]
			outcome := func(statement map[string]any) Outcome {
				return Evaluate(Request{Principal: user(), Action: s.request.Action, Resource: s.request.Resource, Context: s.request.Context},
					Policies{Identity: []Source{{Document: statements{statement}.parse(t, Identity)}}}).Outcome
			}
			if outcome(positive) == outcome(negative) {
				t.Fatalf("both or neither of %v and %v", positive, negative)
			}
		}
	})
}

// A decision says why, and only a refusal has a sentence.
func TestSentence_OnlyOfRefusals(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := genScene(t)
		d := s.evaluate(t)
		if (d.Sentence(s.request) == "") != (d.Outcome == Allowed) {
			t.Fatalf("%d: %q", d.Outcome, d.Sentence(s.request))
		}
	})
}
