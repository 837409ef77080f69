package policy

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestPattern_Match(t *testing.T) {
	t.Parallel()
	tests := []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true},
		{"", "a", false},
		{"a", "", false},
		{"*", "", true},
		{"*", "a/b:c", true},
		{"**", "a", true},
		{"?", "", false},
		{"?", "a", true},
		{"?", "é", true},
		{"?", "ab", false},
		{"a*", "a", true},
		{"a*", "abc", true},
		{"a*", "ba", false},
		{"*a", "a", true},
		{"*a", "bca", true},
		{"*a", "ab", false},
		{"a*b*c", "aXXbYYc", true},
		{"a*b*c", "acb", false},
		{"a?c", "abc", true},
		{"a?c", "ac", false},
		{"a?*", "a", false},
		{"a?*", "ab", true},
		{"*?*?*", "a", false},
		{"*?*?*", "ab", true},
		{"*aab", "aaaab", true},
		{"*a*aab*", "aaab", true},
		{"A", "a", false},
		{"[a-z]", "b", false},
		{"[a-z]", "[a-z]", true},
		{`\*`, `\x`, true},
		{"db-*-prod", "db-orders-prod", true},
		{"db-*-prod", "db-prod", false},
	}
	for _, test := range tests {
		p, err := compile(test.pattern, true, false)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.match(test.text, nil); got != test.want {
			t.Errorf("%q matches %q: %t", test.pattern, test.text, got)
		}
	}
}

func TestPattern_MatchFold(t *testing.T) {
	t.Parallel()
	tests := []struct {
		pattern, text string
		want          bool
	}{
		{"Run*", "runtask", true},
		{"run*", "RUN", true},
		{"run*", "RU", false},
		{"*Task?", "RUNTASKS", true},
		{"runtask", "RunTask", true},
		{"runtask", "RunTasks", false},
		{"É*", "éa", true},
		{"k*", "Kelvin", true},
		{"*ß", "aß", true},
	}
	for _, test := range tests {
		p, err := compile(test.pattern, true, false)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.matchFold(test.text, nil); got != test.want {
			t.Errorf("%q matches %q without case: %t", test.pattern, test.text, got)
		}
	}
}

// naive is what a pattern means, by trying everything.
func naive(pattern, text []rune) bool {
	switch {
	case len(pattern) == 0:
		return len(text) == 0
	case pattern[0] == '*':
		return naive(pattern[1:], text) || len(text) > 0 && naive(pattern, text[1:])
	default:
		return len(text) > 0 && (pattern[0] == '?' || pattern[0] == text[0]) && naive(pattern[1:], text[1:])
	}
}

func TestPattern_EqualsNaiveModel(t *testing.T) {
	t.Parallel()
	alphabet := func(wild string) *rapid.Generator[string] {
		return rapid.StringOfN(rapid.SampledFrom([]rune("abé"+wild)), 0, 10, -1)
	}
	rapid.Check(t, func(t *rapid.T) {
		pattern, text := alphabet("*?*").Draw(t, "pattern"), alphabet("*").Draw(t, "text")
		p, err := compile(pattern, true, true)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := p.match(text, nil), naive([]rune(pattern), []rune(text)); got != want {
			t.Fatalf("%q matches %q: %t, want %t", pattern, text, got, want)
		}
		upper := strings.ToUpper(pattern)
		if p, err = compile(upper, true, true); err != nil {
			t.Fatal(err)
		}
		if got, want := p.matchFold(text, nil), naive([]rune(pattern), []rune(text)); got != want {
			t.Fatalf("%q matches %q without case: %t, want %t", upper, text, got, want)
		}
	})
}

func TestPattern_Variables(t *testing.T) {
	t.Parallel()
	request := Request{Context: map[string][]string{
		"aws:username": {"bob"}, "aws:principaltag/team": {"a*"}, "aws:tagkeys": {"x", "y"}, "aws:empty": {},
	}}
	tests := []struct {
		name, pattern, text string
		variables, want     bool
		missing             string
	}{
		{"value", "home/${aws:username}/*", "home/bob/x", true, true, ""},
		{"other value", "home/${aws:username}/*", "home/eve/x", true, false, ""},
		{"keys have no case", "${AWS:UserName}", "bob", true, true, ""},
		{"wildcards of values are characters", "${aws:PrincipalTag/Team}", "ab", true, false, ""},
		{"and match themselves", "${aws:PrincipalTag/Team}", "a*", true, true, ""},
		{"missing", "${aws:userid}", "", true, false, "aws:userid"},
		{"missing does not match its text", "${aws:userid}", "${aws:userid}", true, false, "aws:userid"},
		{"several values are none", "${aws:TagKeys}", "x", true, false, "aws:TagKeys"},
		{"empty list", "${aws:empty}", "", true, false, "aws:empty"},
		{"fallback", "${aws:userid, 'nobody'}", "nobody", true, true, ""},
		{"fallback that is not needed", "${aws:username,'nobody'}", "nobody", true, false, ""},
		{"fallback of no characters", "a${aws:userid, ''}b", "ab", true, true, ""},
		{"wildcards of fallbacks are characters", "${aws:userid, '*'}", "x", true, false, ""},
		{"escapes", "${*}${?}${$}", "*?$", true, true, ""},
		{"escaped star is no wildcard", "a${*}", "ab", true, false, ""},
		{"dollar alone", "$a$", "$a$", true, true, ""},
		{"no variables in the old version", "${aws:username}", "${aws:username}", false, true, ""},
	}
	for _, test := range tests {
		p, err := compile(test.pattern, true, test.variables)
		if err != nil {
			t.Fatal(err)
		}
		ask := asking{request: &request}
		if got := p.match(test.text, &ask); got != test.want || strings.Join(ask.missing, " ") != test.missing {
			t.Errorf("%s: %q matches %q: %t, missing %q", test.name, test.pattern, test.text, got, ask.missing)
		}
	}
	for _, broken := range []string{"${aws:username", "${}", "${, 'x'}", "${a, x}", "${a, '}", "${a,'x}"} {
		if _, err := compile(broken, true, true); err == nil {
			t.Errorf("%q is accepted", broken)
		}
	}
}

