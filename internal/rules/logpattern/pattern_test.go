package logpattern_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/rules/logpattern"
)

const (
	access = `127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /apache_pb.gif HTTP/1.0" 200 1534`
	event  = `{"eventType":"UpdateTrail","sourceIPAddress":"123.123.45.6","arrayKey":["value","another value"],
	"objectList":[{"name":"a","id":1},{"name":"b","id":2.5}],"SomeObject":null,"ThisFlag":true,"Off":false,
	"cluster.name":"c","code":404,"big":1e3,"nested":{"deep":{"x":"y"}},"text":"200"}`
)

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		pattern string
		message string
		want    bool
	}{
		// Everything.
		{``, `x`, true},
		{` `, ``, true},

		// Terms.
		{`ERROR`, `[ERROR] it broke`, true},
		{`ERROR`, `[error] it broke`, false},
		{`ERR`, `[ERROR] it broke`, true},
		{`ERROR broke`, `[ERROR] it broke`, true},
		{`ERROR mended`, `[ERROR] it broke`, false},
		{`"it broke"`, `[ERROR] it broke`, true},
		{`"broke it"`, `[ERROR] it broke`, false},
		{`"say \"hi\""`, `we say "hi"`, true},
		{`"a\\b"`, `a\b`, true},
		{`"[ERROR]"`, `[ERROR] it broke`, true},
		{`größer`, `ist größer`, true},

		// Any of, and exclusion.
		{`?ERROR ?WARN`, `WARN x`, true},
		{`?ERROR ?WARN`, `ERROR x`, true},
		{`?ERROR ?WARN`, `INFO x`, false},
		{`?"a b" ?c`, `a b`, true},
		{`?ERROR ?WARN INFO`, `INFO x`, true}, // ?terms are ignored beside others
		{`?ERROR ?WARN INFO`, `ERROR x`, false},
		{`?ERROR -x`, `y`, true},
		{`ERROR -EXITING`, `ERROR x`, true},
		{`ERROR -EXITING`, `ERROR EXITING`, false},
		{`-"a b"`, `a b`, false},
		{`-"a b"`, `a  b`, true},

		// Regular expressions.
		{`%AUTHORIZED%`, `UNAUTHORIZED 401`, true},
		{`%^ERROR%`, `ERROR x`, true},
		{`%^ERROR%`, `an ERROR`, false},
		{`%[0-9]{3}$%`, `status 404`, true},
		{`%\d+\.\d+%`, `version 1.2`, true},
		{`%\x41%`, `A`, true},
		{`ERROR %4\d\d%`, `ERROR 404`, true},
		{`-%4\d\d%`, `ERROR 404`, false},

		// JSON.
		{`{ $.eventType = "UpdateTrail" }`, event, true},
		{`{ $.eventType = UpdateTrail }`, event, true},
		{`{ $.eventType = "Update*" }`, event, true},
		{`{ $.eventType = *Trail }`, event, true},
		{`{ $.eventType != "UpdateTrail" }`, event, false},
		{`{ $.sourceIPAddress = 123.123.* }`, event, true},
		{`{ $.sourceIPAddress != 123.123.* }`, event, false},
		{`{ $.absent != "x" }`, event, false},
		{`{ $.arrayKey[0] = "value" }`, event, true},
		{`{ $.arrayKey[1] = "value" }`, event, false},
		{`{ $.arrayKey[9] = "value" }`, event, false},
		{`{ $.arrayKey[*] = "another value" }`, event, true},
		{`{ $.objectList[1].id = 2.5 }`, event, true},
		{`{ $.objectList[*].name = "b" }`, event, true},
		{`{ $.nested.*.x = "y" }`, event, true},
		{`{ $.nested = "*" }`, event, false},
		{`{ $.code = 404 }`, event, true},
		{`{ $.code = 4.04e2 }`, event, true},
		{`{ $.code = 4* }`, event, true},
		{`{ $.code >= 400 && $.code < 500 }`, event, true},
		{`{ $.code > 404 }`, event, false},
		{`{ $.code <= 404 }`, event, true},
		{`{ $.big = 1000 }`, event, true},
		{`{ $.text > 100 }`, event, false}, // a text is not a number
		{`{ $.text = 200 }`, event, true},
		{`{ $.SomeObject IS NULL }`, event, true},
		{`{ $.code IS NULL }`, event, false},
		{`{ $.absent IS NULL }`, event, false},
		{`{ $.ThisFlag IS TRUE }`, event, true},
		{`{ $.Off IS TRUE }`, event, false},
		{`{ $.Off IS FALSE }`, event, true},
		{`{ $.absent NOT EXISTS }`, event, true},
		{`{ $.code NOT EXISTS }`, event, false},
		{`{ $.SomeObject NOT EXISTS }`, event, false},
		{`{ $.['cluster.name'] = "c" }`, event, true},
		{`{ $['cluster.name'] = "c" }`, event, true},
		{`{ $.code = 1 && $.absent = 1 || $.ThisFlag IS TRUE }`, event, true},
		{`{ $.code = 1 && ($.absent = 1 || $.ThisFlag IS TRUE) }`, event, false},
		{`{($.code=404)&&($.eventType=%^Update%)}`, event, true},
		{`{ $.eventType = %^Trail% }`, event, false},
		{`{ $.a = 1 }`, `not json`, false},
		{`{ $.a = 1 }`, `{"a":1} trailing`, false},
		{`{ $.a = 1 }`, ` {"a":1} `, true},
		{`{ $.a = 1 }`, `"a"`, false},

		// Space-delimited.
		{`[ip, user, username, timestamp, request, status, bytes]`, access, true},
		{`[ip, user, username, timestamp, request, status]`, access, false},
		{`[ip, id, user, time, request =*.gif*, status_code = 2*, bytes]`, access, true},
		{`[ip, id, user, time, request =*.html*, status_code = 2*, bytes]`, access, false},
		{`[..., status_code = 200, bytes > 1000]`, access, true},
		{`[..., status_code = 200, bytes > 2000]`, access, false},
		{`[ip, ..., bytes]`, access, true},
		{`[..., bytes = 1534, ...]`, access, true},
		{`[...]`, ``, true},
		{`[a, ...]`, ``, false},
		{`[..., request = "GET /apache_pb.gif HTTP/1.0", status, bytes]`, access, true},
		{`[..., status_code = 4* || status_code = 5*, bytes]`, access, false},
		{`[..., status_code = 2* || status_code = 5*, bytes]`, access, true},
		{`[w1!=ERROR&&w1!=WARN, w2]`, `INFO x`, true},
		{`[w1!=ERROR&&w1!=WARN, w2]`, `WARN x`, false},
		{`[(w1=A||w1=B)&&w1!=B, w2]`, `A x`, true},
		{`[(w1=A||w1=B)&&w1!=B, w2]`, `B x`, false},
		{`[ip=%127\.0\.0\.[0-9]%, ...]`, access, true},
		{`[w1="[x", w2]`, `[x y`, true},
		{`[w1=1.0, w2]`, `1 y`, true},
	} {
		p, err := logpattern.Compile(tc.pattern)
		if err != nil {
			t.Errorf("Compile(%q): %v", tc.pattern, err)
			continue
		}
		if got := p.Match(tc.message); got != tc.want {
			t.Errorf("%q matches %q: %v", tc.pattern, tc.message, got)
		}
	}
}

