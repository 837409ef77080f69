package iam

import (
	"context"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/iamapi"
)

var thumbprint = regexp.MustCompile(`\A[0-9A-Fa-f]{40}\z`)

// CreateOpenIDConnectProvider implements iamapi.Service. Without thumbprints AWS
// fetches one; here there is none then, and the issuer's certificate must be
// one that the server's host trusts.
func (p *Provider) CreateOpenIDConnectProvider(ctx context.Context, in *iamapi.CreateOpenIDConnectProviderInput) (*iamapi.CreateOpenIDConnectProviderOutput, error) {
	issuer, err := issuerOf(*in.Url)
	if err != nil {
		return nil, err
	}
	if err := checkClientIDs(in.ClientIDList); err != nil {
		return nil, err
	}
	prints, err := thumbprints(in.ThumbprintList)
	if err != nil {
		return nil, err
	}
	tags, err := newTags("OpenIDConnectProvider", in.Tags)
	if err != nil {
		return nil, err
	}
	made := &model.OIDCProvider{ARN: p.scope.IAM(kindOIDCProvider, "/", issuer), URL: issuer, ClientIDs: in.ClientIDList, Thumbprints: prints, Tags: tags}
	if err := p.update(ctx, func(tx *store.Tx) error {
		if records.OIDCProviders.Has(tx, made.Key()) {
			return exists("Provider with url %s already exists.", *in.Url)
		}
		if err := room(tx, records.OIDCProviders, records.OIDCProvidersCounted, maxOIDCProviders, "OpenIdConnectProvidersPerAccount"); err != nil {
			return err
		}
		made.CreatedAt = tx.Now().Truncate(time.Second)
		records.OIDCProviders.Put(tx, made)
		return nil
	}); err != nil {
		return nil, err
	}
	return &iamapi.CreateOpenIDConnectProviderOutput{OpenIDConnectProviderArn: &made.ARN, Tags: tagShapes(tags)}, nil
}

// issuerOf is the issuer's URL without https://, as ARNs have it. AWS refuses a
// port; here the issuer may be the operator's own, and those often have one.
func issuerOf(given string) (string, error) {
	u, err := url.Parse(given)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", invalid("Invalid Open ID Connect Provider URL")
	}
	return strings.TrimPrefix(given, "https://"), nil
}

func checkClientIDs(ids []string) error {
	if len(ids) > maxClientIDs {
		return overQuota("ClientIdsPerOpenIdConnectProvider", maxClientIDs)
	}
	return nil
}

func thumbprints(given []string) ([]string, error) {
	if len(given) > maxThumbprints {
		return nil, invalidInput("Thumbprint list must contain fewer than 5 entries.")
	}
	for _, each := range given {
		if !thumbprint.MatchString(each) {
			return nil, invalidInput("Thumbprint %s is not valid: it is the SHA-1 hash of a certificate in 40 hexadecimal digits.", each)
		}
	}
	return given, nil
}

func issuer(r store.Reader, name string) (*model.OIDCProvider, error) {
	found, ok := records.OIDCProviders.Get(r, name)
	if !ok {
		return nil, noSuch("OpenIDConnect Provider not found for arn %s", name)
	}
	return found, nil
}

func editIssuer(tx *store.Tx, name string, change func(*model.OIDCProvider) error) error {
	if _, err := issuer(tx, name); err != nil {
		return err
	}
	return records.OIDCProviders.Edit(tx, name, change)
}

// GetOpenIDConnectProvider implements iamapi.Service.
func (p *Provider) GetOpenIDConnectProvider(_ context.Context, in *iamapi.GetOpenIDConnectProviderInput) (*iamapi.GetOpenIDConnectProviderOutput, error) {
	found, err := issuer(p.store.Snapshot(), *in.OpenIDConnectProviderArn)
	if err != nil {
		return nil, err
	}
	return &iamapi.GetOpenIDConnectProviderOutput{
		Url: &found.URL, ClientIDList: append([]string{}, found.ClientIDs...), ThumbprintList: append([]string{}, found.Thumbprints...),
		CreateDate: &found.CreatedAt, Tags: tagShapes(found.Tags),
	}, nil
}

// DeleteOpenIDConnectProvider implements iamapi.Service. One that does not exist
// is no error, as AWS documents it. Roles that trust it are left as they are.
func (p *Provider) DeleteOpenIDConnectProvider(ctx context.Context, in *iamapi.DeleteOpenIDConnectProviderInput) (*iamapi.DeleteOpenIDConnectProviderOutput, error) {
	if err := p.update(ctx, func(tx *store.Tx) error {
		if found, err := issuer(tx, *in.OpenIDConnectProviderArn); err == nil {
			records.OIDCProviders.Delete(tx, found.Key())
		}
		return nil
	}); err != nil {
		return nil, err
	}
	return &iamapi.DeleteOpenIDConnectProviderOutput{}, nil
}

