package ssm

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ssmapi"
	"berth.dev/berth/internal/wire/smithy"
)

// GetParameter implements ssmapi.Service.
func (p *Provider) GetParameter(ctx context.Context, in *ssmapi.GetParameterInput) (*ssmapi.GetParameterOutput, error) {
	got, err := p.get(ctx, p.store.Snapshot(), *in.Name, value(in.WithDecryption))
	if err != nil {
		return nil, err
	}
	return &ssmapi.GetParameterOutput{Parameter: got}, nil
}

// get is one value, by name or ARN, with or without a selector.
func (p *Provider) get(ctx context.Context, r store.Reader, text string, decrypt bool) (*ssmapi.Parameter, error) {
	ref, ok, err := p.parseReference(r, text)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, notFound()
	case strings.HasPrefix(ref.name, secretPrefix):
		return p.secret(ctx, r, ref, decrypt)
	}
	parameter, v, err := find(r, ref)
	if err != nil {
		return nil, err
	}
	return p.parameter(ctx, parameter, v, ref.selector, decrypt)
}

// parameter is a version as GetParameter shows it.
func (p *Provider) parameter(ctx context.Context, of *model.Parameter, v *model.ParameterVersion, selector string, decrypt bool) (*ssmapi.Parameter, error) {
	text, err := p.reveal(ctx, of.ARN, v, decrypt)
	if err != nil {
		return nil, err
	}
	out := &ssmapi.Parameter{
		Name: &of.Name, ARN: &of.ARN, Type: ssmapi.ParameterType(v.Type), Value: &text, Version: &v.Version, LastModifiedDate: &v.ModifiedAt, DataType: &v.DataType,
	}
	if selector != "" {
		out.Selector = new(":" + selector)
	}
	return out, nil
}

// reveal is a version's value: of a SecureString, the ciphertext unless it is
// to be decrypted.
func (p *Provider) reveal(ctx context.Context, parameterARN string, v *model.ParameterVersion, decrypt bool) (string, error) {
	switch {
	case v.Type != model.ParameterSecureString:
		return v.Value, nil
	case !decrypt:
		return base64.StdEncoding.EncodeToString(v.Sealed), nil
	}
	return p.open(ctx, parameterARN, v)
}

// GetParameters implements ssmapi.Service. What cannot be found is listed, not
// refused; a key that may not be used is.
func (p *Provider) GetParameters(ctx context.Context, in *ssmapi.GetParametersInput) (*ssmapi.GetParametersOutput, error) {
	out := &ssmapi.GetParametersOutput{Parameters: []ssmapi.Parameter{}, InvalidParameters: []string{}}
	snap, seen := p.store.Snapshot(), map[string]bool{}
	for _, name := range in.Names {
		if seen[name] {
			continue
		}
		seen[name] = true
		got, err := p.get(ctx, snap, name, value(in.WithDecryption))
		switch {
		case err == nil:
			out.Parameters = append(out.Parameters, *got)
		case missing(err):
			out.InvalidParameters = append(out.InvalidParameters, name)
		default:
			return nil, err
		}
	}
	return out, nil
}

// missing reports whether an error is about the name that was asked for.
func missing(err error) bool {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		switch api.ErrorCode() {
		case "ParameterNotFound", "ParameterVersionNotFound", "ValidationException":
			return true
		}
	}
	return false
}

// GetParametersByPath implements ssmapi.Service. A parameter without a slash
// is one level below the root.
func (p *Provider) GetParametersByPath(ctx context.Context, in *ssmapi.GetParametersByPathInput) (*ssmapi.GetParametersByPathOutput, error) {
	at := *in.Path
	global := strings.HasPrefix(at, "/aws/")
	if !path.MatchString(at) || reserved(at) && !global {
		return nil, invalid(pathRule)
	}
	filters, err := parseFilters(in.ParameterFilters, byPath)
	if err != nil {
		return nil, err
	}
	token, err := openToken("GetParametersByPath", in.NextToken)
	if err != nil {
		return nil, err
	}
	snap, out := p.store.Snapshot(), &ssmapi.GetParametersByPathOutput{Parameters: []ssmapi.Parameter{}}
	below := strings.TrimSuffix(at, "/") + "/"
	prefix := below
	if below == "/" {
		prefix = ""
	}
	limit := 10
	if in.MaxResults != nil {
		limit = int(*in.MaxResults)
	}
	for parameter := range records.Parameters.After(snap, prefix, token) {
		if !under(parameter.Name, below, value(in.Recursive)) {
			continue
		}
		v, selector, ok, err := choose(snap, parameter, filters)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if len(out.Parameters) == limit {
			out.NextToken = newToken("GetParametersByPath", *out.Parameters[limit-1].Name)
			break
		}
		got, err := p.parameter(ctx, parameter, v, selector, value(in.WithDecryption))
		if err != nil {
			return nil, err
		}
		out.Parameters = append(out.Parameters, *got)
	}
	return out, nil
}

// choose is the version of a parameter that filters ask for: the newest, or
// the one with a label.
func choose(r store.Reader, parameter *model.Parameter, filters []filter) (v *model.ParameterVersion, selector string, ok bool, err error) {
	if v, err = newest(r, parameter); err != nil {
		return nil, "", false, err
	}
	for _, f := range filters {
		if f.key != "Label" {
			continue
		}
		v = nil
		for _, label := range f.values {
			if v = labelled(r, parameter.Name, label); v != nil {
				selector = label
				break
			}
		}
		if v == nil {
			return nil, "", false, nil
		}
	}
	return v, selector, matches(parameter, v, filters), nil
}

// GetParameterHistory implements ssmapi.Service: all versions, oldest first.
func (p *Provider) GetParameterHistory(ctx context.Context, in *ssmapi.GetParameterHistoryInput) (*ssmapi.GetParameterHistoryOutput, error) {
	snap := p.store.Snapshot()
	ref, ok, err := p.parseReference(snap, *in.Name)
	if err != nil {
		return nil, err
	}
	parameter, exists := records.Parameters.Get(snap, ref.name)
	if !ok || !exists || ref.selector != "" {
		return nil, notFound()
	}
	token, err := openToken("GetParameterHistory", in.NextToken)
	if err != nil {
		return nil, err
	}
	limit := 50
	if in.MaxResults != nil {
		limit = int(*in.MaxResults)
	}
	out := &ssmapi.GetParameterHistoryOutput{Parameters: []ssmapi.ParameterHistory{}}
	last := ""
	for v := range records.ParameterVersions.After(snap, versionsPrefix(parameter.Name), token) {
		if len(out.Parameters) == limit {
			out.NextToken = newToken("GetParameterHistory", last)
			break
		}
		text, err := p.reveal(ctx, parameter.ARN, v, value(in.WithDecryption))
		if err != nil {
			return nil, err
		}
		out.Parameters = append(out.Parameters, history(v, text))
		last = v.Key()
	}
	return out, nil
}

func history(v *model.ParameterVersion, text string) ssmapi.ParameterHistory {
	return ssmapi.ParameterHistory{
		Name: &v.ParameterName, Type: ssmapi.ParameterType(v.Type), KeyId: optional(v.KMSKeyID), LastModifiedDate: &v.ModifiedAt, LastModifiedUser: optional(v.ModifiedBy),
		Description: optional(v.Description), Value: &text, AllowedPattern: optional(v.AllowedPattern), Version: &v.Version, Labels: append([]string{}, v.Labels...),
		Tier: ssmapi.ParameterTier(v.Tier), Policies: inlinePolicies(v), DataType: &v.DataType,
	}
}
