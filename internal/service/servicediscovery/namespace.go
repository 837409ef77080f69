package servicediscovery

import (
	"context"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/servicediscoveryapi"
)

// defaultSOATTL is how many seconds it is remembered that a name does not
// exist, unless a namespace says otherwise.
const defaultSOATTL = 15

// CreateHttpNamespace implements servicediscoveryapi.Service.
func (p *Provider) CreateHttpNamespace(ctx context.Context, in *servicediscoveryapi.CreateHttpNamespaceInput) (*servicediscoveryapi.CreateHttpNamespaceOutput, error) {
	id, err := p.createNamespace(ctx, model.Namespace{
		Type: model.NamespaceHTTP, Name: *in.Name, Description: value(in.Description), CreatorRequestID: value(in.CreatorRequestId),
	}, in.Tags)
	return &servicediscoveryapi.CreateHttpNamespaceOutput{OperationId: id}, err
}

// CreatePrivateDnsNamespace implements servicediscoveryapi.Service.
func (p *Provider) CreatePrivateDnsNamespace(ctx context.Context, in *servicediscoveryapi.CreatePrivateDnsNamespaceInput) (*servicediscoveryapi.CreatePrivateDnsNamespaceOutput, error) {
	ns := model.Namespace{
		Type: model.NamespaceDNSPrivate, Name: *in.Name, VPCID: *in.Vpc, SOATTL: defaultSOATTL,
		Description: value(in.Description), CreatorRequestID: value(in.CreatorRequestId),
	}
	if in.Properties != nil {
		ns.SOATTL = *in.Properties.DnsProperties.SOA.TTL
	}
	id, err := p.createNamespace(ctx, ns, in.Tags)
	return &servicediscoveryapi.CreatePrivateDnsNamespaceOutput{OperationId: id}, err
}

// CreatePublicDnsNamespace implements servicediscoveryapi.Service.
func (p *Provider) CreatePublicDnsNamespace(ctx context.Context, in *servicediscoveryapi.CreatePublicDnsNamespaceInput) (*servicediscoveryapi.CreatePublicDnsNamespaceOutput, error) {
	ns := model.Namespace{
		Type: model.NamespaceDNSPublic, Name: *in.Name, SOATTL: defaultSOATTL,
		Description: value(in.Description), CreatorRequestID: value(in.CreatorRequestId),
	}
	if in.Properties != nil {
		ns.SOATTL = *in.Properties.DnsProperties.SOA.TTL
	}
	id, err := p.createNamespace(ctx, ns, in.Tags)
	return &servicediscoveryapi.CreatePublicDnsNamespaceOutput{OperationId: id}, err
}

// createNamespace makes a namespace and returns the id of the operation.
func (p *Provider) createNamespace(ctx context.Context, ns model.Namespace, tags []servicediscoveryapi.Tag) (operation *string, err error) {
	if err := checkNamespaceName(ns.Type, ns.Name); err != nil {
		return nil, err
	}
	if ns.Tags, err = newTags("", nil, tags); err != nil {
		return nil, err
	}
	ns.ID = "ns-" + ident.Token(16)
	ns.ARN = p.scope.Namespace(ns.ID)
	if ns.Type != model.NamespaceHTTP {
		ns.HostedZoneID = "Z" + strings.ToUpper(ident.Token(20))
	}
	_, err = p.store.Update(ctx, func(tx *store.Tx) error {
		records.Namespaces.GuardPrefix(tx, "") // no other of the name is made meanwhile
		ns.CreatedAt, ns.HTTPName = tx.Now(), ns.Name
		targets := map[string]string{targetNamespace: ns.ID}
		for other := range records.Namespaces.All(tx) {
			if repeated(other, &ns) {
				operation = succeed(tx, servicediscoveryapi.OperationTypeCreateNamespace, map[string]string{targetNamespace: other.ID})
				return nil
			}
			if other.HTTPName == ns.Name {
				ns.HTTPName = ns.Name + "-" + ident.Token(16)
			}
			if !strings.EqualFold(other.Name, ns.Name) || other.Type != ns.Type {
				continue
			}
			switch {
			case ns.Type == model.NamespaceHTTP && other.Name != ns.Name: // names of HTTP are told apart by their case
			case ns.Type != model.NamespaceDNSPrivate:
				return namespaceExists(other)
			case ns.VPCID == other.VPCID:
				operation = fail(tx, servicediscoveryapi.OperationTypeCreateNamespace, targets, "CANNOT_CREATE_HOSTED_ZONE",
					"The VPC "+ns.VPCID+" in region "+p.scope.Region+" has already been associated with the hosted zone "+other.HostedZoneID+" with the same domain name.")
				return nil
			}
		}
		if ns.Type == model.NamespaceDNSPrivate {
			records.VPCs.Guard(tx, ns.VPCID)
			if !records.VPCs.Has(tx, ns.VPCID) {
				operation = fail(tx, servicediscoveryapi.OperationTypeCreateNamespace, targets, "CANNOT_CREATE_HOSTED_ZONE",
					"The VPC: "+ns.VPCID+" in region "+p.scope.Region+" that you provided is not authorized to make the association. (Service: AmazonRoute53; Status Code: 400; Error Code: InvalidVPCId)")
				return nil
			}
		}
		records.Namespaces.Put(tx, &ns)
		operation = succeed(tx, servicediscoveryapi.OperationTypeCreateNamespace, targets)
		return nil
	})
	return operation, err
}

