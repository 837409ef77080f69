package ec2

import (
	"context"
	"slices"
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ec2api"
)

// Limits of tags: the Amazon EC2 user guide, "Tag restrictions".
const (
	maxTags     = 50
	maxTagKey   = 128
	maxTagValue = 256
)

// tagsIn are the tags that a call gives what it makes.
func tagsIn(specs []ec2api.TagSpecification, made ec2api.ResourceType) ([]model.Tag, error) {
	var tags []model.Tag
	for _, spec := range specs {
		if spec.ResourceType != made {
			return nil, failure("InvalidParameterValue", "'%s' is not a valid taggable resource type for this operation.", spec.ResourceType)
		}
		var err error
		if tags, err = addTags(tags, spec.Tags); err != nil {
			return nil, err
		}
	}
	return tags, nil
}

// addTags sets tags, those that are there already to their new values.
func addTags(tags []model.Tag, add []ec2api.Tag) ([]model.Tag, error) {
	tags = slices.Clone(tags)
	for _, t := range add {
		key, value := text(t.Key), text(t.Value)
		switch {
		case key == "":
			return nil, failure("InvalidParameterValue", "Tag key must not be empty.")
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			return nil, failure("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
		case len([]rune(key)) > maxTagKey:
			return nil, failure("InvalidParameterValue", "Tag key exceeds the maximum length of %d characters", maxTagKey)
		case len([]rune(value)) > maxTagValue:
			return nil, failure("InvalidParameterValue", "Tag value exceeds the maximum length of %d characters", maxTagValue)
		}
		if i := slices.IndexFunc(tags, func(old model.Tag) bool { return old.Key == key }); i >= 0 {
			tags[i].Value = value
			continue
		}
		tags = append(tags, model.Tag{Key: key, Value: value})
	}
	if len(tags) > maxTags {
		return nil, failure("TagLimitExceeded", "More than %d tags specified", maxTags)
	}
	return tags, nil
}

// dropTags removes tags by key, and by value where one is given. No list means
// all.
func dropTags(tags []model.Tag, drop []ec2api.Tag) []model.Tag {
	if len(drop) == 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(tags), func(old model.Tag) bool {
		return slices.ContainsFunc(drop, func(t ec2api.Tag) bool {
			return text(t.Key) == old.Key && (t.Value == nil || *t.Value == old.Value)
		})
	})
}

