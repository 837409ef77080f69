package acm

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/acmapi"
)

// maxTags is how many tags a certificate can have.
const maxTags = 50

// mergeTags adds tags to those that are there; a key that is there gets the new
// value in its old place.
func mergeTags(old []model.Tag, given []acmapi.Tag) ([]model.Tag, error) {
	merged := slices.Clone(old)
	for _, t := range given {
		tag := model.Tag{Key: *t.Key}
		if t.Value != nil {
			tag.Value = *t.Value
		}
		if strings.HasPrefix(strings.ToLower(tag.Key), "aws:") {
			return nil, &acmapi.InvalidTagException{Message: new(fmt.Sprintf("AWS internal tags cannot be changed with this API: '%s'.", tag.Key))}
		}
		i := slices.IndexFunc(merged, func(m model.Tag) bool { return m.Key == tag.Key })
		if i < 0 {
			merged = append(merged, tag)
		} else {
			merged[i] = tag
		}
	}
	if len(merged) > maxTags {
		return nil, &acmapi.TooManyTagsException{Message: new(fmt.Sprintf("The maximum number of tags per certificate is %d.", maxTags))}
	}
	return merged, nil
}

func (p *Provider) editTags(ctx context.Context, name string, change func([]model.Tag) ([]model.Tag, error)) error {
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		c, err := p.certificate(tx, name)
		if err != nil {
			return err
		}
		return records.Certificates.Edit(tx, c.ARN, func(c *model.Certificate) (err error) {
			c.Tags, err = change(c.Tags)
			return err
		})
	})
	return err
}

// AddTagsToCertificate implements acmapi.Service.
func (p *Provider) AddTagsToCertificate(ctx context.Context, in *acmapi.AddTagsToCertificateInput) (*acmapi.AddTagsToCertificateOutput, error) {
	if err := p.editTags(ctx, *in.CertificateArn, func(old []model.Tag) ([]model.Tag, error) { return mergeTags(old, in.Tags) }); err != nil {
		return nil, err
	}
	return &acmapi.AddTagsToCertificateOutput{}, nil
}

// RemoveTagsFromCertificate implements acmapi.Service. A tag that is given with
// a value goes only if it has that value.
func (p *Provider) RemoveTagsFromCertificate(ctx context.Context, in *acmapi.RemoveTagsFromCertificateInput) (*acmapi.RemoveTagsFromCertificateOutput, error) {
	goes := func(tag model.Tag) bool {
		return slices.ContainsFunc(in.Tags, func(t acmapi.Tag) bool { return *t.Key == tag.Key && (t.Value == nil || *t.Value == tag.Value) })
	}
	if err := p.editTags(ctx, *in.CertificateArn, func(old []model.Tag) ([]model.Tag, error) {
		return slices.DeleteFunc(slices.Clone(old), goes), nil
	}); err != nil {
		return nil, err
	}
	return &acmapi.RemoveTagsFromCertificateOutput{}, nil
}

// ListTagsForCertificate implements acmapi.Service.
func (p *Provider) ListTagsForCertificate(_ context.Context, in *acmapi.ListTagsForCertificateInput) (*acmapi.ListTagsForCertificateOutput, error) {
	c, err := p.certificate(p.store.Snapshot(), *in.CertificateArn)
	if err != nil {
		return nil, err
	}
	out := &acmapi.ListTagsForCertificateOutput{Tags: []acmapi.Tag{}}
	for _, t := range c.Tags {
		out.Tags = append(out.Tags, acmapi.Tag{Key: &t.Key, Value: &t.Value})
	}
	return out, nil
}