// ListOpenIDConnectProviders implements iamapi.Service.
func (p *Provider) ListOpenIDConnectProviders(context.Context, *iamapi.ListOpenIDConnectProvidersInput) (*iamapi.ListOpenIDConnectProvidersOutput, error) {
	found := slices.Collect(records.OIDCProviders.All(p.store.Snapshot()))
	return &iamapi.ListOpenIDConnectProvidersOutput{OpenIDConnectProviderList: each(found, func(o *model.OIDCProvider) iamapi.OpenIDConnectProviderListEntry {
		return iamapi.OpenIDConnectProviderListEntry{Arn: &o.ARN}
	})}, nil
}

// AddClientIDToOpenIDConnectProvider implements iamapi.Service. One that is
// there is no error.
func (p *Provider) AddClientIDToOpenIDConnectProvider(ctx context.Context, in *iamapi.AddClientIDToOpenIDConnectProviderInput) (*iamapi.AddClientIDToOpenIDConnectProviderOutput, error) {
	if err := p.update(ctx, func(tx *store.Tx) error {
		return editIssuer(tx, *in.OpenIDConnectProviderArn, func(o *model.OIDCProvider) error {
			if slices.Contains(o.ClientIDs, *in.ClientID) {
				return nil
			}
			o.ClientIDs = append(o.ClientIDs, *in.ClientID)
			return checkClientIDs(o.ClientIDs)
		})
	}); err != nil {
		return nil, err
	}
	return &iamapi.AddClientIDToOpenIDConnectProviderOutput{}, nil
}

// RemoveClientIDFromOpenIDConnectProvider implements iamapi.Service. One that is
// not there is no error.
func (p *Provider) RemoveClientIDFromOpenIDConnectProvider(ctx context.Context, in *iamapi.RemoveClientIDFromOpenIDConnectProviderInput) (*iamapi.RemoveClientIDFromOpenIDConnectProviderOutput, error) {
	if err := p.update(ctx, func(tx *store.Tx) error {
		return editIssuer(tx, *in.OpenIDConnectProviderArn, func(o *model.OIDCProvider) error {
			o.ClientIDs = slices.DeleteFunc(o.ClientIDs, func(id string) bool { return id == *in.ClientID })
			return nil
		})
	}); err != nil {
		return nil, err
	}
	return &iamapi.RemoveClientIDFromOpenIDConnectProviderOutput{}, nil
}

// UpdateOpenIDConnectProviderThumbprint implements iamapi.Service. The list
// replaces the one that was.
func (p *Provider) UpdateOpenIDConnectProviderThumbprint(ctx context.Context, in *iamapi.UpdateOpenIDConnectProviderThumbprintInput) (*iamapi.UpdateOpenIDConnectProviderThumbprintOutput, error) {
	prints, err := thumbprints(in.ThumbprintList)
	if err != nil {
		return nil, err
	}
	if err := p.update(ctx, func(tx *store.Tx) error {
		return editIssuer(tx, *in.OpenIDConnectProviderArn, func(o *model.OIDCProvider) error { o.Thumbprints = prints; return nil })
	}); err != nil {
		return nil, err
	}
	return &iamapi.UpdateOpenIDConnectProviderThumbprintOutput{}, nil
}

func issuerTags() tagged[model.OIDCProvider] {
	return tagged[model.OIDCProvider]{kind: "OpenIDConnectProvider", edit: editIssuer, tags: func(o *model.OIDCProvider) *[]model.Tag { return &o.Tags }}
}

// TagOpenIDConnectProvider implements iamapi.Service.
func (p *Provider) TagOpenIDConnectProvider(ctx context.Context, in *iamapi.TagOpenIDConnectProviderInput) (*iamapi.TagOpenIDConnectProviderOutput, error) {
	if err := tag(ctx, p, issuerTags(), *in.OpenIDConnectProviderArn, in.Tags); err != nil {
		return nil, err
	}
	return &iamapi.TagOpenIDConnectProviderOutput{}, nil
}

// UntagOpenIDConnectProvider implements iamapi.Service.
func (p *Provider) UntagOpenIDConnectProvider(ctx context.Context, in *iamapi.UntagOpenIDConnectProviderInput) (*iamapi.UntagOpenIDConnectProviderOutput, error) {
	if err := untag(ctx, p, issuerTags(), *in.OpenIDConnectProviderArn, in.TagKeys); err != nil {
		return nil, err
	}
	return &iamapi.UntagOpenIDConnectProviderOutput{}, nil
}

// ListOpenIDConnectProviderTags implements iamapi.Service.
func (p *Provider) ListOpenIDConnectProviderTags(_ context.Context, in *iamapi.ListOpenIDConnectProviderTagsInput) (*iamapi.ListOpenIDConnectProviderTagsOutput, error) {
	found, err := issuer(p.store.Snapshot(), *in.OpenIDConnectProviderArn)
	if err != nil {
		return nil, err
	}
	part, err := tagPage(asked{"ListOpenIDConnectProviderTags", in.Marker, in.MaxItems}, found.Tags)
	if err != nil {
		return nil, err
	}
	return &iamapi.ListOpenIDConnectProviderTagsOutput{Tags: part.items, IsTruncated: part.truncated, Marker: part.marker}, nil
}