func TestARNPattern_Match(t *testing.T) {
	t.Parallel()
	const task = "arn:aws:ecs:us-east-1:123456789012:task/default/0123"
	const table = "arn:aws:dynamodb:us-east-1:123456789012:table/prod-x"
	tests := []struct {
		pattern, arn string
		want         bool // of a condition
		runsOn       bool // a Resource matches although a condition does not
	}{
		{"*", task, true, false},
		{"*", "*", true, false},
		{"**", task, true, false},
		{task, task, true, false},
		{task, "*", false, false},
		{"arn:aws:ecs:*:*:task/*", task, true, false},
		{"arn:aws:ecs:us-*:1234????9012:task/default/*", task, true, false},
		{"arn:aws:ecs:*:task/default/0123", task, false, true},
		{"arn:aws:dynamodb:*:table/prod-*", table, false, true},
		{"arn:aws:dynamodb:*:table/dev-*", table, false, false},
		{"arn:aws:dynamodb:us-*:table/prod-x", table, false, true},
		{"arn:aws:dynamodb:us-*:table/prod", table, false, false},
		{"arn:aws:dynamodb:us-*-1:table/prod-x", table, false, false},
		{"arn:aws:dynamodb:us-east-?:table/prod-x", table, false, false},
		{"arn:*:table/prod-x", table, false, true},
		{"arn:aws:*:123456789012:table/*", table, false, true},
		{"arn:aws:dynamodb:${aws:username}*:table/prod-x", table, false, false},
		{"arn:aws:ecs:us-east-1:*/0123", task, false, false}, // this * is not the end of its field
		{"arn:aws:ecs:*", task, true, false},                 // fields that are left out
		{"arn:aws:ecs", task, true, false},
		{"arn:aws:s3", task, false, false},
		{"arn:aws:ECS:*:*:task/*", task, false, false}, // case counts
		{"arn:aws:logs:us-east-1:123456789012:log-group:/ecs/*", "arn:aws:logs:us-east-1:123456789012:log-group:/ecs/web:log-stream:a", true, false},
		{"arn:aws:logs:us-east-1:123456789012:log-group:*:*", "arn:aws:logs:us-east-1:123456789012:log-group:/ecs/web:*", true, false},
		{"arn:aws:s3:::bucket/*", "arn:aws:s3:::bucket/a:b/c", true, false},
		{"arn:aws:s3:::bucket", "arn:aws:s3:::bucket/a", false, false},
		{"arn:aws:iam::*:role/*", "*", false, false},
		// The examples of IAM's reference of the Resource element.
		{"arn:aws:s3:::bucket/*/test/*", "arn:aws:s3:::bucket/1/2/test/3/object.jpg", true, false},
		{"arn:aws:s3:::bucket/*/test/*", "arn:aws:s3:::bucket/1///test///object.jpg", true, false},
		{"arn:aws:s3:::bucket/*/test/*", "arn:aws:s3:::bucket//test/object.jpg", true, false},
		{"arn:aws:s3:::bucket/*/test/*", "arn:aws:s3:::bucket/1/test/", true, false},
		{"arn:aws:s3:::bucket/*/test/*", "arn:aws:s3:::bucket/1-test/object.jpg", false, false},
		{"arn:aws:s3:::bucket/*/test/*", "arn:aws:s3:::bucket/test/object.jpg", false, false},
		{"arn:aws:s3:::bucket/*/test/*", "arn:aws:s3:::bucket/1/2/test.jpg", false, false},
		{"arn:aws:s3:::${aws:username}", "arn:aws:s3:::a:b", true, false},
		{"arn:aws:sns:${aws:PrincipalTag/a:b, 'x'}:*:t", "arn:aws:sns:x:1:t", true, false},
	}
	request := Request{Context: map[string][]string{"aws:username": {"a:b"}}}
	for _, test := range tests {
		for _, runsOn := range []bool{false, true} {
			p, err := compileARN(test.pattern, true, runsOn)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := p.match(test.arn, &asking{request: &request}), test.want || runsOn && test.runsOn; got != want {
				t.Errorf("%q matches %q: %t (runs on: %t)", test.pattern, test.arn, got, runsOn)
			}
		}
	}
}

