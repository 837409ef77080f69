package policy

import (
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// asksFor evaluates a condition block against the values of one key, "k"; nil
// means that the request has no such key.
func asksFor(t *testing.T, block string, values []string) bool {
	t.Helper()
	d, err := Parse(Identity, allow(`"Action":"a:b","Resource":"*","Condition":`+block))
	if err != nil {
		t.Fatalf("%s: %v", block, err)
	}
	request := Request{Principal: Principal{ARN: "arn:aws:iam::123456789012:user/u"}, Action: "a:b", Resource: "*", Context: map[string][]string{
		"aws:username": {"bob"}, "aws:principaltag/pattern": {"b*"}, "aws:sourcearn": {"arn:aws:s3:::b"},
	}}
	if values != nil {
		request.Context["k"] = values
	}
	return Evaluate(request, Policies{Identity: []Source{{Document: d}}}).Outcome == Allowed
}

func TestCondition_Operators(t *testing.T) {
	t.Parallel()
	values := func(v ...string) []string { return append([]string{}, v...) }
	const yes, no = true, false
	tests := []struct {
		operator, expected string // JSON
		got                []string
		want               bool
	}{
		// Strings: exact, without case, with wildcards.
		{"StringEquals", `"a"`, values("a"), yes},
		{"StringEquals", `"a"`, values("A"), no},
		{"StringEquals", `["a","b"]`, values("b"), yes},
		{"StringEquals", `"a*"`, values("ab"), no},
		{"StringEquals", `"a*"`, values("a*"), yes},
		{"StringEquals", `"a"`, nil, no},
		{"StringEquals", `[]`, values("a"), no},
		{"StringEquals", `"${aws:username}"`, values("bob"), yes},
		{"StringEquals", `"${aws:userid}"`, values("bob"), no},
		{"StringEquals", `"${aws:userid, 'bob'}"`, values("bob"), yes},
		{"StringEquals", `"${*}"`, values("*"), yes},
		{"StringNotEquals", `"a"`, values("b"), yes},
		{"StringNotEquals", `["a","b"]`, values("b"), no},
		{"StringNotEquals", `"a"`, nil, yes},
		{"StringNotEquals", `"${aws:userid}"`, values("bob"), yes},
		{"StringEqualsIgnoreCase", `"Team"`, values("tEAM"), yes},
		{"StringEqualsIgnoreCase", `"Team"`, values("teams"), no},
		{"StringEqualsIgnoreCase", `"${aws:username}"`, values("BOB"), yes},
		{"StringNotEqualsIgnoreCase", `"Team"`, values("tEAM"), no},
		{"StringNotEqualsIgnoreCase", `"Team"`, nil, yes},
		{"StringLike", `"a*c?"`, values("abcd"), yes},
		{"StringLike", `"a*c?"`, values("abc"), no},
		{"StringLike", `"*"`, values(""), yes},
		{"StringLike", `"*"`, nil, no},
		{"StringLike", `"${aws:username}/*"`, values("bob/x"), yes},
		{"StringLike", `"${aws:PrincipalTag/pattern}"`, values("bob"), no},
		{"StringLike", `"A"`, values("a"), no},
		{"StringNotLike", `"a*"`, values("ab"), no},
		{"StringNotLike", `"a*"`, values("b"), yes},
		{"StringNotLike", `"a*"`, nil, yes},

		// Numbers, exact where they are whole.
		{"NumericEquals", `"10"`, values("10.0"), yes},
		{"NumericEquals", `10`, values("10"), yes},
		{"NumericEquals", `"10"`, values("11"), no},
		{"NumericEquals", `"1e1"`, values("10"), yes},
		{"NumericEquals", `"ten"`, values("ten"), no},
		{"NumericEquals", `"1"`, values("x"), no},
		{"NumericEquals", `"9007199254740993"`, values("9007199254740992"), no},
		{"NumericEquals", `"Inf"`, values("Inf"), no},
		// A value of the policy that cannot be read is not zero.
		{"NumericEquals", `"ten"`, values("0"), no},
		{"BinaryEquals", `"no base64!"`, values(""), no},
		{"NumericNotEquals", `["1","2"]`, values("2"), no},
		{"NumericNotEquals", `"1"`, values("2"), yes},
		{"NumericNotEquals", `"1"`, nil, yes},
		{"NumericLessThan", `"10"`, values("9"), yes},
		{"NumericLessThan", `"10"`, values("10"), no},
		{"NumericLessThan", `"10"`, nil, no},
		{"NumericLessThanEquals", `"10"`, values("10"), yes},
		{"NumericLessThanEquals", `"10"`, values("10.5"), no},
		{"NumericGreaterThan", `"-1.5"`, values("-1"), yes},
		{"NumericGreaterThan", `"10"`, values("10"), no},
		{"NumericGreaterThanEquals", `"10"`, values("10"), yes},
		{"NumericGreaterThanEquals", `"10"`, values("9"), no},

		// Dates: ISO 8601 or seconds, in any zone.
		{"DateEquals", `"2026-11-22T12:00:00Z"`, values("2026-11-22T13:00:00+01:00"), yes},
		{"DateEquals", `"2026-11-22"`, values("2026-11-22T00:00:00Z"), yes},
		{"DateEquals", `"0"`, values("1970-01-01T00:00Z"), yes},
		{"DateNotEquals", `"2026-11-22"`, values("2026-11-23"), yes},
		{"DateNotEquals", `"2026-11-22"`, values("2026-11-22"), no},
		{"DateNotEquals", `"2026-11-22"`, nil, yes},
		{"DateLessThan", `"2026-11-22T12:00:00Z"`, values("2026-11-22T11:59:59.999Z"), yes},
		{"DateLessThan", `"2026-11-22T12:00:00Z"`, values("2026-11-22T12:00:00Z"), no},
		{"DateLessThan", `"2026-11-22T12:00:00Z"`, values("yesterday"), no},
		{"DateLessThan", `"2026-11-22"`, nil, no},
		{"DateLessThanEquals", `"2026-11-22T12:00:00Z"`, values("2026-11-22T12:00:00Z"), yes},
		{"DateGreaterThan", `"2026-11-22T12:00:00Z"`, values("1795348801"), yes}, // a second later
		{"DateGreaterThan", `"2026-11-22T12:00:00Z"`, values("1795348800"), no},
		{"DateGreaterThanEquals", `"2026-11-22T12:00:00Z"`, values("1795348800"), yes},
		{"DateGreaterThanEquals", `"-5000"`, values("2026"), yes},

		// Bool, BinaryEquals.
		{"Bool", `"true"`, values("true"), yes},
		{"Bool", `true`, values("True"), yes},
		{"Bool", `"false"`, values("true"), no},
		{"Bool", `"false"`, nil, no},
		{"BinaryEquals", `"QmluYXJ5"`, values("QmluYXJ5"), yes},
		{"BinaryEquals", `"QmluYXJ5"`, values("QmluYXJ6"), no},
		{"BinaryEquals", `"no base64!"`, values("no base64!"), no},
		{"BinaryEquals", `"QmluYXJ5"`, nil, no},

		// Addresses.
		{"IpAddress", `"203.0.113.0/24"`, values("203.0.113.7"), yes},
		{"IpAddress", `"203.0.113.0/24"`, values("203.0.114.7"), no},
		{"IpAddress", `["10.0.0.1","2001:db8::/32"]`, values("2001:db8::1"), yes},
		{"IpAddress", `"10.0.0.1"`, values("10.0.0.1"), yes},
		{"IpAddress", `"10.1.2.3/8"`, values("10.9.9.9"), yes},
		{"IpAddress", `"10.0.0.0/8"`, values("::ffff:10.0.0.1"), yes},
		{"IpAddress", `"0.0.0.0/0"`, values("::1"), no},
		{"IpAddress", `"10.0.0.0/8"`, values("here"), no},
		{"IpAddress", `"10.0.0.0/8"`, nil, no},
		{"IpAddress", `"here"`, values("here"), no},
		{"NotIpAddress", `"10.0.0.0/8"`, values("10.0.0.1"), no},
		{"NotIpAddress", `"10.0.0.0/8"`, values("11.0.0.1"), yes},
		{"NotIpAddress", `"10.0.0.0/8"`, nil, yes},

		// ARNs: field by field, ArnEquals as ArnLike.
		{"ArnLike", `"arn:aws:ecs:*:123456789012:*"`, values("arn:aws:ecs:us-east-1:123456789012:task/a/b"), yes},
		{"ArnLike", `"arn:aws:ecs:*/b"`, values("arn:aws:ecs:us-east-1:123456789012:task/a/b"), no},
		{"ArnEquals", `"arn:aws:ecs:*:*:cluster/?"`, values("arn:aws:ecs:us-east-1:123456789012:cluster/a"), yes},
		{"ArnEquals", `"arn:aws:ecs:*:*:cluster/?"`, nil, no},
		{"ArnEquals", `"arn:aws:s3:::${aws:username}"`, values("arn:aws:s3:::bob"), yes},
		{"ArnNotEquals", `"arn:aws:s3:::b"`, values("arn:aws:s3:::b"), no},
		{"ArnNotLike", `"arn:aws:s3:::b*"`, values("arn:aws:s3:::c"), yes},
		{"ArnNotLike", `"arn:aws:s3:::b*"`, nil, yes},
		{"ArnLike", `"arn:aws:s3:::*"`, values("no arn"), no},

		// Null.
		{"Null", `"true"`, nil, yes},
		{"Null", `"true"`, values(), yes},
		{"Null", `"true"`, values("a"), no},
		{"Null", `"false"`, values("a"), yes},
		{"Null", `"false"`, nil, no},
		{"Null", `true`, nil, yes},
		{"Null", `"TRUE"`, nil, yes},

		// IfExists.
		{"StringEqualsIfExists", `"a"`, nil, yes},
		{"StringEqualsIfExists", `"a"`, values("b"), no},
		{"StringEqualsIfExists", `"a"`, values("a"), yes},
		{"NumericLessThanIfExists", `"1"`, nil, yes},
		{"BoolIfExists", `"false"`, nil, yes},
		{"BoolIfExists", `"false"`, values("true"), no},
		{"IpAddressIfExists", `"10.0.0.0/8"`, nil, yes},
		{"ArnLikeIfExists", `"arn:aws:s3:::b"`, nil, yes},
		{"StringNotEqualsIfExists", `"a"`, values("a"), no},

		// Sets.
		{"ForAnyValue:StringEquals", `["a","b"]`, values("x", "b"), yes},
		{"ForAnyValue:StringEquals", `["a","b"]`, values("x"), no},
		{"ForAnyValue:StringEquals", `"a"`, nil, no},
		{"ForAnyValue:StringEquals", `"a"`, values(), no},
		{"ForAnyValue:StringEqualsIfExists", `"a"`, nil, yes},
		{"ForAnyValue:StringNotEquals", `"a"`, values("a", "x"), yes},
		{"ForAnyValue:StringNotEquals", `"a"`, values("a"), no},
		{"ForAnyValue:StringNotEquals", `"a"`, nil, no},
		{"ForAnyValue:StringLike", `"a*"`, values("b", "ab"), yes},
		{"ForAnyValue:NumericGreaterThan", `"5"`, values("1", "6"), yes},
		{"ForAllValues:StringEquals", `["a","b"]`, values("a", "b"), yes},
		{"ForAllValues:StringEquals", `["a","b"]`, values("a", "x"), no},
		{"ForAllValues:StringEquals", `["a","b"]`, values("b"), yes},
		{"ForAllValues:StringEquals", `"a"`, nil, yes},
		{"ForAllValues:StringEquals", `"a"`, values(), yes},
		{"ForAllValues:StringNotEquals", `["a","b"]`, values("x", "y"), yes},
		{"ForAllValues:StringNotEquals", `["a","b"]`, values("x", "b"), no},
		{"ForAllValues:StringLike", `"team-*"`, values("team-a", "team-b"), yes},
		{"ForAllValues:ArnLike", `"arn:aws:s3:::b*"`, values("arn:aws:s3:::b1", "x"), no},

		// Several values for an operator of one.
		{"StringEquals", `"a"`, values("x", "a"), yes},
		{"StringNotEquals", `"a"`, values("x", "a"), no},
		{"StringNotEquals", `"a"`, values("x", "y"), yes},
	}
	for _, test := range tests {
		if got := asksFor(t, `{"`+test.operator+`":{"k":`+test.expected+`}}`, test.got); got != test.want {
			t.Errorf("%s %s with %q: %t", test.operator, test.expected, test.got, got)
		}
	}
}

// All operators and all keys must hold; one value of a key is enough.
func TestCondition_Blocks(t *testing.T) {
	t.Parallel()
	for block, want := range map[string]bool{
		`{}`: true,
		`{"StringEquals":{"k":["x","v"],"aws:username":"bob"}}`:                            true,
		`{"StringEquals":{"k":"v","aws:username":"eve"}}`:                                  false,
		`{"StringEquals":{"k":"v"},"StringLike":{"aws:UserName":"b*"}}`:                    true,
		`{"StringEquals":{"k":"v"},"StringLike":{"aws:username":"e*"}}`:                    false,
		`{"StringEquals":{"K":"v"},"ArnLike":{"AWS:SourceARN":"arn:aws:s3:::b"}}`:          true,
		`{"Null":{"aws:username":"false","aws:userid":"true"}}`:                            true,
		`{"StringEquals":{"k":"v"},"StringNotEquals":{"k":"w"},"StringLike":{"k":"?"}}`:    true,
		`{"StringEquals":{"k":"v"},"StringNotEquals":{"k":"v"}}`:                           false,
		`{"ForAllValues:StringEquals":{"aws:TagKeys":"a"},"Null":{"aws:TagKeys":"false"}}`: false,
	} {
		if got := asksFor(t, block, []string{"v"}); got != want {
			t.Errorf("%s: %t", block, got)
		}
	}
}

// A negated operator is the negation of its positive, whatever the request has.
func TestCondition_NegationIsNegation(t *testing.T) {
	t.Parallel()
	pairs := [][2]string{
		{"StringEquals", "StringNotEquals"},
		{"StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase"},
		{"StringLike", "StringNotLike"},
		{"NumericEquals", "NumericNotEquals"},
		{"DateEquals", "DateNotEquals"},
		{"IpAddress", "NotIpAddress"},
		{"ArnLike", "ArnNotLike"},
		{"ArnEquals", "ArnNotEquals"},
	}
	word := rapid.SampledFrom([]string{"1", "2", "a", "A", "*", "10.0.0.1", "10.0.0.0/8", "arn:aws:s3:::a", "arn:aws:s3:::*", "2026-11-22", ""})
	dates := rapid.SampledFrom([]string{"1", "2", "2026-11-22", "2026-11"})
	rapid.Check(t, func(t *rapid.T) {
		pair := rapid.SampledFrom(pairs).Draw(t, "pair")
		wordOf := word
		if pair[0] == "DateEquals" {
			wordOf = dates
		}
		expected, err := json.Marshal(rapid.SliceOfN(wordOf, 0, 3).Draw(t, "expected"))
		if err != nil {
			t.Fatal(err)
		}
		got := rapid.SliceOfN(word, 0, 3).Draw(t, "got")
		holds := func(operator string) bool {
			d, err := Parse(Identity, allow(`"Action":"a:b","Resource":"*","Condition":{"`+operator+`":{"k":`+string(expected)+`}}`))
			if err != nil {
				t.Fatal(err)
			}
			return Evaluate(Request{Principal: Principal{ARN: "x"}, Action: "a:b", Context: map[string][]string{"k": got}},
				Policies{Identity: []Source{{Document: d}}}).Outcome == Allowed
		}
		if holds(pair[0]) == holds(pair[1]) {
			t.Fatalf("%s and %s agree on %s and %q", pair[0], pair[1], expected, got)
		}
	})
}

func TestParseDate(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		moment := time.Unix(rapid.Int64Range(-62135596800, 253402300799).Draw(t, "seconds"), rapid.Int64Range(0, 999999999).Draw(t, "nanos"))
		zone := time.FixedZone("", 60*rapid.IntRange(-1439, 1439).Draw(t, "zone"))
		local := moment.In(zone)
		if local.Year() < 1 || local.Year() > 9999 {
			t.Skip("years of four digits only: time.Format has no other")
		}
		text := local.Format(time.RFC3339Nano)
		got, ok := parseDate(text)
		if want := (date{moment.Unix(), int64(moment.Nanosecond())}); !ok || got != want {
			t.Fatalf("%s is %v, want %v", text, got, want)
		}
	})
	for text, want := range map[string]string{
		"2026-11": "2026-11-01T00:00:00Z", "2026-11-22T12": "2026-11-22T12:00:00Z", "2026-11-22t12:30z": "2026-11-22T12:30:00Z",
		"2026-11-22T12:30:01+0130": "2026-11-22T11:00:01Z", "2026-11-22T12:30:01-01": "2026-11-22T13:30:01Z",
	} {
		got, ok := parseDate(text)
		moment, err := time.Parse(time.RFC3339, want)
		if err != nil {
			t.Fatal(err)
		}
		if !ok || got.seconds != moment.Unix() {
			t.Errorf("%s is %v, want %s", text, got, want)
		}
	}
	for _, year := range []int{-1, -43, -44, -400, -401, -9999} {
		want := time.Date(year, time.March, 15, 6, 0, 0, 0, time.UTC).Unix()
		text := "-" + strconv.Itoa(-year) + "-03-15T06:00:00Z"
		if got, ok := parseDate(text); !ok || got.seconds != want {
			t.Errorf("%s is %v, want %d", text, got, want)
		}
	}
	if got, ok := parseDate("2026"); !ok || got.seconds != 2026 {
		t.Errorf("digits alone are %v, want seconds", got)
	}
	for _, broken := range []string{
		"", "-", "x", "2026-13", "2026-11-32", "2026-11-22-1", "-1-", "2026-11-22T24:00Z", "2026-11-22T1:60", "2026-11-22T1:1:60",
		"2026-11-22T1:1:1.", "2026-11-22T1:1:1:1", "2026-11-22T1:00+24:00", "2026-11-22T1:00+1:0", "-292275055", "292278994-01",
	} {
		if got, ok := parseDate(broken); ok {
			t.Errorf("%q is a date: %v", broken, got)
		}
	}
}
