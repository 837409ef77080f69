package imagelifecycle

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Error is what is wrong with a policy, in AWS's words.
type Error struct{ Message string }

// Error returns the message.
func (e *Error) Error() string { return e.Message }

func invalid(format string, args ...any) error { return &Error{fmt.Sprintf(format, args...)} }

// maxWildcards is how many a pattern may have.
const maxWildcards = 4

// Parse reads and checks a policy. Its error is an *Error.
func Parse(text string) (*Policy, error) {
	var members map[string]json.RawMessage
	// "null" would be a map too.
	if err := json.Unmarshal([]byte(text), &members); err != nil || members == nil {
		return nil, invalid("Could not map policyString into LifecyclePolicy.")
	}
	if err := properties(members, []string{"rules"}, "rules"); err != nil {
		return nil, err
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(members["rules"], &raw); err != nil || raw == nil {
		return nil, wrongType(members["rules"], "array")
	}
	if len(raw) == 0 {
		return nil, invalid("array is too short: must have at least 1 elements but instance has 0 elements")
	}
	p := &Policy{}
	for _, text := range raw {
		rule, err := parseRule(text)
		if err != nil {
			return nil, err
		}
		p.Rules = append(p.Rules, rule)
	}
	slices.SortStableFunc(p.Rules, func(a, b Rule) int { return cmp.Compare(a.Priority, b.Priority) })
	if err := p.check(); err != nil {
		return nil, err
	}
	return p, nil
}

func parseRule(text json.RawMessage) (Rule, error) {
	var r Rule
	rule, err := object(text, []string{"action", "rulePriority", "selection"}, "description")
	if err != nil {
		return r, err
	}
	if d, ok := rule["description"]; ok {
		if _, err := stringOf(d); err != nil {
			return r, err
		}
	}
	priority, err := integer(rule["rulePriority"])
	if err != nil {
		return r, err
	}
	r.Priority = int32(priority)
	if err := parseAction(rule["action"]); err != nil {
		return r, err
	}
	return r, r.parseSelection(rule["selection"])
}

func parseAction(text json.RawMessage) error {
	action, err := object(text, []string{"type"}, "targetStorageClass")
	if err != nil {
		return err
	}
	kind, err := enum(action["type"], "expire", "transition")
	if err != nil {
		return err
	}
	if _, archived := action["targetStorageClass"]; archived || kind == "transition" {
		return errNoArchive
	}
	return nil
}

// errNoArchive is Berth's own.
var errNoArchive error = &Error{"The archive storage class is not available: images can only expire."}

func (r *Rule) parseSelection(text json.RawMessage) error {
	s, err := object(text, []string{"countNumber", "countType", "tagStatus"}, "countUnit", "storageClass", "tagPatternList", "tagPrefixList")
	if err != nil {
		return err
	}
	if r.TagStatus, err = enum(s["tagStatus"], Any, Tagged, Untagged); err != nil {
		return err
	}
	if class, ok := s["storageClass"]; ok {
		if name, err := enum(class, "archive", "standard"); err != nil {
			return err
		} else if name == "archive" {
			return errNoArchive
		}
	}
	if r.CountType, err = stringOf(s["countType"]); err != nil {
		return err
	}
	aged := r.CountType == SinceImagePushed || r.CountType == SinceImagePulled
	switch {
	case r.CountType == "sinceImageTransitioned":
		return errNoArchive
	case !aged && r.CountType != ImageCountMoreThan:
		return errNoSchema
	}
	unit, hasUnit := s["countUnit"]
	if hasUnit {
		if _, err := enum(unit, "days"); err != nil {
			return err
		}
	}
	if aged != hasUnit {
		return errNoSchema
	}
	if r.Count, err = integer(s["countNumber"]); err != nil {
		return err
	}
	return r.parseTags(s)
}

// errNoSchema is what the validator says of a count that is of neither form:
// of age with a unit, or of images without.
var errNoSchema error = &Error{"instance failed to match exactly one schema (matched 0 out of 2)"}

func (r *Rule) parseTags(selection map[string]json.RawMessage) (err error) {
	if r.Prefixes, err = texts(selection["tagPrefixList"]); err != nil {
		return err
	}
	if r.Patterns, err = texts(selection["tagPatternList"]); err != nil {
		return err
	}
	switch {
	case r.TagStatus != Tagged && len(r.Prefixes)+len(r.Patterns) > 0:
		return invalid("tagPrefixList and tagPatternList can only be used when tagStatus=TAGGED.")
	case r.TagStatus != Tagged:
		return nil
	case len(r.Prefixes) > 0 && len(r.Patterns) > 0:
		return invalid("Only one of tagPrefixList and tagPatternList can be specified.")
	case len(r.Prefixes)+len(r.Patterns) == 0:
		return invalid("Must specify tagPrefixList or tagPatternList when tagStatus=TAGGED.")
	}
	for _, pattern := range r.Patterns {
		if strings.Count(pattern, "*") > maxWildcards {
			return invalid("Pattern %s has more than %d wildcards.", pattern, maxWildcards)
		}
	}
	return nil
}

// check compares the rules, which are in order, with each other.
func (p *Policy) check() error {
	untagged := 0
	asked := map[string]bool{}
	for i, r := range p.Rules {
		if i > 0 && p.Rules[i-1].Priority == r.Priority {
			return invalid("Rule priorities must be unique: %d is used more than once.", r.Priority)
		}
		switch r.TagStatus {
		case Untagged:
			untagged++
		case Any:
			if i < len(p.Rules)-1 {
				return invalid("Rule for tagStatus=ANY must have the lowest priority per storage class")
			}
		default:
			tags := slices.Sorted(slices.Values(slices.Concat(r.Prefixes, r.Patterns)))
			key := fmt.Sprintf("%t %q", len(r.Patterns) > 0, tags)
			if asked[key] {
				return invalid("Rules must have unique sets of tag prefixes and patterns: [%s] is used more than once.", strings.Join(tags, ", "))
			}
			asked[key] = true
		}
	}
	if untagged > 1 {
		return invalid("Only one rule can select Untagged images per storage class.")
	}
	return nil
}

// The words of the validator of JSON schemas that AWS uses follow.

func object(text json.RawMessage, required []string, optional ...string) (map[string]json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil || members == nil {
		return nil, wrongType(text, "object")
	}
	return members, properties(members, required, append(optional, required...)...)
}

func properties(members map[string]json.RawMessage, required []string, allowed ...string) error {
	var missing, unknown []string
	for _, name := range required {
		if _, ok := members[name]; !ok {
			missing = append(missing, strconv.Quote(name))
		}
	}
	for name := range members {
		if !slices.Contains(allowed, name) {
			unknown = append(unknown, strconv.Quote(name))
		}
	}
	slices.Sort(missing)
	slices.Sort(unknown)
	switch {
	case len(missing) > 0:
		return invalid("object has missing required properties ([%s])", strings.Join(missing, ","))
	case len(unknown) > 0:
		return invalid("object instance has properties which are not allowed by the schema: ([%s])", strings.Join(unknown, ","))
	}
	return nil
}

func wrongType(text json.RawMessage, want string) error {
	var value any
	kind := "null"
	if err := json.Unmarshal(text, &value); err == nil {
		switch v := value.(type) {
		case string:
			kind = "string"
		case bool:
			kind = "boolean"
		case float64:
			if kind = "number"; v == math.Trunc(v) {
				kind = "integer"
			}
		case []any:
			kind = "array"
		case map[string]any:
			kind = "object"
		}
	}
	return invalid("instance type (%s) does not match any allowed primitive type (allowed: [\"%s\"])", kind, want)
}

func stringOf(text json.RawMessage) (string, error) {
	var s *string
	if err := json.Unmarshal(text, &s); err != nil || s == nil {
		return "", wrongType(text, "string")
	}
	return *s, nil
}

func enum(text json.RawMessage, values ...string) (string, error) {
	s, err := stringOf(text)
	if err != nil {
		return "", err
	}
	if !slices.Contains(values, s) {
		return "", invalid("instance value (%q) not found in enum (possible values: [\"%s\"])", s, strings.Join(values, `","`))
	}
	return s, nil
}

// integer reads a number from 1 on.
func integer(text json.RawMessage) (int, error) {
	var n json.Number
	if err := json.Unmarshal(text, &n); err != nil || n == "" || text[0] == '"' {
		return 0, wrongType(text, "integer")
	}
	i, err := strconv.ParseInt(n.String(), 10, 64)
	switch {
	case i > math.MaxInt32: // also of a number that is too large to read
		return 0, invalid("numeric instance is greater than the required maximum (maximum: %d, found: %s)", math.MaxInt32, n)
	case err != nil && strings.ContainsAny(n.String(), ".eE"):
		return 0, invalid("instance type (number) does not match any allowed primitive type (allowed: [\"integer\"])")
	case i < 1:
		return 0, invalid("numeric instance is lower than the required minimum (minimum: 1, found: %s)", n)
	}
	return int(i), nil
}

// texts reads a list of strings that are not empty; none when it is absent.
func texts(text json.RawMessage) ([]string, error) {
	if text == nil {
		return nil, nil
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil || raw == nil {
		return nil, wrongType(text, "array")
	}
	var all []string
	for _, item := range raw {
		s, err := stringOf(item)
		if err != nil {
			return nil, err
		}
		if s == "" {
			return nil, invalid("string \"\" is too short (length: 0, required minimum: 1)")
		}
		all = append(all, s)
	}
	return all, nil
}
