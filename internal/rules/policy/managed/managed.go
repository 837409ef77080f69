package managed

import (
	"embed"
	"slices"
	"strings"
	"time"
)

// Policy is one of AWS's managed policies.
type Policy struct {
	// ARN is arn:aws:iam::aws:policy, the path and the name.
	ARN  string
	Name string
	// Path is "/", "/service-role/", "/aws-service-role/" or "/job-function/".
	Path        string
	Description string
	// DefaultVersionID is the version that Document is; AWS's earlier ones do
	// not exist here.
	DefaultVersionID string
	CreatedAt        time.Time // of the policy
	UpdatedAt        time.Time // of the version
	// Document is the policy's text.
	Document string
}

const prefix = "arn:aws:iam::aws:policy"

// entry is a row of the table.
type entry struct {
	name, path, version, created, updated, description string
}

//go:embed documents/*.json
var documents embed.FS

// All lists the policies by name.
func All() []Policy {
	all := make([]Policy, 0, len(table))
	for i := range table {
		all = append(all, table[i].policy())
	}
	return all
}

// Find returns the policy with an ARN.
func Find(arn string) (Policy, bool) {
	path, ok := strings.CutPrefix(arn, prefix)
	if !ok {
		return Policy{}, false
	}
	slash := strings.LastIndexByte(path, '/')
	i, found := slices.BinarySearchFunc(table[:], path[slash+1:], func(e entry, name string) int {
		return strings.Compare(e.name, name)
	})
	if !found || table[i].path != path[:slash+1] {
		return Policy{}, false
	}
	return table[i].policy(), true
}

// policy reads the row's document. Tests read every row: a name without a file
// or a time that is none does not get past them.
func (e *entry) policy() Policy {
	document, _ := documents.ReadFile("documents/" + e.name + ".json")
	created, _ := time.Parse(time.RFC3339, e.created)
	updated, _ := time.Parse(time.RFC3339, e.updated)
	return Policy{
		ARN: prefix + e.path + e.name, Name: e.name, Path: e.path, Description: e.description,
		DefaultVersionID: e.version, CreatedAt: created, UpdatedAt: updated, Document: string(document),
	}
}