// CreateTags implements ec2api.Service. It tags all of the resources or none.
func (p *Provider) CreateTags(ctx context.Context, in *ec2api.CreateTagsInput) (*ec2api.CreateTagsOutput, error) {
	err := p.change(ctx, in.DryRun, func(tx *store.Tx) error {
		return retagAll(tx, in.Resources, func(old []model.Tag) ([]model.Tag, error) { return addTags(old, in.Tags) })
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.CreateTagsOutput{}, nil
}

// DeleteTags implements ec2api.Service.
func (p *Provider) DeleteTags(ctx context.Context, in *ec2api.DeleteTagsInput) (*ec2api.DeleteTagsOutput, error) {
	err := p.change(ctx, in.DryRun, func(tx *store.Tx) error {
		return retagAll(tx, in.Resources, func(old []model.Tag) ([]model.Tag, error) { return dropTags(old, in.Tags), nil })
	})
	if err != nil {
		return nil, err
	}
	return &ec2api.DeleteTagsOutput{}, nil
}

type tagEdit func([]model.Tag) ([]model.Tag, error)

func retagAll(tx *store.Tx, ids []string, edit tagEdit) error {
	for _, id := range ids {
		if err := retag(tx, id, edit); err != nil {
			return err
		}
	}
	return nil
}

func retag(tx *store.Tx, id string, edit tagEdit) error {
	prefix, _, _ := strings.Cut(id, "-")
	switch prefix + "-" {
	case vpcForm.prefix:
		return retagIn(tx, records.VPCs, vpcForm, id, func(v *model.VPC) *[]model.Tag { return &v.Tags }, edit)
	case subnetForm.prefix:
		return retagIn(tx, records.Subnets, subnetForm, id, func(s *model.Subnet) *[]model.Tag { return &s.Tags }, edit)
	case groupForm.prefix:
		return retagIn(tx, records.SecurityGroups, groupForm, id, func(g *model.SecurityGroup) *[]model.Tag { return &g.Tags }, edit)
	case interfaceForm.prefix:
		return retagIn(tx, records.NetworkInterfaces, interfaceForm, id, func(n *model.NetworkInterface) *[]model.Tag { return &n.Tags }, edit)
	case gatewayForm.prefix:
		return retagIn(tx, records.InternetGateways, gatewayForm, id, func(g *model.InternetGateway) *[]model.Tag { return &g.Tags }, edit)
	case natForm.prefix:
		return retagIn(tx, records.NATGateways, natForm, id, func(g *model.NATGateway) *[]model.Tag { return &g.Tags }, edit)
	case routeTableForm.prefix:
		return retagIn(tx, records.RouteTables, routeTableForm, id, func(t *model.RouteTable) *[]model.Tag { return &t.Tags }, edit)
	case allocationForm.prefix:
		address, err := allocated(tx, id)
		if err != nil {
			return err
		}
		return retagIn(tx, records.PublicAddresses, allocationForm, address.Address, func(a *model.PublicAddress) *[]model.Tag { return &a.Tags }, edit)
	case ruleForm.prefix:
		return retagRule(tx, id, edit)
	case volumeForm.prefix:
		return retagIn(tx, records.EBSVolumes, volumeForm, id, func(v *model.EBSVolume) *[]model.Tag { return &v.Tags }, edit)
	case aclForm.prefix, dhcpForm.prefix:
		return unsupported("tags of network ACLs and of DHCP options")
	}
	return failure("InvalidID", "The ID '%s' is not valid", id)
}

func retagIn[R any](tx *store.Tx, table *store.Table[R], f form, key string, tags func(*R) *[]model.Tag, edit tagEdit) error {
	if !table.Has(tx, key) {
		return f.missing(key)
	}
	return table.Edit(tx, key, func(rec *R) error {
		changed, err := edit(*tags(rec))
		if err == nil {
			*tags(rec) = changed
		}
		return err
	})
}

func retagRule(tx *store.Tx, id string, edit tagEdit) error {
	groupID, found := groupOfRule(tx, id)
	if !found {
		return ruleForm.missing(id)
	}
	return records.SecurityGroups.Edit(tx, groupID, func(g *model.SecurityGroup) error {
		rule := ruleByID(g, id)
		changed, err := edit(rule.Tags)
		if err == nil {
			rule.Tags = changed
		}
		return err
	})
}

// tagged is one tag of one resource.
type tagged struct {
	resource string
	kind     ec2api.ResourceType
	tag      model.Tag
}

// allTags lists every tag, by resource and key.
func allTags(r store.Reader) []*tagged {
	var all []*tagged
	add := func(id string, kind ec2api.ResourceType, tags []model.Tag) {
		for _, t := range tags {
			all = append(all, &tagged{id, kind, t})
		}
	}
	for v := range records.VPCs.All(r) {
		add(v.ID, ec2api.ResourceTypeVpc, v.Tags)
	}
	for s := range records.Subnets.All(r) {
		add(s.ID, ec2api.ResourceTypeSubnet, s.Tags)
	}
	for g := range records.SecurityGroups.All(r) {
		add(g.ID, ec2api.ResourceTypeSecurityGroup, g.Tags)
		for _, rule := range slices.Concat(g.Ingress, g.Egress) {
			add(rule.ID, ec2api.ResourceTypeSecurityGroupRule, rule.Tags)
		}
	}
	for n := range records.NetworkInterfaces.All(r) {
		add(n.ID, ec2api.ResourceTypeNetworkInterface, n.Tags)
	}
	for g := range records.InternetGateways.All(r) {
		add(g.ID, ec2api.ResourceTypeInternetGateway, g.Tags)
	}
	for g := range records.NATGateways.All(r) {
		add(g.ID, ec2api.ResourceTypeNatgateway, g.Tags)
	}
	for t := range records.RouteTables.All(r) {
		add(t.ID, ec2api.ResourceTypeRouteTable, t.Tags)
	}
	for a := range records.PublicAddresses.All(r) {
		add(a.AllocationID, ec2api.ResourceTypeElasticIp, a.Tags)
	}
	for v := range records.EBSVolumes.All(r) {
		add(v.ID, ec2api.ResourceTypeVolume, v.Tags)
	}
	slices.SortFunc(all, func(a, b *tagged) int { return strings.Compare(a.key(), b.key()) })
	return all
}

func (t *tagged) key() string { return t.resource + "\x00" + t.tag.Key }

// DescribeTags implements ec2api.Service.
func (p *Provider) DescribeTags(_ context.Context, in *ec2api.DescribeTagsInput) (*ec2api.DescribeTagsOutput, error) {
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	k := &kind[tagged]{
		call: "DescribeTags",
		id:   (*tagged).key,
		tags: func(t *tagged) []model.Tag { return []model.Tag{t.tag} },
		filters: map[string]func(*tagged) []string{
			"key":           func(t *tagged) []string { return one(t.tag.Key) },
			"value":         func(t *tagged) []string { return one(t.tag.Value) },
			"resource-id":   func(t *tagged) []string { return one(t.resource) },
			"resource-type": func(t *tagged) []string { return one(string(t.kind)) },
		},
	}
	page, next, err := k.find(allTags(p.store.Snapshot()), query{filters: in.Filters, maxResults: in.MaxResults, nextToken: in.NextToken})
	if err != nil {
		return nil, err
	}
	out := &ec2api.DescribeTagsOutput{Tags: []ec2api.TagDescription{}, NextToken: next}
	for _, t := range page {
		out.Tags = append(out.Tags, ec2api.TagDescription{Key: &t.tag.Key, Value: &t.tag.Value, ResourceId: &t.resource, ResourceType: t.kind})
	}
	return out, nil
}
