package ecr

import (
	"context"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecrapi"
)

// noScanner is the description of a scan that could not be made.
const noScanner = "This registry has no scanner."

// scanned is the state of the scan that was to be made when the image was
// pushed; nil when none was.
func scanned(r *model.Repository) *ecrapi.ImageScanStatus {
	if !r.ScanOnPush {
		return nil
	}
	return &ecrapi.ImageScanStatus{Status: ecrapi.ScanStatusFailed, Description: new(noScanner)}
}

// PutImageScanningConfiguration implements ecrapi.Service. What is scanned at a
// push shows as failed.
func (p *Provider) PutImageScanningConfiguration(ctx context.Context, in *ecrapi.PutImageScanningConfigurationInput) (*ecrapi.PutImageScanningConfigurationOutput, error) {
	scan := value(in.ImageScanningConfiguration.ScanOnPush)
	_, err := p.edit(ctx, in.RegistryId, in.RepositoryName, func(r *model.Repository) error {
		r.ScanOnPush = scan
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ecrapi.PutImageScanningConfigurationOutput{
		RegistryId: &p.scope.AccountID, RepositoryName: in.RepositoryName, ImageScanningConfiguration: &ecrapi.ImageScanningConfiguration{ScanOnPush: &scan},
	}, nil
}

// StartImageScan implements ecrapi.Service.
func (p *Provider) StartImageScan(_ context.Context, in *ecrapi.StartImageScanInput) (*ecrapi.StartImageScanOutput, error) {
	if _, err := p.described(in.RegistryId, in.RepositoryName, *in.ImageId); err != nil {
		return nil, err
	}
	return nil, &ecrapi.UnsupportedImageTypeException{Message: new("The image cannot be scanned. " + noScanner)}
}

// DescribeImageScanFindings implements ecrapi.Service.
func (p *Provider) DescribeImageScanFindings(_ context.Context, in *ecrapi.DescribeImageScanFindingsInput) (*ecrapi.DescribeImageScanFindingsOutput, error) {
	id, err := p.described(in.RegistryId, in.RepositoryName, *in.ImageId)
	if err != nil {
		return nil, err
	}
	r, err := p.repository(p.store.Snapshot(), in.RegistryId, in.RepositoryName)
	if err != nil {
		return nil, err
	}
	status := scanned(r)
	if status == nil {
		return nil, &ecrapi.ScanNotFoundException{Message: new("Image scan does not exist for the image with '" + said(*in.ImageId) + "' in " + p.in(r.Name))}
	}
	return &ecrapi.DescribeImageScanFindingsOutput{RegistryId: &p.scope.AccountID, RepositoryName: in.RepositoryName, ImageId: id, ImageScanStatus: status}, nil
}

// GetRegistryScanningConfiguration implements ecrapi.Service.
func (p *Provider) GetRegistryScanningConfiguration(context.Context, *ecrapi.GetRegistryScanningConfigurationInput) (*ecrapi.GetRegistryScanningConfigurationOutput, error) {
	return &ecrapi.GetRegistryScanningConfigurationOutput{
		RegistryId:            &p.scope.AccountID,
		ScanningConfiguration: &ecrapi.RegistryScanningConfiguration{ScanType: ecrapi.ScanTypeBasic, Rules: []ecrapi.RegistryScanningRule{}},
	}, nil
}

// PutRegistryScanningConfiguration implements ecrapi.Service: what is there can
// be put.
func (p *Provider) PutRegistryScanningConfiguration(_ context.Context, in *ecrapi.PutRegistryScanningConfigurationInput) (*ecrapi.PutRegistryScanningConfigurationOutput, error) {
	if in.ScanType == ecrapi.ScanTypeEnhanced || len(in.Rules) > 0 {
		return nil, &ecrapi.ValidationException{Message: new("Images cannot be scanned. " + noScanner)}
	}
	return &ecrapi.PutRegistryScanningConfigurationOutput{
		RegistryScanningConfiguration: &ecrapi.RegistryScanningConfiguration{ScanType: ecrapi.ScanTypeBasic, Rules: []ecrapi.RegistryScanningRule{}},
	}, nil
}

// BatchGetRepositoryScanningConfiguration implements ecrapi.Service.
func (p *Provider) BatchGetRepositoryScanningConfiguration(_ context.Context, in *ecrapi.BatchGetRepositoryScanningConfigurationInput) (*ecrapi.BatchGetRepositoryScanningConfigurationOutput, error) {
	out := &ecrapi.BatchGetRepositoryScanningConfigurationOutput{
		ScanningConfigurations: []ecrapi.RepositoryScanningConfiguration{}, Failures: []ecrapi.RepositoryScanningConfigurationFailure{},
	}
	snap := p.store.Snapshot()
	for _, name := range in.RepositoryNames {
		r, ok := records.Repositories.Get(snap, name)
		if !ok {
			out.Failures = append(out.Failures, ecrapi.RepositoryScanningConfigurationFailure{
				RepositoryName: &name, FailureCode: ecrapi.ScanningConfigurationFailureCodeRepositoryNotFound, FailureReason: new("REPOSITORY_NOT_FOUND"),
			})
			continue
		}
		frequency := ecrapi.ScanFrequencyManual
		if r.ScanOnPush {
			frequency = ecrapi.ScanFrequencyScanOnPush
		}
		out.ScanningConfigurations = append(out.ScanningConfigurations, ecrapi.RepositoryScanningConfiguration{
			RepositoryArn: new(p.scope.Repository(name)), RepositoryName: &name, ScanOnPush: &r.ScanOnPush, ScanFrequency: frequency,
			AppliedScanFilters: []ecrapi.ScanningRepositoryFilter{},
		})
	}
	return out, nil
}
