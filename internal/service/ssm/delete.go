package ssm

import (
	"context"
	"errors"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/wire/api/ssmapi"
)

// remove deletes a parameter with all its versions. The parameter's record is
// written by whoever adds a version, so none is left behind.
func (p *Provider) remove(ctx context.Context, name string) error {
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		if !records.Parameters.Has(tx, name) {
			return notFound()
		}
		records.Parameters.Delete(tx, name)
		for v := range records.ParameterVersions.Prefix(tx, versionsPrefix(name)) {
			records.ParameterVersions.Delete(tx, v.Key())
		}
		return nil
	})
	return err
}

// DeleteParameter implements ssmapi.Service.
func (p *Provider) DeleteParameter(ctx context.Context, in *ssmapi.DeleteParameterInput) (*ssmapi.DeleteParameterOutput, error) {
	if err := p.remove(ctx, *in.Name); err != nil {
		return nil, err
	}
	return &ssmapi.DeleteParameterOutput{}, nil
}

// DeleteParameters implements ssmapi.Service.
func (p *Provider) DeleteParameters(ctx context.Context, in *ssmapi.DeleteParametersInput) (*ssmapi.DeleteParametersOutput, error) {
	out := &ssmapi.DeleteParametersOutput{DeletedParameters: []string{}, InvalidParameters: []string{}}
	for _, name := range in.Names {
		err := p.remove(ctx, name)
		switch {
		case err == nil:
			out.DeletedParameters = append(out.DeletedParameters, name)
		case errors.As(err, new(*ssmapi.ParameterNotFound)):
			out.InvalidParameters = append(out.InvalidParameters, name)
		default:
			return nil, err
		}
	}
	return out, nil
}
