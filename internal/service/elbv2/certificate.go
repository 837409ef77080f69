package elbv2

import (
	"context"
	"slices"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/elbv2api"
)

// certificate checks that a certificate exists. The transaction depends on it,
// so that it is not deleted while a listener begins to use it.
func certificate(tx *store.Tx, c *elbv2api.Certificate) (string, error) {
	if c.CertificateArn == nil || *c.CertificateArn == "" {
		return "", invalid("A certificate ARN must be specified")
	}
	records.Certificates.Guard(tx, *c.CertificateArn)
	if !records.Certificates.Has(tx, *c.CertificateArn) {
		return "", failure(codeCertificateNotFound, "Certificate '%s' not found", *c.CertificateArn)
	}
	return *c.CertificateArn, nil
}

// AddListenerCertificates implements elbv2api.Service. One that is there stays.
func (p *Provider) AddListenerCertificates(ctx context.Context, in *elbv2api.AddListenerCertificatesInput) (*elbv2api.AddListenerCertificatesOutput, error) {
	out := &elbv2api.AddListenerCertificatesOutput{}
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		out.Certificates = []elbv2api.Certificate{}
		l, lb, err := p.listener(tx, in.ListenerArn)
		if err != nil {
			return err
		}
		if len(l.Certificates) == 0 {
			return failure(codeUnsupportedProtocol, "Certificates cannot be specified for %s listeners", l.Protocol)
		}
		return records.Listeners.Edit(tx, l.ID, func(l *model.Listener) error {
			for i := range in.Certificates {
				name, err := certificate(tx, &in.Certificates[i])
				if err != nil {
					return err
				}
				if !slices.Contains(l.Certificates, name) {
					l.Certificates = append(l.Certificates, name)
				}
				out.Certificates = append(out.Certificates, elbv2api.Certificate{CertificateArn: &name, IsDefault: new(l.Certificates[0] == name)})
			}
			return roomForCertificates(tx, lb, l)
		})
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func roomForCertificates(tx *store.Tx, lb *model.LoadBalancer, changed *model.Listener) error {
	n := len(changed.Certificates) - 1
	for l := range records.Listeners.By(tx, records.ListenersByLoadBalancer, lb.ID) {
		if l.ID != changed.ID && len(l.Certificates) > 0 {
			n += len(l.Certificates) - 1
		}
	}
	if n > maxCertificates {
		return failure(codeTooManyCertificates, "The maximum number of certificates per load balancer is %d", maxCertificates)
	}
	return nil
}

// RemoveListenerCertificates implements elbv2api.Service. One that is not there
// is no error.
func (p *Provider) RemoveListenerCertificates(ctx context.Context, in *elbv2api.RemoveListenerCertificatesInput) (*elbv2api.RemoveListenerCertificatesOutput, error) {
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		l, _, err := p.listener(tx, in.ListenerArn)
		if err != nil {
			return err
		}
		return records.Listeners.Edit(tx, l.ID, func(l *model.Listener) error {
			for _, c := range in.Certificates {
				if c.CertificateArn == nil {
					return invalid("A certificate ARN must be specified")
				}
				i := slices.Index(l.Certificates, *c.CertificateArn)
				if i == 0 {
					return failure(codeOperationNotPermitted, "Default certificate '%s' cannot be removed", *c.CertificateArn)
				}
				if i > 0 {
					l.Certificates = slices.Delete(l.Certificates, i, i+1)
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return &elbv2api.RemoveListenerCertificatesOutput{}, nil
}

// DescribeListenerCertificates implements elbv2api.Service.
func (p *Provider) DescribeListenerCertificates(_ context.Context, in *elbv2api.DescribeListenerCertificatesInput) (*elbv2api.DescribeListenerCertificatesOutput, error) {
	l, _, err := p.listener(p.store.Snapshot(), in.ListenerArn)
	if err != nil {
		return nil, err
	}
	page, next, err := pageOf("DescribeListenerCertificates", slices.Sorted(slices.Values(l.Certificates)), func(c string) string { return c }, in.Marker, in.PageSize)
	if err != nil {
		return nil, err
	}
	out := &elbv2api.DescribeListenerCertificatesOutput{Certificates: []elbv2api.Certificate{}, NextMarker: next}
	for _, c := range page {
		out.Certificates = append(out.Certificates, elbv2api.Certificate{CertificateArn: &c, IsDefault: new(l.Certificates[0] == c)})
	}
	return out, nil
}
