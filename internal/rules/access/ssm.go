package access

import (
	"strings"

	"berth.dev/berth/internal/base/arn"
)

// ssm follows the Service Authorization Reference of AWS Systems Manager, its
// Parameter Store. Each of many names is a resource, and one that may not be
// read refuses the request.
var ssm = join(
	rows(row{}, "DescribeParameters"),
	rows(row{on: []target{{path: "Name", arn: parameter}}},
		"GetParameter", "DeleteParameter", "GetParameterHistory", "LabelParameterVersion", "UnlabelParameterVersion"),
	rows(row{on: []target{{path: "Names", arn: parameter}}}, "GetParameters", "DeleteParameters"),
	table{
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
