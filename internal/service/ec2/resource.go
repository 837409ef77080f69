package ec2

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// form is how the ids of one sort of resource look, and what EC2 says about
// one that is not right.
type form struct {
	prefix   string
	noun     string // "The subnet ID 'x' does not exist"
	notFound string // error codes
	badID    string
	text     string // of notFound, when it is not like the others'
}

// The forms of all ids that requests name.
var (
	vpcForm         = form{prefix: "vpc-", noun: "vpc ID", notFound: "InvalidVpcID.NotFound", badID: "InvalidVpcID.Malformed"}
	subnetForm      = form{prefix: "subnet-", noun: "subnet ID", notFound: "InvalidSubnetID.NotFound", badID: "InvalidSubnetID.Malformed"}
	groupForm       = form{prefix: "sg-", noun: "security group", notFound: "InvalidGroup.NotFound", badID: "InvalidGroupId.Malformed"}
	ruleForm        = form{prefix: "sgr-", noun: "security group rule ID", notFound: "InvalidSecurityGroupRuleId.NotFound", badID: "InvalidSecurityGroupRuleId.Malformed"}
	interfaceForm   = form{prefix: "eni-", noun: "networkInterface ID", notFound: "InvalidNetworkInterfaceID.NotFound", badID: "InvalidNetworkInterfaceId.Malformed"}
	gatewayForm     = form{prefix: "igw-", noun: "internetGateway ID", notFound: "InvalidInternetGatewayID.NotFound", badID: "InvalidInternetGatewayId.Malformed"}
	natForm         = form{prefix: "nat-", notFound: "NatGatewayNotFound", badID: "NatGatewayMalformed", text: "NatGateway %s was not found"}
	routeTableForm  = form{prefix: "rtb-", noun: "routeTable ID", notFound: "InvalidRouteTableID.NotFound", badID: "InvalidRouteTableId.Malformed"}
	associationForm = form{prefix: "rtbassoc-", noun: "association ID", notFound: "InvalidAssociationID.NotFound", badID: "InvalidRouteTableAssociationId.Malformed"}
	allocationForm  = form{prefix: "eipalloc-", noun: "allocation ID", notFound: "InvalidAllocationID.NotFound", badID: "InvalidAllocationID.Malformed"}
	aclForm         = form{prefix: "acl-", noun: "networkAcl ID", notFound: "InvalidNetworkAclID.NotFound", badID: "InvalidNetworkAclId.Malformed"}
	dhcpForm        = form{prefix: "dopt-", noun: "dhcpOption ID", notFound: "InvalidDhcpOptionID.NotFound", badID: "InvalidDhcpOptionsId.Malformed"}
	prefixListForm  = form{prefix: "pl-", noun: "prefix list ID", notFound: "InvalidPrefixListID.NotFound", badID: "InvalidPrefixListId.Malformed"}
)

// check refuses an id that cannot be one.
func (f form) check(id string) error {
	if strings.HasPrefix(id, f.prefix) {
		return nil
	}
	return failure(f.badID, "Invalid id: \"%s\" (expecting \"%s...\")", id, f.prefix)
}

// missing says that there are no resources with the ids.
func (f form) missing(ids ...string) error {
	switch {
	case f.text != "":
		return failure(f.notFound, f.text, strings.Join(ids, ", "))
	case len(ids) == 1:
		return failure(f.notFound, "The %s '%s' does not exist", f.noun, ids[0])
	default:
		return failure(f.notFound, "The %ss '%s' do not exist", f.noun, strings.Join(ids, ", "))
	}
}

// named is the record that a request names by its parameter.
func named[R any](r store.Reader, table *store.Table[R], f form, param string, id *string) (*R, error) {
	if id == nil || *id == "" {
		return nil, missingParameter(param)
	}
	if err := f.check(*id); err != nil {
		return nil, err
	}
	rec, found := table.Get(r, *id)
	if !found {
		return nil, f.missing(*id)
	}
	return rec, nil
}

func missingParameter(name string) error {
	return failure("MissingParameter", "The request must contain the parameter %s", name)
}

// inUse is EC2's answer to the deletion of what others need.
func inUse(noun, id string) error {
	return failure("DependencyViolation", "The %s '%s' has dependencies and cannot be deleted.", noun, id)
}

// unsupported refuses what would have no effect here.
func unsupported(what string) error {
	return failure("UnsupportedOperation", "Berth does not support %s.", what)
}

// refuse returns the first of the requests that a caller makes and that Berth
// cannot keep.
func refuse(asked map[string]bool) error {
	var what []string
	for name, is := range asked {
		if is {
			what = append(what, name)
		}
	}
	if len(what) == 0 {
		return nil
	}
	return unsupported(slices.Min(what))
}

// change runs a transaction, unless the request only asks whether it may.
func (p *Provider) change(ctx context.Context, dry *bool, fn func(*store.Tx) error) error {
	if err := dryRun(dry); err != nil {
		return err
	}
	_, err := p.store.Update(ctx, fn)
	return err
}

// guarded is the record that a transaction makes others depend on: the
// transaction fails when somebody changes or deletes it meanwhile.
func guarded[R any](tx *store.Tx, table *store.Table[R], f form, param string, id *string) (*R, error) {
	rec, err := named(tx, table, f, param, id)
	if err == nil {
		table.Guard(tx, *id)
	}
	return rec, err
}

// defaultVPC is the account's default VPC, if it has one.
func defaultVPC(r store.Reader) (*model.VPC, bool) {
	for v := range records.VPCs.All(r) {
		if v.IsDefault {
			return v, true
		}
	}
	return nil, false
}

// suffix is what an id has after its prefix. Ids of what is derived from a
// record have the record's.
func suffix(id string) string {
	_, rest, _ := strings.Cut(id, "-")
	return rest
}

func derived(prefix, id string) string { return fmt.Sprintf("%s-%s", prefix, suffix(id)) }

// text is the value of an optional parameter.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func isTrue(b *bool) bool { return b != nil && *b }

// empty is nil for "", because EC2 leaves out what is not there.
func empty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