// repeated reports whether the same request made the other one. SDKs give each
// call a CreatorRequestId of its own and repeat it when they try again.
func repeated(other, ns *model.Namespace) bool {
	return ns.CreatorRequestID != "" && other.CreatorRequestID == ns.CreatorRequestID &&
		other.Type == ns.Type && other.Name == ns.Name && other.VPCID == ns.VPCID
}

// checkNamespaceName checks what the model does not say, or says in a way that
// Go has no form for.
func checkNamespaceName(kind, name string) error {
	pattern := map[string]string{model.NamespaceHTTP: "^(?!arn:)[!-~]{1,1024}$", model.NamespaceDNSPrivate: "^(?!arn:)[!-~]{1,253}$"}
	if arn.Is(name) {
		return invalid("1 validation error detected: Value '%s' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: %s", name, pattern[kind])
	}
	if kind != model.NamespaceHTTP && !isDomain(name) {
		return invalid("Invalid namespace name: %s is not a valid domain name.", name)
	}
	return nil
}

// isDomain reports whether every label of s is one that DNS names of hosts and
// services have.
func isDomain(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for _, c := range []byte(label) {
			if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
	}
	return len(s) <= 253
}

// GetNamespace implements servicediscoveryapi.Service.
func (p *Provider) GetNamespace(_ context.Context, in *servicediscoveryapi.GetNamespaceInput) (*servicediscoveryapi.GetNamespaceOutput, error) {
	snap := p.store.Snapshot()
	ns, err := p.namespace(snap, *in.Id)
	if err != nil {
		return nil, err
	}
	return &servicediscoveryapi.GetNamespaceOutput{Namespace: p.namespaceOut(snap, ns)}, nil
}

var namespaceFilters = map[string][]servicediscoveryapi.FilterCondition{
	string(servicediscoveryapi.NamespaceFilterNameType):          {eq},
	string(servicediscoveryapi.NamespaceFilterNameName):          {eq, begins},
	string(servicediscoveryapi.NamespaceFilterNameHttpName):      {eq, begins},
	string(servicediscoveryapi.NamespaceFilterNameResourceOwner): {eq},
}