func TestCompile_Refuses(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{
		`a.b`, `ERROR:`, `"open`, `-`, `? x`, `a -`, `%open`, `%%`, `%(a)%`, `%a b%`, `%ä%`, `%a!%`, `%[%`, `%\q%`, `%a\%`,
		`%a% %b% %c%`,
		`{`, `{}`, `{ $ = 1 }`, `{ $.a }`, `{ $.a = }`, `{ $.a = "x }`, `{ a = 1 }`, `{ $.a == 1 }`, `{ $.a < x }`, `{ $.a < "1" }`,
		`{ $.a IS NOT NULL }`, `{ $.a EXISTS }`, `{ $.a IS x }`, `{ $.a NOT x }`, `{ $.a = 1 && }`, `{ ($.a = 1 }`, `{ $.a = 1 ) }`,
		`{ $.a = 1 } x`, `{ $.*.* = 1 }`, `{ $.a[ = 1 }`, `{ $.a[x] = 1 }`, `{ $.a['x] = 1 }`, `{ $.a[-1] = 1 }`, `{ $. = 1 }`,
		`{ $.*=1 || $.*=2 || $.*=3 || $.*=4 }`, `{ $.a = %x% || $.a = %y% || $.a = %z% }`,
		`[`, `[]`, `[a,]`, `[a,,b]`, `[a b]`, `[a=]`, `[a=1 b=2]`, `[a=1||b=2]`, `[a<x]`, `[a] x`, `[a=1&&a]`, `[=1]`,
		strings.Repeat("x", logpattern.MaxLength+1),
	} {
		if _, err := logpattern.Compile(pattern); !errors.Is(err, fault.Invalid) {
			t.Errorf("Compile(%.40q) gave %v", pattern, err)
		} else if !strings.HasPrefix(err.Error(), "Invalid filter pattern: ") {
			t.Errorf("Compile(%.40q) said %q", pattern, err)
		}
	}
}

// A quoted phrase, however it is escaped, is found in exactly the messages
// that contain it.
func TestMatch_Phrases(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		phrase := rapid.StringOfN(rapid.SampledFrom([]rune(`ab"\ é`)), 1, 6, -1).Draw(t, "phrase")
		message := rapid.StringOfN(rapid.SampledFrom([]rune(`ab"\ é`)), 0, 12, -1).Draw(t, "message")
		quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(phrase)
		p, err := logpattern.Compile(`"` + quoted + `"`)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := p.Match(message), strings.Contains(message, phrase); got != want {
			t.Fatalf("%q in %q: %v", phrase, message, got)
		}
	})
}

// Asterisks mean what .* means.
func TestMatch_Wildcards(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.StringOfN(rapid.SampledFrom([]rune("ab*")), 1, 6, -1).Draw(t, "value")
		text := rapid.StringOfN(rapid.SampledFrom([]rune("ab")), 0, 8, -1).Draw(t, "text")
		p, err := logpattern.Compile(fmt.Sprintf(`{ $.x = "%s" }`, value))
		if err != nil {
			t.Fatal(err)
		}
		re := regexp.MustCompile("^" + strings.ReplaceAll(value, "*", ".*") + "$")
		if got, want := p.Match(fmt.Sprintf(`{"x":"%s"}`, text)), re.MatchString(text); got != want {
			t.Fatalf("%q = %q: %v", text, value, got)
		}
	})
}

// No pattern and no message make it panic, and refusals are refusals of the
// user's input.
func FuzzCompile(f *testing.F) {
	for _, seed := range []string{
		`a -b ?c "d e" %f[0-9]%`, `{ $.a.*['b'][0] != "x*" && ($.c IS TRUE || $.d NOT EXISTS) }`, `[a, b = 1 && b < 3, ...]`,
	} {
		f.Add(seed, event)
		f.Add(seed, access)
	}
	f.Fuzz(func(t *testing.T, pattern, message string) {
		p, err := logpattern.Compile(pattern)
		if err != nil {
			if !errors.Is(err, fault.Invalid) {
				t.Fatalf("Compile(%q): %v", pattern, err)
			}
			return
		}
		p.Match(message)
	})
}
