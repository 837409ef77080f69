package ssm

import (
	"context"
	"regexp"
	"slices"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ssmapi"
)

const maxLabels = 10 // of a version

var (
	label         = regexp.MustCompile(`^[a-zA-Z0-9_.\-]+$`)
	reservedLabel = regexp.MustCompile(`^([0-9]|(?i:aws|ssm))`)
)

func validLabel(l string) bool { return label.MatchString(l) && !reservedLabel.MatchString(l) }

// LabelParameterVersion implements ssmapi.Service. A label that another
// version has moves. Labels that break the rules are listed, not refused.
func (p *Provider) LabelParameterVersion(ctx context.Context, in *ssmapi.LabelParameterVersionInput) (*ssmapi.LabelParameterVersionOutput, error) {
	out := &ssmapi.LabelParameterVersionOutput{InvalidLabels: []string{}}
	var good []string
	for _, l := range in.Labels {
		switch {
		case !validLabel(l):
			out.InvalidLabels = append(out.InvalidLabels, l)
		case !slices.Contains(good, l):
			good = append(good, l)
		}
	}
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		target, err := labelTarget(tx, *in.Name, in.ParameterVersion)
		if err != nil {
			return err
		}
		out.ParameterVersion = &target.Version
		for v := range records.ParameterVersions.Prefix(tx, versionsPrefix(*in.Name)) {
			if v.Version == target.Version || !slices.ContainsFunc(v.Labels, func(l string) bool { return slices.Contains(good, l) }) {
				continue
			}
			if err := editLabels(tx, v, func(has []string) []string {
				return slices.DeleteFunc(has, func(l string) bool { return slices.Contains(good, l) })
			}); err != nil {
				return err
			}
		}
		return editLabels(tx, target, func(has []string) []string {
			for _, l := range good {
				if !slices.Contains(has, l) {
					has = append(has, l)
				}
			}
			return has
		})
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// labelTarget is the version to label, the newest unless one is named. The
// transaction will depend on no version of the parameter being written by
// anybody else, so that a label cannot come to two versions at once.
func labelTarget(tx *store.Tx, name string, number *int64) (*model.ParameterVersion, error) {
	parameter, ok := records.Parameters.Get(tx, name)
	if !ok {
		return nil, notFound()
	}
	records.ParameterVersions.GuardPrefix(tx, versionsPrefix(name))
	if number == nil {
		return newest(tx, parameter)
	}
	return version(tx, name, *number)
}

func editLabels(tx *store.Tx, v *model.ParameterVersion, change func([]string) []string) error {
	return records.ParameterVersions.Edit(tx, v.Key(), func(v *model.ParameterVersion) error {
		v.Labels = change(v.Labels)
		if len(v.Labels) > maxLabels {
			return &ssmapi.ParameterVersionLabelLimitExceeded{Message: new("A parameter version can have maximum 10 labels.Move one or more labels to another version and try again.")}
		}
		return nil
	})
}

// UnlabelParameterVersion implements ssmapi.Service. Labels that the version
// does not have are listed as invalid.
func (p *Provider) UnlabelParameterVersion(ctx context.Context, in *ssmapi.UnlabelParameterVersionInput) (*ssmapi.UnlabelParameterVersionOutput, error) {
	var out *ssmapi.UnlabelParameterVersionOutput
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		out = &ssmapi.UnlabelParameterVersionOutput{RemovedLabels: []string{}, InvalidLabels: []string{}}
		target, err := labelTarget(tx, *in.Name, in.ParameterVersion)
		if err != nil {
			return err
		}
		for _, l := range in.Labels {
			if slices.Contains(target.Labels, l) {
				out.RemovedLabels = append(out.RemovedLabels, l)
			} else {
				out.InvalidLabels = append(out.InvalidLabels, l)
			}
		}
		return editLabels(tx, target, func(has []string) []string {
			return slices.DeleteFunc(has, func(l string) bool { return slices.Contains(in.Labels, l) })
		})
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