// naiveARN is what a Resource of six fields means, by trying everything.
func naiveARN(pattern, text string, field int) bool {
	if pattern == "" {
		return text == ""
	}
	first, rest := pattern[0], pattern[1:]
	inLast := field == arnFields-1
	if first == '*' {
		for n := 0; ; n++ {
			if naiveARN(rest, text[n:], field) {
				return true
			}
			if n == len(text) || text[n] == ':' && !inLast && !strings.HasPrefix(rest, ":") {
				return false
			}
		}
	}
	if text == "" || first != '?' && first != text[0] || first == '?' && text[0] == ':' && !inLast {
		return false
	}
	if first == ':' && !inLast {
		field++
	}
	return naiveARN(rest, text[1:], field)
}

func TestARNPattern_EqualsNaiveModel(t *testing.T) {
	t.Parallel()
	field := rapid.StringOfN(rapid.SampledFrom([]rune("ab*?")), 0, 3, -1)
	last := rapid.StringOfN(rapid.SampledFrom([]rune("ab*?:")), 0, 4, -1)
	text := rapid.StringOfN(rapid.SampledFrom([]rune("ab::")), 0, 14, -1)
	rapid.Check(t, func(t *rapid.T) {
		var b strings.Builder
		for range arnFields - 1 {
			b.WriteString(field.Draw(t, "field") + ":")
		}
		pattern := b.String() + last.Draw(t, "last")
		arn := text.Draw(t, "text")
		p, err := compileARN(pattern, true, true)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := p.match(arn, nil), naiveARN(pattern, arn, 0); got != want {
			t.Fatalf("%q matches %q: %t, want %t", pattern, arn, got, want)
		}
	})
}

// An ARN of more parts than are told apart still matches what takes its rest.
func TestARNPattern_ManyParts(t *testing.T) {
	t.Parallel()
	arn := "arn:aws:s3:::" + strings.Repeat("a:", 200) + "b"
	for pattern, want := range map[string]bool{"arn:aws:s3:::*:b": true, "arn:aws:s3:::*:c": false, "arn:aws:s3:*": true, "arn:*:*:*:*:*": true} {
		p, err := compileARN(pattern, true, true)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.match(arn, nil); got != want {
			t.Errorf("%q: %t", pattern, got)
		}
	}
}

func TestActions_Match(t *testing.T) {
	t.Parallel()
	a := compileActions([]string{"ecs:RunTask", "ECS:Describe*", "s3:*", "ecr:Get?mage", "*:Tag*"})
	for action, want := range map[string]bool{
		"ecs:RunTask": true, "ECS:RUNTASK": true, "ecs:RunTasks": false, "ecs:describetasks": true,
		"s3:Anything": true, "S3:x": true, "s3": false, "s33:x": false,
		"ecr:GetImage": true, "ecr:GetmageX": false, "iam:TagRole": true, "iam:UntagRole": false, "": false, ":": false,
	} {
		if got := a.match(action); got != want {
			t.Errorf("%q matches: %t", action, got)
		}
	}
	for _, all := range []string{"*", "*:*"} {
		a := compileActions([]string{all})
		if !a.match("ecs:RunTask") {
			t.Errorf("%q does not match everything", all)
		}
	}
}

// The index must answer as the list of patterns does, one after the other.
func TestActions_EqualsList(t *testing.T) {
	t.Parallel()
	word := rapid.StringOfN(rapid.SampledFrom([]rune("aBc*?")), 0, 4, -1)
	service := rapid.SampledFrom([]string{"ecs", "EC2", "s3", "*"})
	rapid.Check(t, func(t *rapid.T) {
		var texts []string
		for range rapid.IntRange(1, 8).Draw(t, "actions") {
			texts = append(texts, service.Draw(t, "service")+":"+word.Draw(t, "name"))
		}
		action := rapid.SampledFrom([]string{"ecs", "ec2", "S3", "iam"}).Draw(t, "service") + ":" +
			rapid.StringOfN(rapid.SampledFrom([]rune("AbC")), 0, 4, -1).Draw(t, "name")
		want := false
		for _, text := range texts {
			vendor, name, _ := strings.Cut(strings.ToLower(text), ":")
			asked, askedName, _ := strings.Cut(strings.ToLower(action), ":")
			want = want || (vendor == "*" || vendor == asked) && naive([]rune(name), []rune(askedName))
		}
		a := compileActions(texts)
		if got := a.match(action); got != want {
			t.Fatalf("%q matches %q: %t, want %t", texts, action, got, want)
		}
	})
}