// ListNamespaces implements servicediscoveryapi.Service.
func (p *Provider) ListNamespaces(_ context.Context, in *servicediscoveryapi.ListNamespacesInput) (*servicediscoveryapi.ListNamespacesOutput, error) {
	var filters []filter
	for _, f := range in.Filters {
		filters = append(filters, filter{string(f.Name), f.Condition, f.Values})
	}
	if err := checkFilters(filters, namespaceFilters); err != nil {
		return nil, err
	}
	var found []*model.Namespace
	snap := p.store.Snapshot()
	for ns := range records.Namespaces.All(snap) {
		matches, err := namespaceMatches(ns, filters)
		if err != nil {
			return nil, err
		}
		if matches {
			found = append(found, ns)
		}
	}
	page, next, err := pageOf("ListNamespaces", found, (*model.Namespace).Key, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	out := &servicediscoveryapi.ListNamespacesOutput{Namespaces: []servicediscoveryapi.NamespaceSummary{}, NextToken: next}
	for _, ns := range page {
		out.Namespaces = append(out.Namespaces, p.namespaceSummary(snap, ns))
	}
	return out, nil
}

func namespaceMatches(ns *model.Namespace, filters []filter) (bool, error) {
	for _, f := range filters {
		matches := false
		switch servicediscoveryapi.NamespaceFilterName(f.name) {
		case servicediscoveryapi.NamespaceFilterNameType:
			matches = f.matches(ns.Type)
		case servicediscoveryapi.NamespaceFilterNameName:
			matches = f.matches(ns.Name)
		case servicediscoveryapi.NamespaceFilterNameHttpName:
			matches = f.matches(ns.HTTPName)
		case servicediscoveryapi.NamespaceFilterNameResourceOwner:
			if err := checkOwner(f); err != nil {
				return false, err
			}
			matches = f.matches(ownerSelf)
		}
		if !matches {
			return false, nil
		}
	}
	return true, nil
}

// UpdateHttpNamespace implements servicediscoveryapi.Service.
func (p *Provider) UpdateHttpNamespace(ctx context.Context, in *servicediscoveryapi.UpdateHttpNamespaceInput) (*servicediscoveryapi.UpdateHttpNamespaceOutput, error) {
	id, err := p.updateNamespace(ctx, *in.Id, model.NamespaceHTTP, in.Namespace.Description, nil)
	return &servicediscoveryapi.UpdateHttpNamespaceOutput{OperationId: id}, err
}

// UpdatePrivateDnsNamespace implements servicediscoveryapi.Service.
func (p *Provider) UpdatePrivateDnsNamespace(ctx context.Context, in *servicediscoveryapi.UpdatePrivateDnsNamespaceInput) (*servicediscoveryapi.UpdatePrivateDnsNamespaceOutput, error) {
	var ttl *int64
	if in.Namespace.Properties != nil {
		ttl = in.Namespace.Properties.DnsProperties.SOA.TTL
	}
	id, err := p.updateNamespace(ctx, *in.Id, model.NamespaceDNSPrivate, in.Namespace.Description, ttl)
	return &servicediscoveryapi.UpdatePrivateDnsNamespaceOutput{OperationId: id}, err
}

// UpdatePublicDnsNamespace implements servicediscoveryapi.Service.
func (p *Provider) UpdatePublicDnsNamespace(ctx context.Context, in *servicediscoveryapi.UpdatePublicDnsNamespaceInput) (*servicediscoveryapi.UpdatePublicDnsNamespaceOutput, error) {
	var ttl *int64
	if in.Namespace.Properties != nil {
		ttl = in.Namespace.Properties.DnsProperties.SOA.TTL
	}
	id, err := p.updateNamespace(ctx, *in.Id, model.NamespaceDNSPublic, in.Namespace.Description, ttl)
	return &servicediscoveryapi.UpdatePublicDnsNamespaceOutput{OperationId: id}, err
}

// updateNamespace changes what is given of a namespace of the type.
func (p *Provider) updateNamespace(ctx context.Context, ref, kind string, description *string, soaTTL *int64) (operation *string, err error) {
	_, err = p.store.Update(ctx, func(tx *store.Tx) error {
		ns, err := p.namespace(tx, ref)
		if err != nil {
			return err
		}
		if ns.Type != kind {
			return invalid("Namespace %s is of type %s and not %s.", ns.ID, ns.Type, kind)
		}
		operation = succeed(tx, servicediscoveryapi.OperationTypeUpdateNamespace, map[string]string{targetNamespace: ns.ID})
		return records.Namespaces.Edit(tx, ns.ID, func(ns *model.Namespace) error {
			if description != nil {
				ns.Description = *description
			}
			if soaTTL != nil {
				ns.SOATTL = *soaTTL
			}
			return nil
		})
	})
	return operation, err
}

// DeleteNamespace implements servicediscoveryapi.Service.
func (p *Provider) DeleteNamespace(ctx context.Context, in *servicediscoveryapi.DeleteNamespaceInput) (*servicediscoveryapi.DeleteNamespaceOutput, error) {
	out := &servicediscoveryapi.DeleteNamespaceOutput{}
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		ns, err := p.namespace(tx, *in.Id)
		if err != nil {
			return err
		}
		records.DiscoveryServices.GuardIndex(tx, records.DiscoveryServicesByNamespace, ns.ID)
		for range records.DiscoveryServices.By(tx, records.DiscoveryServicesByNamespace, ns.ID) {
			return inUse("Namespace has associated services; delete the services before deleting the namespace")
		}
		records.Namespaces.Delete(tx, ns.ID)
		out.OperationId = succeed(tx, servicediscoveryapi.OperationTypeDeleteNamespace, map[string]string{targetNamespace: ns.ID})
		return nil
	})
	return out, err
}
