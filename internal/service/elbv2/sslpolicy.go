package elbv2

import (
	"context"
	"maps"
	"slices"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/elbv2api"
)

// defaultPolicy is what a listener gets from the API when nothing is said.
const defaultPolicy = "ELBSecurityPolicy-2016-08"

// policy is what a TLS listener speaks.
type policy struct {
	protocols []string
	ciphers   []string
}

// policies are AWS's predefined policies by name; which versions and ciphers
// each has is in the guide, "Security policies for your Application Load
// Balancer". Policies for FIPS would need a certified engine.
func policies() map[string]policy {
	tls13 := []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
	gcm := []string{"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"}
	gcm256 := []string{"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"}
	cbc := []string{"ECDHE-ECDSA-AES128-SHA256", "ECDHE-RSA-AES128-SHA256"}
	cbc256 := []string{"ECDHE-ECDSA-AES256-SHA384", "ECDHE-RSA-AES256-SHA384"}
	sha := []string{"ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA"}
	sha256 := []string{"ECDHE-RSA-AES256-SHA", "ECDHE-ECDSA-AES256-SHA"}
	rsa := []string{"AES128-GCM-SHA256", "AES128-SHA256", "AES256-GCM-SHA384", "AES256-SHA256"}
	rsaSHA := []string{"AES128-SHA", "AES256-SHA"}

	strong := slices.Concat(gcm, cbc, gcm256, cbc256)
	old := slices.Concat(gcm, cbc, sha, gcm256, cbc256, sha256)
	all := slices.Concat(old, rsa, rsaSHA)
	from10, from11, from12 := []string{"TLSv1", "TLSv1.1", "TLSv1.2"}, []string{"TLSv1.1", "TLSv1.2"}, []string{"TLSv1.2"}
	with13 := func(older []string) []string { return append(slices.Clone(older), "TLSv1.3") }
	return map[string]policy{
		defaultPolicy:                              {from10, all},
		"ELBSecurityPolicy-2015-05":                {from10, all},
		"ELBSecurityPolicy-TLS-1-0-2015-04":        {from10, all},
		"ELBSecurityPolicy-TLS-1-1-2017-01":        {from11, all},
		"ELBSecurityPolicy-TLS-1-2-2017-01":        {from12, slices.Concat(strong, rsa)},
		"ELBSecurityPolicy-TLS-1-2-Ext-2018-06":    {from12, all},
		"ELBSecurityPolicy-FS-2018-06":             {from10, old},
		"ELBSecurityPolicy-FS-1-1-2019-08":         {from11, old},
		"ELBSecurityPolicy-FS-1-2-2019-08":         {from12, old},
		"ELBSecurityPolicy-FS-1-2-Res-2019-08":     {from12, strong},
		"ELBSecurityPolicy-FS-1-2-Res-2020-10":     {from12, slices.Concat(gcm, gcm256)},
		"ELBSecurityPolicy-TLS13-1-0-2021-06":      {with13(from10), slices.Concat(tls13, all)},
		"ELBSecurityPolicy-TLS13-1-1-2021-06":      {with13(from11), slices.Concat(tls13, all)},
		"ELBSecurityPolicy-TLS13-1-2-2021-06":      {with13(from12), slices.Concat(tls13, strong)},
		"ELBSecurityPolicy-TLS13-1-2-Res-2021-06":  {with13(from12), slices.Concat(tls13, gcm, gcm256)},
		"ELBSecurityPolicy-TLS13-1-2-Ext1-2021-06": {with13(from12), slices.Concat(tls13, strong, rsa)},
		"ELBSecurityPolicy-TLS13-1-2-Ext2-2021-06": {with13(from12), slices.Concat(tls13, all)},
		"ELBSecurityPolicy-TLS13-1-3-2021-06":      {[]string{"TLSv1.3"}, tls13},
	}
}

// DescribeSSLPolicies implements elbv2api.Service.
func (p *Provider) DescribeSSLPolicies(_ context.Context, in *elbv2api.DescribeSSLPoliciesInput) (*elbv2api.DescribeSSLPoliciesOutput, error) {
	known := policies()
	names := slices.Sorted(maps.Keys(known))
	if len(in.Names) > 0 {
		names = slices.Compact(slices.Sorted(slices.Values(in.Names)))
	}
	for _, name := range names {
		if _, ok := known[name]; !ok {
			return nil, failure(codeSSLPolicyNotFound, "SSL policy '%s' not found", name)
		}
	}
	page, next, err := pageOf("DescribeSSLPolicies", names, func(n string) string { return n }, in.Marker, in.PageSize)
	if err != nil {
		return nil, err
	}
	out := &elbv2api.DescribeSSLPoliciesOutput{SslPolicies: []elbv2api.SslPolicy{}, NextMarker: next}
	for _, name := range page {
		shown := elbv2api.SslPolicy{Name: &name, SslProtocols: known[name].protocols, SupportedLoadBalancerTypes: []string{model.LoadBalancerApplication, model.LoadBalancerNetwork}}
		for i, cipher := range known[name].ciphers {
			shown.Ciphers = append(shown.Ciphers, elbv2api.Cipher{Name: &cipher, Priority: new(int32(i + 1))})
		}
		out.SslPolicies = append(out.SslPolicies, shown)
	}
	return out, nil
}
