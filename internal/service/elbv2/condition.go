package elbv2

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/elbv2api"
)

// Fields that a condition can look at.
const (
	fieldHost   = "host-header"
	fieldPath   = "path-pattern"
	fieldHeader = "http-header"
	fieldMethod = "http-request-method"
	fieldQuery  = "query-string"
	fieldSource = "source-ip"
)

// conditionsOf checks the conditions of a rule. Those that look at one thing of
// a request may occur once; there can be several headers and query parameters.
func conditionsOf(given []elbv2api.RuleCondition) ([]model.RuleCondition, error) {
	if len(given) == 0 {
		return nil, invalid("A condition must be specified")
	}
	var out []model.RuleCondition
	values, wildcards := 0, 0
	for i := range given {
		c, err := conditionOf(&given[i])
		if err != nil {
			return nil, err
		}
		if c.Field != fieldHeader && c.Field != fieldQuery && slices.ContainsFunc(out, func(o model.RuleCondition) bool { return o.Field == c.Field }) {
			return nil, invalid("A rule can only have one '%s' condition", c.Field)
		}
		out = append(out, *c)
		values += len(c.Values) + len(c.Query) + len(c.Regex)
		for _, v := range c.Values {
			wildcards += strings.Count(v, "*") + strings.Count(v, "?")
		}
		for _, q := range c.Query {
			wildcards += strings.Count(q.Key+q.Value, "*") + strings.Count(q.Key+q.Value, "?")
		}
	}
	if values > maxConditionValues {
		return nil, invalid("A rule can only have '%d' condition values", maxConditionValues)
	}
	if wildcards > maxWildcards {
		return nil, invalid("A rule can only have '%d' condition wildcards", maxWildcards)
	}
	return out, nil
}

// configured is one way to say what a condition compares with.
type configured struct {
	field  string
	values []string
	regex  []string
}

// conditionOf reads a condition, which names its field, its configuration, or
// both.
func conditionOf(given *elbv2api.RuleCondition) (*model.RuleCondition, error) {
	ways := configurations(given)
	c := &model.RuleCondition{}
	if given.Field != nil {
		c.Field = *given.Field
	}
	if len(ways) > 1 {
		return nil, invalid("A condition can only have one configuration")
	}
	if len(ways) == 1 {
		if c.Field == "" {
			c.Field = ways[0].field
		}
		if c.Field != ways[0].field {
			return nil, invalid("The condition configuration does not match the condition field '%s'", c.Field)
		}
		if len(given.Values) > 0 && !slices.Equal(given.Values, ways[0].values) {
			return nil, invalid("You cannot specify both 'Values' and a configuration for condition field '%s'", c.Field)
		}
		c.Values, c.Regex = ways[0].values, ways[0].regex
	} else {
		c.Values, c.Regex = given.Values, given.RegexValues
	}
	switch {
	case c.Field == "":
		return nil, invalid("A condition field must be specified")
	case !slices.Contains([]string{fieldHost, fieldPath, fieldHeader, fieldMethod, fieldQuery, fieldSource}, c.Field):
		return nil, invalid("Condition field '%s' must be one of '[%s, %s, %s, %s, %s, %s]'", c.Field, fieldPath, fieldHost, fieldHeader, fieldMethod, fieldQuery, fieldSource)
	case len(ways) == 0 && c.Field != fieldHost && c.Field != fieldPath:
		return nil, invalid("A configuration must be specified for condition field '%s'", c.Field)
	}
	if given.HttpHeaderConfig != nil && given.HttpHeaderConfig.HttpHeaderName != nil {
		c.HeaderName = *given.HttpHeaderConfig.HttpHeaderName
	}
	if given.QueryStringConfig != nil {
		if err := queryOf(c, given.QueryStringConfig); err != nil {
			return nil, err
		}
	}
	return c, checkCondition(c)
}

func configurations(c *elbv2api.RuleCondition) []configured {
	var ways []configured
	if v := c.HostHeaderConfig; v != nil {
		ways = append(ways, configured{fieldHost, v.Values, v.RegexValues})
	}
	if v := c.PathPatternConfig; v != nil {
		ways = append(ways, configured{fieldPath, v.Values, v.RegexValues})
	}
	if v := c.HttpHeaderConfig; v != nil {
		ways = append(ways, configured{fieldHeader, v.Values, v.RegexValues})
	}
	if v := c.HttpRequestMethodConfig; v != nil {
		ways = append(ways, configured{fieldMethod, v.Values, nil})
	}
	if v := c.SourceIpConfig; v != nil {
		ways = append(ways, configured{fieldSource, v.Values, nil})
	}
	if c.QueryStringConfig != nil {
		ways = append(ways, configured{field: fieldQuery})
	}
	return ways
}

