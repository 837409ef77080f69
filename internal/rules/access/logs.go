package access

import (
	"strings"

	"berth.dev/berth/internal/base/arn"
)

// logs follows the Service Authorization Reference of CloudWatch Logs. A group
// is checked as "log-group:NAME:log-stream:", which is what refusals show and
// what the usual pattern "log-group:NAME:*" is written for; an action on a
// stream has its name behind that.
var logs = join(
	rows(row{on: []target{inLogGroup}}, "DeleteLogGroup", "DescribeLogStreams", "PutRetentionPolicy", "DeleteRetentionPolicy",
		"PutLogGroupDeletionProtection", "FilterLogEvents"),
	rows(row{on: []target{inLogStream}}, "CreateLogStream", "DeleteLogStream", "PutLogEvents", "GetLogEvents"),
	table{
		"CreateLogGroup": {
			on: []target{inLogGroup}, tags: "tags",
			// The tags of a new group need logs:TagResource besides.
			also: []need{{action: "logs:TagResource", on: []target{{path: "logGroupName", arn: plain("logs", "log-group:")}}, when: "tags"}},
		},
		"DescribeLogGroups":   {on: []target{{path: "logGroupNamePrefix", arn: group, absent: anyGroup}, {path: "logGroupIdentifiers", arn: group}}},
		"TagResource":         {on: []target{{path: "resourceArn", arn: literal}}, tags: "tags"},
		"UntagResource":       {on: []target{{path: "resourceArn", arn: literal}}, tagKeys: "tagKeys"},
		"ListTagsForResource": {on: []target{{path: "resourceArn", arn: literal}}},
	},
)

// anyGroup is no group's name: a list of groups without a prefix is checked as
// "log-group::log-stream:".
const anyGroup = ":"

var (
	inLogGroup  = target{path: "logGroupName|logGroupIdentifier", arn: group}
	inLogStream = target{path: "logGroupName|logGroupIdentifier", arn: stream}
)

// group makes the ARN of a group's streams from its name or ARN.
func group(v *view, name string) []string {
	if arn.Is(name) {
		return []string{strings.TrimSuffix(literal(v, name)[0], ":*") + ":log-stream:"}
	}
	if name == anyGroup {
		name = ""
	}
	return []string{v.Scope.LogGroup(name) + ":log-stream:"}
}

func stream(v *view, name string) []string {
	return []string{group(v, name)[0] + v.value("logStreamName")}
}
