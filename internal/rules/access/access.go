package access

import (
	"fmt"
	"slices"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/smithy"
)

// Query is one decoded request. Its input may break the model's constraints.
type Query struct {
	Scope     arn.Scope
	Service   string // signing name, such as "elasticloadbalancing"
	Operation string
	Input     smithy.Shape
	// Caller is the ARN of who asks: the resource of operations that are about
	// the caller when they name nobody.
	Caller string
}

// Check is one permission that the caller needs. All checks of a request must
// pass.
type Check struct {
	Action   string // "ecs:RunTask"
	Resource string // an ARN, or "*" for an action without resources
	// Keys are the condition keys that the request gives, by their names in
	// lower case. They are shared between the checks of a query: read only.
	Keys []Key
	// Tags are those of the resource, for aws:ResourceTag and the service's own
	// key of that kind.
	Tags []model.Tag
}

// Key is a condition key. One without values is there and has none.
type Key struct {
	Name   string
	Values []string
}

// Kind is a kind of thing that Lookup resolves names of.
type Kind int

// The kinds.
const (
	User Kind = iota
	Group
	Role
	InstanceProfile
	Secret
	KMSKey   // by id, ARN, alias or alias ARN
	KMSAlias // the key behind an alias, "" when there is none
)

// Lookup is what the table must know of what exists. All answers are of one
// moment.
type Lookup interface {
	// Resolve returns the ARN of what users call name, and false when there is
	// none.
	Resolve(kind Kind, name string) (string, bool)
	// Tags returns the tags of the resource with the ARN; none when it does not
	// exist.
	Tags(resource string) []model.Tag
	// TaskDefinition finds a revision by ARN, family:revision, or family, which
	// means the latest active one.
	TaskDefinition(name string) (*model.TaskDefinition, bool)
	// Boundary is the ARN of the permissions boundary of the user or role with
	// the ARN, "" for none.
	Boundary(resource string) string
	// SecurityGroup finds the id of the group with the name in the default VPC.
	SecurityGroup(name string) (string, bool)
}

// Checks returns what q's caller must be allowed. None means that nobody can be
// denied the operation, or that its provider asks itself because the request
// alone does not tell what it touches. It fails for an operation without a row.
func Checks(q Query, look Lookup) ([]Check, error) {
	r, ok := tableOf(q.Service)[q.Operation]
	if !ok {
		return nil, fmt.Errorf("no row for %s:%s", q.Service, q.Operation)
	}
	v := &view{Query: q, look: look}
	if r.born {
		v.born = v.tags(r.tags)
	}
	var checks []Check
	keys := v.keys(r.keys, r.tags, r.tagKeys)
	if !r.free {
		action := q.Service + ":" + q.Operation
		resources := v.resources(r.on)
		if len(resources) == 0 && !r.left {
			resources = []string{"*"}
		}
		checks = make([]Check, 0, len(resources)+len(r.also))
		for _, resource := range resources {
			checks = append(checks, v.check(action, resource, keys))
		}
	}
	for _, n := range r.also {
		if n.when != "" && len(v.values(n.when)) == 0 {
			continue
		}
		more := v.keys(n.keys, "", "")
		if strings.HasPrefix(n.action, q.Service+":") {
			more = append(more, keys...)
		}
		for _, resource := range v.resources(n.on) {
			if !asked(checks, n.action, resource) {
				checks = append(checks, v.check(n.action, resource, more))
			}
		}
	}
	return checks, nil
}

// check completes a check with what is known of its resource.
func (v *view) check(action, resource string, keys []Key) Check {
	c := Check{Action: action, Resource: resource, Keys: keys}
	if resource != "*" && !strings.HasSuffix(resource, "/*") {
		c.Tags = v.look.Tags(resource)
	} else if resource != "*" {
		c.Tags = v.born
	}
	if strings.HasPrefix(action, "iam:") && action != "iam:PassRole" {
		if boundary := v.look.Boundary(resource); boundary != "" && !has(keys, keyBoundary) {
			c.Keys = append([]Key{{keyBoundary, []string{boundary}}}, keys...)
		}
	}
	return c
}

func asked(checks []Check, action, resource string) bool {
	return slices.ContainsFunc(checks, func(c Check) bool { return c.Action == action && c.Resource == resource })
}

func has(keys []Key, name string) bool {
	for _, k := range keys {
		if k.Name == name {
			return true
		}
	}
	return false
}
