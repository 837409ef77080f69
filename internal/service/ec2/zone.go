package ec2

import (
	"context"
	"slices"
	"strings"

	"berth.dev/berth/internal/wire/api/ec2api"
)

// Zones are the availability zones of a region: always three.
func Zones(region string) []string { return []string{region + "a", region + "b", region + "c"} }

// zoneID is the zone's name in all accounts: use1-az1 for us-east-1a.
func zoneID(region, zone string) string {
	short := strings.NewReplacer(
		"northeast", "ne", "northwest", "nw", "southeast", "se", "southwest", "sw",
		"north", "n", "south", "s", "east", "e", "west", "w", "central", "c", "gov", "g", "-", "",
	).Replace(region)
	letter := strings.TrimPrefix(zone, region)
	if len(letter) != 1 {
		return short + "-" + letter
	}
	return short + "-az" + string('1'+letter[0]-'a')
}

func (p *Provider) zones() *kind[string] {
	return &kind[string]{
		call: "DescribeAvailabilityZones",
		id:   func(z *string) string { return *z },
		filters: map[string]func(*string) []string{
			"zone-name":            func(z *string) []string { return one(*z) },
			"zone-id":              func(z *string) []string { return one(zoneID(p.scope.Region, *z)) },
			"region-name":          func(*string) []string { return one(p.scope.Region) },
			"group-name":           func(*string) []string { return one(p.group()) },
			"network-border-group": func(*string) []string { return one(p.scope.Region) },
			"opt-in-status":        func(*string) []string { return one("opt-in-not-required") },
			"state":                func(*string) []string { return one("available") },
			"zone-type":            func(*string) []string { return one("availability-zone") },
			"message":              func(*string) []string { return nil },
		},
	}
}

func (p *Provider) group() string { return p.scope.Region + "-zg-1" }

// DescribeAvailabilityZones implements ec2api.Service.
func (p *Provider) DescribeAvailabilityZones(_ context.Context, in *ec2api.DescribeAvailabilityZonesInput) (*ec2api.DescribeAvailabilityZonesOutput, error) {
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	var all []*string
	known, ids := Zones(p.scope.Region), map[string]string{}
	for _, z := range known {
		all = append(all, &z)
		ids[zoneID(p.scope.Region, z)] = z
	}
	var asked []string
	for _, name := range in.ZoneNames {
		if !slices.Contains(known, name) {
			return nil, failure("InvalidParameterValue", "Invalid availability zone: [%s]", name)
		}
		asked = append(asked, name)
	}
	for _, id := range in.ZoneIds {
		if ids[id] == "" {
			return nil, failure("InvalidParameterValue", "Invalid availability zone-id: [%s]", id)
		}
		asked = append(asked, ids[id])
	}
	page, _, err := p.zones().find(all, query{ids: asked, filters: in.Filters})
	if err != nil {
		return nil, err
	}
	out := &ec2api.DescribeAvailabilityZonesOutput{AvailabilityZones: []ec2api.AvailabilityZone{}}
	for _, z := range page {
		out.AvailabilityZones = append(out.AvailabilityZones, ec2api.AvailabilityZone{
			ZoneName: z, ZoneId: new(zoneID(p.scope.Region, *z)), RegionName: &p.scope.Region, GroupName: new(p.group()),
			NetworkBorderGroup: &p.scope.Region, ZoneType: new("availability-zone"), State: ec2api.AvailabilityZoneStateAvailable,
			OptInStatus: ec2api.AvailabilityZoneOptInStatusOptInNotRequired, Messages: []ec2api.AvailabilityZoneMessage{},
		})
	}
	return out, nil
}
