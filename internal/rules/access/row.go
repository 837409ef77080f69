package access

// table has a row for each operation of one service.
type table map[string]row

// row is what one operation needs. Members are named by their path in the
// input, "overrides.taskRoleArn"; lists on the way are gone through. Where one
// of several members is meant, they are separated by bars, and the first that is
// present counts.
type row struct {
	// on are the resources. Without any the action is checked on "*".
	on []target
	// keys are the condition keys that the request gives.
	keys []key
	// tags is the member with the tags that the request sets, tagKeys the one
	// with the names of tags that it removes.
	tags, tagKeys string
	// born: what the operation makes counts as tagged with the tags that the
	// request sets, as AWS's managed policies for ECS's roles presuppose.
	born bool
	// also are further permissions. Those of the same service have the row's
	// condition keys besides their own.
	also []need
	// free: the operation's own action is not checked.
	free bool
	// left: when no resource is named, the provider asks, not the table.
	left bool
}

// target makes resources out of a member of the input.
type target struct {
	path string
	// arn makes the resources of one name.
	arn naming
	// absent is the name that counts when the member is absent, or when there is
	// no path; "" for none.
	absent string
}

// naming turns a name, as users write it, into ARNs.
type naming func(v *view, name string) []string

// key is a condition key whose values are those of a member.
type key struct {
	name string // lower case
	path string
	// as turns a value into the key's; nil leaves it. "" drops it.
	as func(v *view, value string) string
	// absent is the key's value when the member is absent; "" for no key.
	absent string
	// spread makes a key of each entry of a map: name is what its key follows.
	spread bool
	// fixed is the value of a key that is always the same; there is no path.
	fixed string
	// of computes the key from the whole request; there is no path.
	of func(v *view) []string
}

// need is a permission besides the operation's own. It is checked for each of
// its resources, and not at all without any.
type need struct {
	action string
	on     []target
	keys   []key
	// when is a member that must be present.
	when string
}

// constant is a target that no member names.
func constant(n naming) target { return target{arn: n, absent: "*"} }

func always(name, value string) key { return key{name: name, fixed: value} }

// tableOf finds a service's table by its signing name.
func tableOf(service string) table {
	switch service {
	case "ecs":
		return ecs
	case "ec2":
		return ec2
	case "elasticloadbalancing":
		return elbv2
	case "acm":
		return acm
	case "servicediscovery":
		return discovery
	case "logs":
		return logs
	case "sts":
		return sts
	case "iam":
		return iam
	case "secretsmanager":
		return secretsmanager
	case "ssm":
		return ssm
	case "kms":
		return kms
	case "cloudtrail":
		return cloudtrail
	case "ecr":
		return ecr
	}
	return nil
}

const (
	keyBoundary = "iam:permissionsboundary"
	keyTagKeys  = "aws:tagkeys"
	keyTag      = "aws:requesttag/"
)

// rows gives many operations the same row.
func rows(r row, operations ...string) table {
	t := make(table, len(operations))
	for _, op := range operations {
		t[op] = r
	}
	return t
}

// join makes one table of several. An operation that is in two of them is a
// mistake that a test finds (TestNoRowTwice).
func join(tables ...table) table {
	all := table{}
	for _, t := range tables {
		for op, r := range t {
			if _, twice := all[op]; twice {
				r.also = append(r.also, need{action: "two rows for " + op})
			}
			all[op] = r
		}
	}
	return all
}
