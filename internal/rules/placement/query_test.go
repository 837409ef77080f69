package placement_test

import (
	"strings"
	"testing"
	"time"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/placement"
)

// The examples of the developer guide, and what it says of missing attributes.
func TestExpression(t *testing.T) {
	i := host("h", func(i *placement.Instance) {
		i.Zone, i.EC2InstanceID, i.AgentVersion, i.Running = "us-east-1a", "i-abcd1234", "1.14.5", 1
		i.RegisteredAt = time.Date(2018, 6, 18, 22, 28, 28, 500, time.UTC)
		i.Groups = []string{"service:production", "database"}
		i.Attributes = []model.Attribute{{Name: "ecs.instance-type", Value: "t2.small"}, {Name: "rack", Value: "7"}, {Name: "stack", Value: "prod west"}}
	})
	for expression, want := range map[string]bool{
		"attribute:ecs.instance-type == t2.small":                                      true,
		"attribute:ecs.instance-type equals t2.large":                                  false,
		"attribute:ecs.availability-zone in [us-east-1a, us-east-1b]":                  true,
		"attribute:ecs.availability-zone !in [us-east-1a,us-east-1b]":                  false,
		"attribute:ecs.availability-zone not_in ['us-east-1c']":                        true,
		"attribute:ecs.instance-type =~ g2.*":                                          false,
		"attribute:ecs.instance-type =~ t2.* and attribute:ecs.availability-zone != x": true,
		"attribute:ecs.instance-type matches t2.sm":                                    false, // all of it must match
		"attribute:ecs.instance-type !~ t2.*":                                          false,
		"task:group == service:production":                                             true,
		"task:group != service:production":                                             false,
		"task:group in [a, database]":                                                  true,
		"not(task:group == database)":                                                  false,
		"!(task:group == other)":                                                       true,
		"NOT (task:group == other) AND runningTasksCount == 1":                         true,
		"runningTasksCount > 1":                                                        false,
		"runningTasksCount less_than_equal 1":                                          true,
		"agentVersion < 1.14.5":                                                        false,
		"agentVersion >= 1.9":                                                          true,
		"agentVersion == 1.14.5.0":                                                     true,
		"registeredAt < 2018-02-13":                                                    false,
		"registeredAt == 2018-06-18T22:28:28+00:00":                                    true,
		"registeredAt >= 2018-06-18T22:28:28Z":                                         true,
		"registeredAt > 2018-06-18T22:28:28":                                           false,
		"ec2InstanceId in ['i-abcd1234', 'i-wxyx7890']":                                true,
		`ec2InstanceId == "i-abcd1234"`:                                                true,
		"agentConnected == true":                                                       true,
		"agentConnected == false":                                                      false,
		"attribute:stack == 'prod west'":                                               true,
		"attribute:stack exists":                                                       true,
		"attribute:nothing exists":                                                     false,
		"attribute:nothing !exists":                                                    true,
		"attribute:nothing not_exists":                                                 true,
		"attribute:nothing == x":                                                       false,
		"attribute:nothing != x":                                                       true,
		"attribute:nothing in [x]":                                                     false,
		"attribute:nothing !in [x]":                                                    true,
		"attribute:nothing =~ .*":                                                      false,
		"attribute:nothing !~ .*":                                                      true,
		"attribute:rack > 6":                                                           true,
		"attribute:rack < 10":                                                          true, // numbers are compared as such
		"attribute:ecs.os-type == linux":                                               true,
		"attribute:ecs.os-family == LINUX && attribute:ecs.cpu-architecture == x86_64": true,
		"attribute:a exists and attribute:b exists or attribute:rack exists":           true,
		"attribute:rack exists or attribute:a exists and attribute:b exists":           true,

		"(attribute:rack exists or attribute:a exists) and attribute:b exists":            false,
		"not attribute:a exists or attribute:b exists":                                    true,
		"attribute:rack exists || attribute:a exists":                                     true,
		"attribute:ecs.instance-type not_equals x and not (attribute:a exists)":           true,
		"((attribute:rack == 7) and (not (attribute:rack == 8)) or (attribute:a exists))": true,
	} {
		e, err := placement.ParseExpression(expression)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		if got := e.Matches(&i); got != want {
			t.Errorf("%s: %v", expression, got)
		}
	}
}

func TestParseExpression_Refusals(t *testing.T) {
	for expression, want := range map[string]string{
		"":                                  "expected a subject instead of 'end' at position 1",
		"attribute:a ==":                    "expected a value instead of 'end' at position 15",
		"attribute:a = b":                   "unexpected '=' at position 13",
		"attribute:a == 'b":                 "the quote at position 16 is not closed",
		"attribute:a in b":                  "expected '[' instead of 'b' at position 16",
		"attribute:a in [b":                 "expected ',' or ']' instead of 'end' at position 18",
		"(attribute:a exists":               "expected ')' instead of 'end' at position 20",
		"attribute:a exists)":               "unexpected ')' at position 19",
		"colour == red":                     "unknown subject 'colour' at position 1",
		"agentVersion =~ 1":                 "operator '=~' cannot be used with 'agentVersion' at position 1",
		"registeredAt > soon":               "'soon' is not a time at position 1",
		"runningTasksCount > many":          "'many' is not a number at position 1",
		"attribute:a =~ '['":                "'[' is not a regular expression at position 1",
		"attribute:a likes b":               "expected an operator instead of 'likes' at position 13",
		"attribute: exists":                 "unknown subject 'attribute:' at position 1",
		"'attribute:a' exists":              "expected a subject instead of 'attribute:a' at position 1",
		strings.Repeat("x", 2001) + " == y": "it is longer than 2000 characters",
	} {
		if _, err := placement.ParseExpression(expression); err == nil || err.Error() != want {
			t.Errorf("%.40s: got %v, want %s", expression, err, want)
		}
	}
}

// Nothing that a user may send makes the parser fail in another way.
func FuzzParseExpression(f *testing.F) {
	for _, s := range []string{"attribute:a == b and not (c)", "x in [a, 'b']", "!!! ((", "task:group =~ '\"'"} {
		f.Add(s)
	}
	i := host("h", nil)
	f.Fuzz(func(t *testing.T, s string) {
		if e, err := placement.ParseExpression(s); err == nil {
			e.Matches(&i)
		}
	})
}
