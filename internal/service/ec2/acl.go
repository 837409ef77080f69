package ec2

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ec2api"
)

// What this file answers is not stored: every VPC has one network ACL, which
// allows everything, and the account one set of DHCP options, as long as
// nobody makes others; and that is refused.

const (
	everywhere     = "0.0.0.0/0"
	allProtocols   = "-1"
	firstACLRule   = 100
	lastACLRule    = 32767
	groupsPerENI   = 5
	amazonResolver = "AmazonProvidedDNS"
)

// acl is the network ACL of a VPC.
type acl struct {
	vpc     *model.VPC
	subnets []*model.Subnet
}

func (a *acl) id() string { return derived("acl", a.vpc.ID) }

func aclAssociation(s *model.Subnet) string {
	if s.ACLAssociationID != "" {
		return s.ACLAssociationID
	}
	return derived("aclassoc", s.ID)
}

func acls(r store.Reader) []*acl {
	var all []*acl
	for v := range records.VPCs.All(r) {
		all = append(all, &acl{v, slices.Collect(records.Subnets.By(r, records.SubnetsByVPC, v.ID))})
	}
	return all
}

func (a *acl) ofSubnets(value func(*model.Subnet) string) []string {
	var values []string
	for _, s := range a.subnets {
		values = append(values, value(s))
	}
	return values
}

func (p *Provider) networkACLs() *kind[acl] {
	return &kind[acl]{
		form: aclForm, call: "DescribeNetworkAcls", param: "networkAclIds",
		id:   (*acl).id,
		tags: func(*acl) []model.Tag { return nil },
		filters: map[string]func(*acl) []string{
			"network-acl-id":             func(a *acl) []string { return one(a.id()) },
			"association.network-acl-id": func(a *acl) []string { return one(a.id()) },
			"association.association-id": func(a *acl) []string { return a.ofSubnets(aclAssociation) },
			"association.subnet-id":      func(a *acl) []string { return a.ofSubnets((*model.Subnet).Key) },
			"vpc-id":                     func(a *acl) []string { return one(a.vpc.ID) },
			"default":                    func(*acl) []string { return yes(true) },
			"owner-id":                   func(*acl) []string { return one(p.scope.AccountID) },
			"entry.cidr":                 func(*acl) []string { return one(everywhere) },
			"entry.protocol":             func(*acl) []string { return one(allProtocols) },
			"entry.egress":               func(*acl) []string { return []string{"true", "false"} },
			"entry.rule-action":          func(*acl) []string { return []string{"allow", "deny"} },
			"entry.rule-number":          func(*acl) []string { return []string{"100", "32767"} },
		},
	}
}

