package ec2

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ec2api"
)

// maxRules is how many rules of each direction a group may have.
const maxRules = 60

// wish is what a request says about rules, in the old way or the new.
type wish struct {
	permissions []ec2api.IpPermission
	ids         []string

	protocol         *string
	from, to         *int32
	cidr             *string
	sourceGroup      *string
	sourceGroupOwner *string
}

// all are the permissions, the old way's included.
func (w wish) all() []ec2api.IpPermission {
	if len(w.permissions) > 0 || w.protocol == nil && w.cidr == nil && w.sourceGroup == nil {
		return w.permissions
	}
	one := ec2api.IpPermission{IpProtocol: w.protocol, FromPort: w.from, ToPort: w.to}
	if w.cidr != nil {
		one.IpRanges = []ec2api.IpRange{{CidrIp: w.cidr}}
	}
	if w.sourceGroup != nil {
		one.UserIdGroupPairs = []ec2api.UserIdGroupPair{{GroupName: w.sourceGroup, UserId: w.sourceGroupOwner}}
		if w.protocol == nil { // the oldest form: a group may send everything
			one.IpProtocol = new(allProtocols)
		}
	}
	return []ec2api.IpPermission{one}
}

// rules are the rules that permissions describe, each with one peer and
// without an id. The transaction depends on the groups that they refer to.
func (p *Provider) rules(tx *store.Tx, g *model.SecurityGroup, permissions []ec2api.IpPermission) ([]model.SecurityGroupRule, error) {
	if len(permissions) == 0 {
		return nil, missingParameter("ipPermissions")
	}
	var rules []model.SecurityGroupRule
	for _, permission := range permissions {
		base, err := protocolOf(permission.IpProtocol, permission.FromPort, permission.ToPort)
		if err != nil {
			return nil, err
		}
		before := len(rules)
		for _, r := range permission.IpRanges {
			if rules, err = addRange(rules, base, r.CidrIp, r.Description, false); err != nil {
				return nil, err
			}
		}
		for _, r := range permission.Ipv6Ranges {
			if rules, err = addRange(rules, base, r.CidrIpv6, r.Description, true); err != nil {
				return nil, err
			}
		}
		for _, pair := range permission.UserIdGroupPairs {
			rule := base
			rule.Description = text(pair.Description)
			if rule.GroupID, err = p.peer(tx, g, pair); err != nil {
				return nil, err
			}
			rules = append(rules, rule)
		}
		for _, l := range permission.PrefixListIds {
			return nil, failure("InvalidPrefixListID.NotFound", "The prefix list ID '%s' does not exist", text(l.PrefixListId))
		}
		if len(rules) == before {
			return nil, failure("MissingParameter", "Source group ID missing.")
		}
	}
	return rules, nil
}

func addRange(rules []model.SecurityGroupRule, rule model.SecurityGroupRule, cidr, description *string, v6 bool) ([]model.SecurityGroupRule, error) {
	prefix, err := netip.ParsePrefix(text(cidr))
	if err != nil || prefix.Addr().Is4() == v6 {
		return nil, failure("InvalidParameterValue", "CIDR block %s is malformed", text(cidr))
	}
	if v6 {
		rule.CIDRIPv6 = prefix.Masked().String()
	} else {
		rule.CIDR = prefix.Masked().String()
	}
	rule.Description = text(description)
	return append(rules, rule), nil
}

// peer is the id of the group that a rule of g refers to.
func (p *Provider) peer(tx *store.Tx, g *model.SecurityGroup, pair ec2api.UserIdGroupPair) (string, error) {
	if pair.UserId != nil && *pair.UserId != p.scope.AccountID {
		return "", groupForm.missing(text(pair.GroupId) + text(pair.GroupName))
	}
	peer := g
	if text(pair.GroupId) == "" && text(pair.GroupName) != "" {
		found := false
		if peer, found = groupByName(tx, g.VPCID, *pair.GroupName); !found {
			return "", groupForm.missing(*pair.GroupName)
		}
	} else if text(pair.GroupId) != g.ID {
		var err error
		if peer, err = named(tx, records.SecurityGroups, groupForm, "groupId", pair.GroupId); err != nil {
			return "", err
		}
	}
	if peer.VPCID != g.VPCID {
		return "", otherNetworks()
	}
	records.SecurityGroups.Guard(tx, peer.ID)
	return peer.ID, nil
}

// protocolName is how EC2 shows a protocol: some numbers by name.
func protocolName(protocol string) string {
	switch name := strings.ToLower(protocol); name {
	case "1":
		return "icmp"
	case "6":
		return "tcp"
	case "17":
		return "udp"
	case "58":
		return "icmpv6"
	case "all":
		return allProtocols
	default:
		return name
	}
}

