package servicediscovery

import (
	"context"
	"fmt"
	"maps"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/servicediscoveryapi"
)

// maxServiceAttributes is how many a service may have.
const maxServiceAttributes = 30

// GetServiceAttributes implements servicediscoveryapi.Service.
func (p *Provider) GetServiceAttributes(_ context.Context, in *servicediscoveryapi.GetServiceAttributesInput) (*servicediscoveryapi.GetServiceAttributesOutput, error) {
	service, err := p.service(p.store.Snapshot(), *in.ServiceId)
	if err != nil {
		return nil, err
	}
	attributes := maps.Clone(service.Attributes)
	if attributes == nil {
		attributes = map[string]string{}
	}
	return &servicediscoveryapi.GetServiceAttributesOutput{ServiceAttributes: &servicediscoveryapi.ServiceAttributes{
		ServiceArn: &service.ARN, ResourceOwner: &p.scope.AccountID, Attributes: attributes,
	}}, nil
}

// UpdateServiceAttributes implements servicediscoveryapi.Service. Those that
// are not named stay.
func (p *Provider) UpdateServiceAttributes(ctx context.Context, in *servicediscoveryapi.UpdateServiceAttributesInput) (*servicediscoveryapi.UpdateServiceAttributesOutput, error) {
	err := p.editAttributes(ctx, *in.ServiceId, func(attributes map[string]string) error {
		maps.Copy(attributes, in.Attributes)
		if len(attributes) > maxServiceAttributes {
			return &servicediscoveryapi.ServiceAttributesLimitExceededException{
				Message: new(fmt.Sprintf("A service can have at most %d attributes.", maxServiceAttributes)),
			}
		}
		return nil
	})
	return &servicediscoveryapi.UpdateServiceAttributesOutput{}, err
}

// DeleteServiceAttributes implements servicediscoveryapi.Service. Those that
// are not there are no error.
func (p *Provider) DeleteServiceAttributes(ctx context.Context, in *servicediscoveryapi.DeleteServiceAttributesInput) (*servicediscoveryapi.DeleteServiceAttributesOutput, error) {
	err := p.editAttributes(ctx, *in.ServiceId, func(attributes map[string]string) error {
		for _, name := range in.Attributes {
			delete(attributes, name)
		}
		return nil
	})
	return &servicediscoveryapi.DeleteServiceAttributesOutput{}, err
}

func (p *Provider) editAttributes(ctx context.Context, ref string, edit func(map[string]string) error) error {
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		service, err := p.service(tx, ref)
		if err != nil {
			return err
		}
		return records.DiscoveryServices.Edit(tx, service.ID, func(service *model.DiscoveryService) error {
			if service.Attributes == nil {
				service.Attributes = map[string]string{}
			}
			return edit(service.Attributes)
		})
	})
	return err
}
