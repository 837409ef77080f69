package access

import (
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/model"
)

// ssm follows the Service Authorization Reference of AWS Systems Manager, its
// Parameter Store and Session Manager. Each of many names is a resource, and
// one that may not be read refuses the request. A session is started on a task
// and, when the request names one, by a document; a session's ARN begins with
// who started it, so that policies allow one's own: session/${aws:username}-*.
var ssm = join(
	rows(row{}, "DescribeParameters"),
	rows(row{on: []target{{path: "Name", arn: parameter}}},
		"GetParameter", "DeleteParameter", "GetParameterHistory", "LabelParameterVersion", "UnlabelParameterVersion"),
	rows(row{on: []target{{path: "Names", arn: parameter}}}, "GetParameters", "DeleteParameters"),
	rows(row{}, "DescribeSessions"),
	rows(row{on: []target{{path: "SessionId", arn: plain("ssm", "session/")}}}, "ResumeSession", "TerminateSession"),
	table{
		"StartSession":        {on: []target{{path: "Target", arn: sessionTarget}, {path: "DocumentName", arn: document}}},
		"GetConnectionStatus": {on: []target{{path: "Target", arn: sessionTarget}}},

		"GetParametersByPath": {on: []target{{path: "Path", arn: parameter}}, keys: []key{{name: "ssm:recursive", path: "Recursive", absent: "false"}}},
		"PutParameter": {
			on: []target{{path: "Name", arn: parameter}}, tags: "Tags",
			keys: []key{
				{name: "ssm:overwrite", path: "Overwrite", absent: "false"},
				{name: "ssm:policies", path: "Policies"},
			},
			also: []need{{action: "ssm:AddTagsToResource", on: []target{{path: "Name", arn: parameter}}, when: "Tags.Key"}},
		},
		"AddTagsToResource":      {on: []target{{path: "ResourceId", arn: parameter}}, tags: "Tags"},
		"RemoveTagsFromResource": {on: []target{{path: "ResourceId", arn: parameter}}, tagKeys: "TagKeys"},
		"ListTagsForResource":    {on: []target{{path: "ResourceId", arn: parameter}}},
	},
)

// parameter makes the ARN of a name or ARN; a version or label behind it does
// not count: "/app/key:3" is the parameter /app/key.
func parameter(v *view, name string) []string {
	prefix := ""
	if arn.Is(name) {
		at := strings.Index(name, ":parameter")
		if at < 0 {
			return []string{name}
		}
		at += len(":parameter")
		prefix, name = literal(v, name[:at])[0], name[at:]
	}
	name, _, _ = strings.Cut(name, ":")
	if prefix != "" {
		return []string{prefix + name}
	}
	return []string{v.Scope.Regional("ssm", "parameter/"+strings.TrimPrefix(name, "/"))}
}

// sessionTarget makes the ARN of the task that a target is of. What else a
// target may be on AWS, there is none of here.
func sessionTarget(v *view, target string) []string {
	if cluster, taskID, _, ok := model.ParseSessionTarget(target); ok {
		return []string{v.Scope.Task(cluster, taskID)}
	}
	return []string{v.Scope.EC2("instance", target)}
}

// document makes the ARN of a document. Those of AWS, and Berth's, belong to no
// account; who writes policies mostly says * for it.
func document(v *view, name string) []string {
	if arn.Is(name) {
		return literal(v, name)
	}
	if strings.HasPrefix(name, "AWS-") || strings.HasPrefix(name, "Berth-") {
		return []string{"arn:aws:ssm:" + v.Scope.Region + "::document/" + name}
	}
	return []string{v.Scope.Regional("ssm", "document/"+name)}
}
