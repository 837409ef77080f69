package ssm

import (
	"context"
	"iter"
	"slices"
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ssmapi"
)

// DescribeParameters implements ssmapi.Service. No other account shares
// parameters with this one, so with Shared there are none.
func (p *Provider) DescribeParameters(_ context.Context, in *ssmapi.DescribeParametersInput) (*ssmapi.DescribeParametersOutput, error) {
	if len(in.Filters) > 0 && len(in.ParameterFilters) > 0 {
		return nil, invalid("You can use either Filters or ParameterFilters in a single request.")
	}
	filters, err := parseFilters(in.ParameterFilters, describing)
	if err != nil {
		return nil, err
	}
	for _, f := range in.Filters {
		filters = append(filters, filter{key: string(f.Key), option: "BeginsWith", values: f.Values})
	}
	token, err := openToken("DescribeParameters", in.NextToken)
	if err != nil {
		return nil, err
	}
	out := &ssmapi.DescribeParametersOutput{Parameters: []ssmapi.ParameterMetadata{}}
	if value(in.Shared) {
		return out, nil
	}
	limit := 50
	if in.MaxResults != nil {
		limit = int(*in.MaxResults)
	}
	snap := p.store.Snapshot()
	for parameter := range candidates(snap, filters, token) {
		v, err := newest(snap, parameter)
		if err != nil {
			return nil, err
		}
		if !matches(parameter, v, filters) {
			continue
		}
		if len(out.Parameters) == limit {
			out.NextToken = newToken("DescribeParameters", *out.Parameters[limit-1].Name)
			break
		}
		out.Parameters = append(out.Parameters, metadata(parameter, v))
	}
	return out, nil
}

// candidates are the parameters after a name that filters may let pass. Those
// that are asked for by name, as Terraform asks for each of its own, are found
// without looking at the others.
func candidates(r store.Reader, filters []filter, after string) iter.Seq[*model.Parameter] {
	i := slices.IndexFunc(filters, func(f filter) bool { return f.key == "Name" && f.option == "Equals" })
	if i < 0 {
		return records.Parameters.After(r, "", after)
	}
	var names []string
	for _, v := range filters[i].values {
		bare := strings.TrimPrefix(v, "/")
		names = append(names, bare, "/"+bare)
	}
	slices.Sort(names)
	return func(yield func(*model.Parameter) bool) {
		for _, name := range slices.Compact(names) {
			if p, ok := records.Parameters.Get(r, name); ok && name > after && !yield(p) {
				return
			}
		}
	}
}

func metadata(p *model.Parameter, v *model.ParameterVersion) ssmapi.ParameterMetadata {
	return ssmapi.ParameterMetadata{
		Name: &p.Name, ARN: &p.ARN, Type: ssmapi.ParameterType(v.Type), KeyId: optional(v.KMSKeyID), LastModifiedDate: &v.ModifiedAt, LastModifiedUser: optional(v.ModifiedBy),
		Description: optional(v.Description), AllowedPattern: optional(v.AllowedPattern), Version: &v.Version, Tier: ssmapi.ParameterTier(v.Tier),
		Policies: inlinePolicies(v), DataType: &v.DataType,
	}
}
