package placement

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// attribute is the value of one of the instance's attributes: those that its
// agent or a user gave it, and those that ECS gives every instance.
func (i *Instance) attribute(name string) (string, bool) {
	for _, a := range i.Attributes {
		if a.Name == name {
			return a.Value, true
		}
	}
	switch name {
	case "ecs.availability-zone":
		return i.Zone, i.Zone != ""
	case "ecs.cpu-architecture":
		return i.Architecture, i.Architecture != ""
	case "ecs.os-type":
		return "linux", true
	case "ecs.os-family":
		return "LINUX", true
	}
	return "", false
}

const (
	equality = "== !="
	order    = "> >= < <="
	sets     = "in !in"
	patterns = "=~ !~"
	presence = "exists !exists"
)

// compare makes the condition of one comparison.
func compare(subject, operator string, values []string) (condition, error) {
	allowed := func(operators ...string) error {
		if !slices.Contains(strings.Fields(strings.Join(operators, " ")), operator) {
			return fmt.Errorf("operator '%s' cannot be used with '%s'", operator, subject)
		}
		return nil
	}
	if name, found := strings.CutPrefix(subject, "attribute:"); found && name != "" {
		if slices.Contains(strings.Fields(presence), operator) {
			return func(i *Instance) bool { _, has := i.attribute(name); return has == (operator == "exists") }, nil
		}
		return text(operator, values, func(i *Instance) (string, bool) { return i.attribute(name) })
	}
	switch strings.ToLower(subject) {
	case "agentconnected":
		if err := allowed(equality, sets, patterns); err != nil {
			return nil, err
		}
		return text(operator, values, func(i *Instance) (string, bool) { return strconv.FormatBool(i.Connected), true })
	case "ec2instanceid":
		if err := allowed(equality, sets, patterns); err != nil {
			return nil, err
		}
		return text(operator, values, func(i *Instance) (string, bool) { return i.EC2InstanceID, i.EC2InstanceID != "" })
	case "agentversion":
		if err := allowed(equality, order); err != nil {
			return nil, err
		}
		return func(i *Instance) bool { return holds(operator, compareVersions(i.AgentVersion, values[0])) }, nil
	case "registeredat":
		if err := allowed(equality, order); err != nil {
			return nil, err
		}
		at, err := parseTime(values[0])
		if err != nil {
			return nil, err
		}
		return func(i *Instance) bool { return holds(operator, i.RegisteredAt.Truncate(time.Second).Compare(at)) }, nil
	case "runningtaskscount":
		if err := allowed(equality, order); err != nil {
			return nil, err
		}
		n, err := strconv.ParseInt(values[0], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("'%s' is not a number", values[0])
		}
		return func(i *Instance) bool { return holds(operator, cmp.Compare(i.Running, n)) }, nil
	case "task:group":
		if err := allowed(equality, sets); err != nil {
			return nil, err
		}
		wanted := operator == "==" || operator == "in"
		return func(i *Instance) bool {
			return wanted == slices.ContainsFunc(values, func(v string) bool { return slices.Contains(i.Groups, v) })
		}, nil
	}
	return nil, fmt.Errorf("unknown subject '%s'", subject)
}

// text compares strings. What an instance does not have is equal to nothing,
// so that the negated operators are true of it.
func text(operator string, values []string, of func(*Instance) (string, bool)) (condition, error) {
	negated := strings.HasPrefix(operator, "!")
	var test func(string) bool
	switch operator {
	case "==", "!=", "in", "!in":
		test = func(s string) bool { return slices.Contains(values, s) }
	case "=~", "!~":
		pattern, err := regexp.Compile(`^(?:` + values[0] + `)$`)
		if err != nil {
			return nil, fmt.Errorf("'%s' is not a regular expression", values[0])
		}
		test = pattern.MatchString
	default:
		return func(i *Instance) bool {
			s, has := of(i)
			return has && holds(operator, compareText(s, values[0]))
		}, nil
	}
	return func(i *Instance) bool {
		s, has := of(i)
		return (has && test(s)) != negated
	}, nil
}

// compareText orders numbers by value and everything else by its bytes.
func compareText(a, b string) int {
	x, err1 := strconv.ParseFloat(a, 64)
	y, err2 := strconv.ParseFloat(b, 64)
	if err1 == nil && err2 == nil {
		return cmp.Compare(x, y)
	}
	return cmp.Compare(a, b)
}

func holds(operator string, comparison int) bool {
	switch operator {
	case "==":
		return comparison == 0
	case "!=":
		return comparison != 0
	case ">":
		return comparison > 0
	case ">=":
		return comparison >= 0
	case "<":
		return comparison < 0
	default:
		return comparison <= 0
	}
}

// compareVersions orders versions such as 1.14.5 by their numbers.
func compareVersions(a, b string) int {
	x, y := strings.Split(strings.TrimPrefix(a, "v"), "."), strings.Split(strings.TrimPrefix(b, "v"), ".")
	for n := range max(len(x), len(y)) {
		var p, q string
		if n < len(x) {
			p = x[n]
		}
		if n < len(y) {
			q = y[n]
		}
		i, err1 := strconv.Atoi(cmp.Or(p, "0"))
		j, err2 := strconv.Atoi(cmp.Or(q, "0"))
		d := cmp.Compare(i, j)
		if err1 != nil || err2 != nil {
			d = cmp.Compare(p, q)
		}
		if d != 0 {
			return d
		}
	}
	return 0
}

// parseTime reads the forms of the language; without a zone it is UTC.
func parseTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("'%s' is not a time", s)
}