// protocolOf checks a protocol with its ports, or with its ICMP type and code.
func protocolOf(protocol *string, from, to *int32) (model.SecurityGroupRule, error) {
	name := protocolName(text(protocol))
	invalid := func(format string, args ...any) (model.SecurityGroupRule, error) {
		return model.SecurityGroupRule{}, failure("InvalidParameterValue", format, args...)
	}
	switch name {
	case "":
		return model.SecurityGroupRule{}, missingParameter("ipProtocol")
	case allProtocols:
		return model.SecurityGroupRule{Protocol: name}, nil // ports mean nothing here, and are not kept
	case "tcp", "udp":
		const highest = 65535
		switch {
		case from == nil || to == nil || *from < 0 && *to >= 0:
			return invalid("Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.")
		case *from == -1 && *to == -1: // all ports, as the aws CLI writes them
			from, to = new(int32(0)), new(int32(highest))
		case *from < 0 || *to > highest:
			return invalid("Invalid value '%d-%d' for portRange. Ports must be between 0 and %d.", *from, *to, highest)
		case *from > *to:
			return invalid("Invalid TCP/UDP port range (%d:%d)", *from, *to)
		}
	case "icmp", "icmpv6":
		if from == nil {
			from = new(int32(-1))
		}
		if to == nil {
			to = new(int32(-1))
		}
		switch {
		case *from < -1 || *from > 255 || *to < -1 || *to > 255:
			return invalid("ICMP type (%d) or code (%d) out of range", *from, *to)
		case *from == -1 && *to != -1:
			return invalid("ICMP code (%d) without an ICMP type", *to)
		}
	default:
		if n, err := strconv.Atoi(name); err != nil || n < 0 || n > 255 {
			return invalid("Invalid value '%s' for IP protocol. Unknown protocol.", text(protocol))
		}
		from, to = nil, nil
	}
	return model.SecurityGroupRule{Protocol: name, FromPort: from, ToPort: to}, nil
}

// same reports whether two rules allow the same; descriptions do not count.
func same(a, b model.SecurityGroupRule) bool {
	return a.Protocol == b.Protocol && port(a.FromPort) == port(b.FromPort) && port(a.ToPort) == port(b.ToPort) &&
		a.CIDR == b.CIDR && a.CIDRIPv6 == b.CIDRIPv6 && a.GroupID == b.GroupID
}

func indexOf(rules []model.SecurityGroupRule, rule model.SecurityGroupRule) int {
	return slices.IndexFunc(rules, func(r model.SecurityGroupRule) bool { return same(r, rule) })
}

// authorize adds rules with new ids. All are new, or none is added.
func authorize(has, add []model.SecurityGroupRule, tags []model.Tag) ([]model.SecurityGroupRule, error) {
	has = slices.Clone(has)
	for _, rule := range add {
		if indexOf(has, rule) >= 0 {
			return nil, duplicate(rule)
		}
		rule.ID, rule.Tags = ident.EC2("sgr"), tags
		has = append(has, rule)
	}
	if len(has) > maxRules {
		return nil, failure("RulesPerSecurityGroupLimitExceeded", "The maximum number of rules per security group has been reached.")
	}
	return has, nil
}

func duplicate(r model.SecurityGroupRule) error {
	peer := r.CIDR + r.CIDRIPv6 + r.GroupID
	switch {
	case r.Protocol == allProtocols:
		return failure("InvalidPermission.Duplicate", "the specified rule \"peer: %s, ALL, ALLOW\" already exists", peer)
	case r.Protocol == "icmp" || r.Protocol == "icmpv6":
		return failure("InvalidPermission.Duplicate", "the specified rule \"peer: %s, %s, type: %s, code: %s, ALLOW\" already exists",
			peer, strings.ToUpper(r.Protocol), port(r.FromPort), port(r.ToPort))
	case r.FromPort == nil:
		return failure("InvalidPermission.Duplicate", "the specified rule \"peer: %s, protocol: %s, ALLOW\" already exists", peer, r.Protocol)
	default:
		return failure("InvalidPermission.Duplicate", "the specified rule \"peer: %s, %s, from port: %s, to port: %s, ALLOW\" already exists",
			peer, strings.ToUpper(r.Protocol), port(r.FromPort), port(r.ToPort))
	}
}

func unknownRule() error {
	return failure("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
}

// groupOfRule finds the group that has a rule.
func groupOfRule(r store.Reader, id string) (string, bool) {
	for g := range records.SecurityGroups.All(r) {
		if ruleByID(g, id) != nil {
			return g.ID, true
		}
	}
	return "", false
}

// ruleByID is a group's rule, to be changed where the group may be.
func ruleByID(g *model.SecurityGroup, id string) *model.SecurityGroupRule {
	for _, rules := range [][]model.SecurityGroupRule{g.Ingress, g.Egress} {
		for i := range rules {
			if rules[i].ID == id {
				return &rules[i]
			}
		}
	}
	return nil
}