func queryOf(c *model.RuleCondition, config *elbv2api.QueryStringConditionConfig) error {
	for _, pair := range config.Values {
		q := model.QueryArg{}
		if pair.Key != nil {
			q.Key = *pair.Key
		}
		if pair.Value == nil || *pair.Value == "" {
			return invalid("A query string condition must have a value")
		}
		q.Value = *pair.Value
		if len(q.Key) > maxConditionLength || len(q.Value) > maxConditionLength {
			return invalid("Query string condition values cannot be longer than '%d' characters", maxConditionLength)
		}
		c.Query = append(c.Query, q)
	}
	return nil
}

// maxConditionLength bounds a value, in bytes.
const maxConditionLength = 128

var (
	hostValue   = regexp.MustCompile(`\A[A-Za-z0-9.*?-]+\z`)
	pathValue   = regexp.MustCompile(`\A[A-Za-z0-9_.$/~"'@:+&*?!%=(),;\[\]{}|^#<>-]+\z`)
	methodValue = regexp.MustCompile(`\A[A-Z_-]{1,40}\z`)
	headerToken = regexp.MustCompile("\\A[A-Za-z0-9*?!#$%&'+.^_`|~-]{1,40}\\z")
)

func checkCondition(c *model.RuleCondition) error {
	if len(c.Values)+len(c.Query)+len(c.Regex) == 0 {
		return invalid("A condition value must be specified")
	}
	if c.Field == fieldHeader && !headerToken.MatchString(c.HeaderName) {
		return invalid("The HTTP header name '%s' is not valid", c.HeaderName)
	}
	if c.Field == fieldHeader && strings.EqualFold(c.HeaderName, "host") {
		return invalid("Use the condition field 'host-header' to look at the host header")
	}
	for _, v := range c.Values {
		if err := checkValue(c.Field, v); err != nil {
			return err
		}
	}
	for _, v := range c.Regex {
		if _, err := regexp.Compile(v); err != nil || len(v) > maxConditionLength {
			return invalid("The condition value '%s' is not a valid regular expression of at most %d characters", v, maxConditionLength)
		}
	}
	return nil
}

func checkValue(field, value string) error {
	bad := false
	switch field {
	case fieldHost:
		bad = !hostValue.MatchString(value)
	case fieldPath:
		bad = !pathValue.MatchString(value)
	case fieldMethod:
		bad = !methodValue.MatchString(value)
	case fieldSource:
		prefix, err := netip.ParsePrefix(value)
		if err == nil && !prefix.Addr().Is4() {
			return unsupported("IPv6 addresses in conditions")
		}
		bad = err != nil
	default:
		bad = value == "" || strings.ContainsFunc(value, func(r rune) bool { return r < 0x20 || r > 0x7e })
	}
	switch {
	case len(value) > maxConditionLength:
		return invalid("The condition value '%s' cannot be longer than '%d' characters", value, maxConditionLength)
	case bad:
		return invalid("The condition value '%s' is not valid for field '%s'", value, field)
	}
	return nil
}

// conditionsOut shows values of hosts and paths in both ways, as AWS does.
func conditionsOut(conditions []model.RuleCondition) []elbv2api.RuleCondition {
	out := []elbv2api.RuleCondition{}
	for i := range conditions {
		c := &conditions[i]
		shown := elbv2api.RuleCondition{Field: &c.Field}
		switch c.Field {
		case fieldHost:
			shown.Values, shown.RegexValues = c.Values, c.Regex
			shown.HostHeaderConfig = &elbv2api.HostHeaderConditionConfig{Values: c.Values, RegexValues: c.Regex}
		case fieldPath:
			shown.Values, shown.RegexValues = c.Values, c.Regex
			shown.PathPatternConfig = &elbv2api.PathPatternConditionConfig{Values: c.Values, RegexValues: c.Regex}
		case fieldHeader:
			shown.HttpHeaderConfig = &elbv2api.HttpHeaderConditionConfig{HttpHeaderName: &c.HeaderName, Values: c.Values, RegexValues: c.Regex}
		case fieldMethod:
			shown.HttpRequestMethodConfig = &elbv2api.HttpRequestMethodConditionConfig{Values: c.Values}
		case fieldSource:
			shown.SourceIpConfig = &elbv2api.SourceIpConditionConfig{Values: c.Values}
		case fieldQuery:
			shown.QueryStringConfig = queryOut(c)
		}
		out = append(out, shown)
	}
	return out
}

func queryOut(c *model.RuleCondition) *elbv2api.QueryStringConditionConfig {
	out := &elbv2api.QueryStringConditionConfig{}
	for _, q := range c.Query {
		pair := elbv2api.QueryStringKeyValuePair{Value: &q.Value}
		if q.Key != "" {
			pair.Key = &q.Key
		}
		out.Values = append(out.Values, pair)
	}
	return out
}