// DescribeNetworkAcls implements ec2api.Service.
func (p *Provider) DescribeNetworkAcls(_ context.Context, in *ec2api.DescribeNetworkAclsInput) (*ec2api.DescribeNetworkAclsOutput, error) {
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	page, next, err := p.networkACLs().find(acls(p.store.Snapshot()), query{in.NetworkAclIds, in.Filters, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, err
	}
	out := &ec2api.DescribeNetworkAclsOutput{NetworkAcls: []ec2api.NetworkAcl{}, NextToken: next}
	for _, a := range page {
		out.NetworkAcls = append(out.NetworkAcls, p.aclOut(a))
	}
	return out, nil
}

func (p *Provider) aclOut(a *acl) ec2api.NetworkAcl {
	out := ec2api.NetworkAcl{
		NetworkAclId: new(a.id()), VpcId: &a.vpc.ID, OwnerId: &p.scope.AccountID, IsDefault: new(true),
		Tags: []ec2api.Tag{}, Associations: []ec2api.NetworkAclAssociation{},
	}
	for _, s := range a.subnets {
		out.Associations = append(out.Associations, ec2api.NetworkAclAssociation{
			NetworkAclAssociationId: new(aclAssociation(s)), NetworkAclId: new(a.id()), SubnetId: &s.ID,
		})
	}
	for _, egress := range []bool{true, false} {
		for _, rule := range []struct {
			number int32
			action ec2api.RuleAction
		}{{firstACLRule, ec2api.RuleActionAllow}, {lastACLRule, ec2api.RuleActionDeny}} {
			out.Entries = append(out.Entries, ec2api.NetworkAclEntry{
				CidrBlock: new(everywhere), Egress: &egress, Protocol: new(allProtocols), RuleAction: rule.action, RuleNumber: &rule.number,
			})
		}
	}
	return out
}

// dhcpOptionsID is the id of the only set of DHCP options, the same whenever
// it is asked for.
func (p *Provider) dhcpOptionsID() string {
	sum := sha256.Sum256([]byte(p.scope.AccountID + "/" + p.scope.Region))
	return dhcpForm.prefix + hex.EncodeToString(sum[:])[:17]
}

// DescribeDhcpOptions implements ec2api.Service.
func (p *Provider) DescribeDhcpOptions(_ context.Context, in *ec2api.DescribeDhcpOptionsInput) (*ec2api.DescribeDhcpOptionsOutput, error) {
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	domain := p.scope.Region + ".compute.internal"
	if p.scope.Region == "us-east-1" {
		domain = "ec2.internal"
	}
	options := ec2api.DhcpOptions{
		DhcpOptionsId: new(p.dhcpOptionsID()), OwnerId: &p.scope.AccountID, Tags: []ec2api.Tag{},
		DhcpConfigurations: []ec2api.DhcpConfiguration{
			{Key: new("domain-name"), Values: []ec2api.AttributeValue{{Value: &domain}}},
			{Key: new("domain-name-servers"), Values: []ec2api.AttributeValue{{Value: new(amazonResolver)}}},
		},
	}
	k := &kind[ec2api.DhcpOptions]{
		form: dhcpForm, call: "DescribeDhcpOptions", param: "dhcpOptionsIds",
		id:   func(o *ec2api.DhcpOptions) string { return *o.DhcpOptionsId },
		tags: func(*ec2api.DhcpOptions) []model.Tag { return nil },
		filters: map[string]func(*ec2api.DhcpOptions) []string{
			"dhcp-options-id": func(o *ec2api.DhcpOptions) []string { return one(*o.DhcpOptionsId) },
			"key":             func(*ec2api.DhcpOptions) []string { return []string{"domain-name", "domain-name-servers"} },
			"value":           func(*ec2api.DhcpOptions) []string { return []string{domain, amazonResolver} },
			"owner-id":        func(*ec2api.DhcpOptions) []string { return one(p.scope.AccountID) },
		},
	}
	page, next, err := k.find([]*ec2api.DhcpOptions{&options}, query{in.DhcpOptionsIds, in.Filters, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, err
	}
	out := &ec2api.DescribeDhcpOptionsOutput{DhcpOptions: []ec2api.DhcpOptions{}, NextToken: next}
	for _, o := range page {
		out.DhcpOptions = append(out.DhcpOptions, *o)
	}
	return out, nil
}

// DescribePrefixLists implements ec2api.Service. Prefix lists are AWS's names
// for the addresses of its own services, which are elsewhere: there are none.
func (p *Provider) DescribePrefixLists(_ context.Context, in *ec2api.DescribePrefixListsInput) (*ec2api.DescribePrefixListsOutput, error) {
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	name := func(l *ec2api.PrefixList) []string { return one(text(l.PrefixListName)) }
	k := &kind[ec2api.PrefixList]{
		form: prefixListForm, call: "DescribePrefixLists", param: "prefixListIds",
		id: func(l *ec2api.PrefixList) string { return text(l.PrefixListId) },
		filters: map[string]func(*ec2api.PrefixList) []string{
			"prefix-list-id":   func(l *ec2api.PrefixList) []string { return one(text(l.PrefixListId)) },
			"prefix-list-name": name,
		},
	}
	if _, _, err := k.find(nil, query{in.PrefixListIds, in.Filters, in.MaxResults, in.NextToken}); err != nil {
		return nil, err
	}
	return &ec2api.DescribePrefixListsOutput{PrefixLists: []ec2api.PrefixList{}}, nil
}

// DescribeAccountAttributes implements ec2api.Service.
func (p *Provider) DescribeAccountAttributes(_ context.Context, in *ec2api.DescribeAccountAttributesInput) (*ec2api.DescribeAccountAttributesOutput, error) {
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	vpc := "none"
	if v, found := defaultVPC(p.store.Snapshot()); found {
		vpc = v.ID
	}
	out := &ec2api.DescribeAccountAttributesOutput{AccountAttributes: []ec2api.AccountAttribute{}}
	for _, a := range []struct{ name, value string }{
		{"supported-platforms", "VPC"}, {"default-vpc", vpc}, {"vpc-max-security-groups-per-interface", "5"},
	} {
		if len(in.AttributeNames) > 0 && !slices.Contains(in.AttributeNames, ec2api.AccountAttributeName(a.name)) {
			continue
		}
		out.AccountAttributes = append(out.AccountAttributes, ec2api.AccountAttribute{
			AttributeName: &a.name, AttributeValues: []ec2api.AccountAttributeValue{{AttributeValue: &a.value}},
		})
	}
	return out, nil
}
