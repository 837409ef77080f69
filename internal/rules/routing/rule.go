package routing

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	"berth.dev/berth/internal/model"
)

// conditions writes the ACLs of a rule and returns their names, all of which must hold. An error says that the rule can
// never match.
func (c *compiler) conditions(label string, conditions []model.RuleCondition) ([]string, error) {
	var names []string
	var lines []string
	for i, condition := range conditions {
		acl := label + "-" + strconv.Itoa(i)
		tests, err := tests(condition)
		if len(tests) == 0 {
			return nil, fmt.Errorf("%s: %w", condition.Field, errors.Join(errors.New("no value can be tested"), err))
		}
		if err != nil {
			c.problem("condition %s of rule %s: %v", condition.Field, label, err)
		}
		names = append(names, acl)
		for _, t := range tests { // lines of one name are alternatives
			lines = append(lines, "acl "+acl+" "+t)
		}
	}
	for _, l := range lines {
		c.line(l)
	}
	return names, nil
}

// tests returns the alternatives of a condition as the body of acl lines. An error names values that were left out.
func tests(condition model.RuleCondition) ([]string, error) {
	switch condition.Field {
	case "host-header":
		lower := make([]string, len(condition.Values))
		for i, v := range condition.Values {
			lower[i] = strings.ToLower(v)
		}
		return match("var(txn.host)", "", lower, condition.Regex)
	case "path-pattern":
		return match("path", "", condition.Values, condition.Regex)
	case "http-header":
		if !headerName.MatchString(condition.HeaderName) {
			return nil, fmt.Errorf("header name %q", condition.HeaderName)
		}
		return match("req.fhdr("+condition.HeaderName+")", "-i ", condition.Values, condition.Regex)
	case "http-request-method":
		return match("method", "", condition.Values, nil)
	case "query-string":
		return queryTests(condition.Query)
	case "source-ip":
		return sourceTests(condition.Values)
	}
	return nil, errors.New("unknown field")
}

// headerName leaves out the marks of a header name that HAProxy's argument parser would see as its own.
var headerName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,128}$`)

// match tests a sample for values with the wildcards * and ?, and for regular expressions.
func match(sample, flags string, values, expressions []string) (tests []string, err error) {
	var problems []error
	for _, v := range values {
		method, pattern := wildcard(v)
		if !expressible(v) {
			problems = append(problems, fmt.Errorf("value %q", v))
			continue
		}
		tests = append(tests, sample+" -m "+method+" "+flags+"-- "+quote(pattern))
	}
	for _, e := range expressions {
		if err := checkRegex(e); err != nil {
			problems = append(problems, err)
			continue
		}
		tests = append(tests, sample+" -m reg "+flags+"-- "+quote(e))
	}
	return tests, errors.Join(problems...)
}

// wildcard turns a value with * (any characters) and ? (one) into HAProxy's cheapest way to test for it.
func wildcard(v string) (method, pattern string) {
	inner := strings.Trim(v, "*")
	simple := inner != "" && !strings.ContainsAny(inner, "*?")
	begins, ends := strings.HasPrefix(v, "*"), strings.HasSuffix(v, "*")
	switch {
	case simple && !begins && !ends:
		return "str", v
	case simple && !begins:
		return "beg", inner
	case simple && !ends:
		return "end", inner
	case simple:
		return "sub", inner
	}
	return "reg", "^" + wildcardRegex(v, ".") + "$"
}

// wildcardRegex is the regular expression of a value with wildcards, each of which stands for what any matches.
func wildcardRegex(v, any string) string {
	var b strings.Builder
	for i := range len(v) {
		switch v[i] {
		case '*':
			if i == 0 || v[i-1] != '*' { // many stars in a row are one, which spares the matcher
				b.WriteString(any + "*")
			}
		case '?':
			b.WriteString(any)
		default:
			b.WriteString(regexp.QuoteMeta(v[i : i+1]))
		}
	}
	return b.String()
}

// checkRegex accepts the regular expressions that mean the same to Go, which the provider checks them with, and to PCRE2,
// which evaluates them. One that PCRE2 refuses would keep the whole load balancer from starting.
func checkRegex(e string) error {
	if !expressible(e) || len(e) > 1024 {
		return fmt.Errorf("regular expression %q", e)
	}
	for i := range len(e) {
		if e[i] >= 0x80 {
			return fmt.Errorf("regular expression %q is not ASCII", e)
		}
	}
	tree, err := syntax.Parse(e, syntax.Perl)
	if err != nil {
		return fmt.Errorf("regular expression %q: %w", e, err)
	}
	if repeatsNothing(tree) {
		return fmt.Errorf("regular expression %q repeats what matches no character", e)
	}
	// What Go has and PCRE2 has not, or understands in another way.
	if foreign.MatchString(e) {
		return fmt.Errorf("regular expression %q uses %q", e, foreign.FindString(e))
	}
	return nil
}

// repeatsNothing finds a repetition of what stands between characters, such as
// "^*", which PCRE2 does not take.
func repeatsNothing(e *syntax.Regexp) bool {
	switch e.Op {
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest, syntax.OpRepeat:
		switch e.Sub[0].Op {
		case syntax.OpEmptyMatch, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
			return true
		}
	}
	return slices.ContainsFunc(e.Sub, repeatsNothing)
}

var foreign = regexp.MustCompile(`\\[CpPxQEzZ0-9]|\(\?P?<|\(\?[a-zA-Z-]*U|\(\?[a-zA-Z-]*\)[*+?{]|\[\[?[^\]]*\[:|\[[:.=][^\]]*[:.=]\]|\[\^?\]?(?:\\.|[^\]\\])*\\[dDwWsS]-[^\]]|\(\*`)

// queryTests tests for parameters of the query string, without regard to case.
func queryTests(args []model.QueryArg) (tests []string, err error) {
	var problems []error
	for _, a := range args {
		if !expressible(a.Key + a.Value) {
			problems = append(problems, fmt.Errorf("value %q", a.Key+"="+a.Value))
			continue
		}
		key := "([^&=]*=)?"
		if a.Key != "" {
			key = wildcardRegex(a.Key, "[^&=]") + "="
		}
		tests = append(tests, "query -m reg -i -- "+quote("(^|&)"+key+wildcardRegex(a.Value, "[^&]")+"(&|$)"))
	}
	return tests, errors.Join(problems...)
}

// sourceTests tests the address that the connection came from, whatever X-Forwarded-For says.
func sourceTests(ranges []string) (tests []string, err error) {
	var problems []error
	for _, r := range ranges {
		p, err := netip.ParsePrefix(r)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		tests = append(tests, "src -- "+p.Masked().String())
	}
	return tests, errors.Join(problems...)
}
