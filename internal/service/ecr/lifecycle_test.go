package ecr_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"pgregory.net/rapid"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/service/ecr"
)

func TestRepositoryLife(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	name := aws.String("team/app")
	r := must[sdk.CreateRepositoryOutput](w)(w.ecr.CreateRepository(ctx, &sdk.CreateRepositoryInput{
		RepositoryName: name, Tags: []types.Tag{{Key: aws.String("Team"), Value: aws.String("blue")}},
		EncryptionConfiguration: &types.EncryptionConfiguration{EncryptionType: types.EncryptionTypeAes256},
	})).Repository
	if *r.RepositoryArn != "arn:aws:ecr:us-east-1:123456789012:repository/team/app" || *r.RepositoryUri != "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/app" ||
		*r.RegistryId != account || r.ImageTagMutability != types.ImageTagMutabilityMutable || r.ImageScanningConfiguration.ScanOnPush ||
		r.EncryptionConfiguration.EncryptionType != types.EncryptionTypeAes256 || r.CreatedAt == nil {
		t.Errorf("created %+v", r)
	}

	must[sdk.TagResourceOutput](w)(w.ecr.TagResource(ctx, &sdk.TagResourceInput{ResourceArn: r.RepositoryArn, Tags: []types.Tag{{Key: aws.String("Team"), Value: aws.String("red")}, {Key: aws.String("a"), Value: aws.String("b")}}}))
	must[sdk.UntagResourceOutput](w)(w.ecr.UntagResource(ctx, &sdk.UntagResourceInput{ResourceArn: r.RepositoryArn, TagKeys: []string{"a", "none"}}))
	tags := must[sdk.ListTagsForResourceOutput](w)(w.ecr.ListTagsForResource(ctx, &sdk.ListTagsForResourceInput{ResourceArn: r.RepositoryArn})).Tags
	if len(tags) != 1 || *tags[0].Value != "red" {
		t.Errorf("tags %+v", tags)
	}

	filters := []types.ImageTagMutabilityExclusionFilter{{Filter: aws.String("latest*"), FilterType: types.ImageTagMutabilityExclusionFilterTypeWildcard}}
	must[sdk.PutImageTagMutabilityOutput](w)(w.ecr.PutImageTagMutability(ctx, &sdk.PutImageTagMutabilityInput{
		RepositoryName: name, ImageTagMutability: types.ImageTagMutabilityImmutableWithExclusion, ImageTagMutabilityExclusionFilters: filters,
	}))
	must[sdk.PutImageScanningConfigurationOutput](w)(w.ecr.PutImageScanningConfiguration(ctx, &sdk.PutImageScanningConfigurationInput{
		RepositoryName: name, ImageScanningConfiguration: &types.ImageScanningConfiguration{ScanOnPush: true},
	}))
	got := must[sdk.DescribeRepositoriesOutput](w)(w.ecr.DescribeRepositories(ctx, &sdk.DescribeRepositoriesInput{RepositoryNames: []string{*name, *name}})).Repositories
	if len(got) != 1 || got[0].ImageTagMutability != types.ImageTagMutabilityImmutableWithExclusion || *got[0].ImageTagMutabilityExclusionFilters[0].Filter != "latest*" || !got[0].ImageScanningConfiguration.ScanOnPush {
		t.Errorf("described %+v", got)
	}
	w.image(*name, "a", "v1", "latest-1")
	w.put(*name, w.manifest(*name, "b"), "latest-1")
	if _, err := w.ecr.PutImage(ctx, &sdk.PutImageInput{RepositoryName: name, ImageManifest: aws.String(w.manifest(*name, "b")), ImageTag: aws.String("v1")}); err == nil {
		t.Error("an immutable tag moved")
	}

	// There is no scanner, and whoever asked for scans sees that.
	id := &types.ImageIdentifier{ImageTag: aws.String("v1")}
	found := must[sdk.DescribeImageScanFindingsOutput](w)(w.ecr.DescribeImageScanFindings(ctx, &sdk.DescribeImageScanFindingsInput{RepositoryName: name, ImageId: id}))
	images := must[sdk.DescribeImagesOutput](w)(w.ecr.DescribeImages(ctx, &sdk.DescribeImagesInput{RepositoryName: name, ImageIds: []types.ImageIdentifier{*id}})).ImageDetails
	if found.ImageScanStatus.Status != types.ScanStatusFailed || images[0].ImageScanStatus.Status != types.ScanStatusFailed {
		t.Errorf("findings %+v, image %+v", found.ImageScanStatus, images)
	}
	scanning := must[sdk.BatchGetRepositoryScanningConfigurationOutput](w)(w.ecr.BatchGetRepositoryScanningConfiguration(ctx,
		&sdk.BatchGetRepositoryScanningConfigurationInput{RepositoryNames: []string{*name, "none"}}))
	if len(scanning.ScanningConfigurations) != 1 || scanning.ScanningConfigurations[0].ScanFrequency != types.ScanFrequencyScanOnPush || len(scanning.Failures) != 1 {
		t.Errorf("scanning %+v", scanning)
	}

	text := aws.String(`{"Version":"2012-10-17","Statement":[{"Sid":"new statement","Effect":"Allow","Principal":"*","Action":"ecr:BatchGetImage"}]}`)
	must[sdk.SetRepositoryPolicyOutput](w)(w.ecr.SetRepositoryPolicy(ctx, &sdk.SetRepositoryPolicyInput{RepositoryName: name, PolicyText: text}))
	if p := must[sdk.GetRepositoryPolicyOutput](w)(w.ecr.GetRepositoryPolicy(ctx, &sdk.GetRepositoryPolicyInput{RepositoryName: name})); *p.PolicyText != *text {
		t.Errorf("policy %s", *p.PolicyText)
	}
	must[sdk.SetRepositoryPolicyOutput](w)(w.ecr.SetRepositoryPolicy(ctx, &sdk.SetRepositoryPolicyInput{
		RepositoryName: name, Force: true, PolicyText: aws.String(strings.NewReplacer("Allow", "Deny", "BatchGetImage", "*").Replace(*text)),
	}))
	must[sdk.DeleteRepositoryPolicyOutput](w)(w.ecr.DeleteRepositoryPolicy(ctx, &sdk.DeleteRepositoryPolicyInput{RepositoryName: name}))

	w.put(*name, index(w.manifest(*name, "b")), "list")
	must[sdk.DeleteRepositoryOutput](w)(w.ecr.DeleteRepository(ctx, &sdk.DeleteRepositoryInput{RepositoryName: name, Force: true}))
	snap := w.store.Snapshot()
	if n := records.Repositories.Len(snap) + records.Images.Len(snap) + records.ImageTags.Len(snap); n != 0 {
		t.Errorf("%d records are left", n)
	}
}

func TestDescribeRepositories_Pages(t *testing.T) {
	w := newWorld(t)
	for _, n := range []string{"a1", "b1", "c1", "d1", "e1"} {
		w.repository(n)
	}
	var names []string
	for pages := sdk.NewDescribeRepositoriesPaginator(w.ecr, &sdk.DescribeRepositoriesInput{MaxResults: aws.Int32(2)}); pages.HasMorePages(); {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Repositories {
			names = append(names, *r.RepositoryName)
		}
	}
	if got := strings.Join(names, " "); got != "a1 b1 c1 d1 e1" {
		t.Error(got)
	}
}

// A repository with more images and tags than a transaction takes goes whole.
func TestDeleteRepository_Many(t *testing.T) {
	w := newWorld(t)
	w.repository("app")
	for n := range 6 {
		_, err := w.store.Update(t.Context(), func(tx *store.Tx) error {
			for i := range 30 {
				digest := fmt.Sprintf("sha256:%064d", n*30+i)
				image := &model.Image{Repository: "app", Digest: digest, PushedAt: tx.Now()}
				if n > 0 {
					image.Manifests = []string{fmt.Sprintf("sha256:%064d", (n-1)*30+i)}
				}
				records.Images.Put(tx, image)
				records.ImageTags.Put(tx, &model.ImageTag{Repository: "app", Tag: fmt.Sprint("t", n*30+i), Digest: fmt.Sprintf("sha256:%064d", 5)})
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	must[sdk.DeleteRepositoryOutput](w)(w.ecr.DeleteRepository(t.Context(), &sdk.DeleteRepositoryInput{RepositoryName: aws.String("app"), Force: true}))
	snap := w.store.Snapshot()
	if n := records.Repositories.Len(snap) + records.Images.Len(snap) + records.ImageTags.Len(snap); n != 0 {
		t.Errorf("%d records are left", n)
	}
}

func TestImages(t *testing.T) {
	w := newWorld(t)
	ctx, app := t.Context(), aws.String("app")
	w.repository("app")
	a := w.image("app", "a", "v1", "latest")
	b := w.image("app", "b")
	part := w.manifest("app", "part")
	w.put("app", part, "")
	list := w.put("app", index(part), "list")

	if got, want := w.listed("app", types.TagStatusTagged), "latest="+short(a)+" list="+short(list)+" v1="+short(a); got != want {
		t.Errorf("tagged %s, want %s", got, want)
	}
	if got := w.listed("app", types.TagStatusUntagged); len(strings.Fields(got)) != 2 {
		t.Errorf("untagged %s", got)
	}
	var details []types.ImageDetail
	for pages := sdk.NewDescribeImagesPaginator(w.ecr, &sdk.DescribeImagesInput{RepositoryName: app, MaxResults: aws.Int32(3)}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		details = append(details, page.ImageDetails...)
	}
	if len(details) != 4 {
		t.Errorf("%d images", len(details))
	}
	one := must[sdk.DescribeImagesOutput](w)(w.ecr.DescribeImages(ctx, &sdk.DescribeImagesInput{RepositoryName: app, ImageIds: []types.ImageIdentifier{{ImageTag: aws.String("v1")}, {ImageDigest: &a}}})).ImageDetails
	if len(one) != 1 || strings.Join(one[0].ImageTags, " ") != "latest v1" || *one[0].ImageSizeInBytes != int64(len(`{"name":"a"}`)+len("layer of a")) ||
		*one[0].ImageManifestMediaType != dockerManifest || *one[0].ArtifactMediaType != "application/vnd.docker.container.image.v1+json" || one[0].LastRecordedPullTime != nil || one[0].ImageStatus != types.ImageStatusActive {
		t.Errorf("described %+v", one)
	}

	got := must[sdk.BatchGetImageOutput](w)(w.ecr.BatchGetImage(ctx, &sdk.BatchGetImageInput{RepositoryName: app, ImageIds: []types.ImageIdentifier{{ImageTag: aws.String("v1")}, {ImageTag: aws.String("none")}}}))
	if len(got.Images) != 1 || digestOf(*got.Images[0].ImageManifest) != a || *got.Images[0].ImageId.ImageTag != "v1" || len(got.Failures) != 1 {
		t.Errorf("got %+v", got)
	}
	other := must[sdk.BatchGetImageOutput](w)(w.ecr.BatchGetImage(ctx, &sdk.BatchGetImageInput{RepositoryName: app, ImageIds: []types.ImageIdentifier{{ImageTag: aws.String("v1")}}, AcceptedMediaTypes: []string{ociManifest}}))
	if len(other.Images) != 0 || len(other.Failures) != 1 {
		t.Errorf("got %+v", other)
	}
	if one := must[sdk.DescribeImagesOutput](w)(w.ecr.DescribeImages(ctx, &sdk.DescribeImagesInput{RepositoryName: app, ImageIds: []types.ImageIdentifier{{ImageDigest: &a}}})).ImageDetails; one[0].LastRecordedPullTime == nil {
		t.Error("a pull was not noted")
	}

	// Retagging: the same manifest under another name.
	w.put("app", *got.Images[0].ImageManifest, "stable")
	remove := func(ids ...types.ImageIdentifier) *sdk.BatchDeleteImageOutput {
		return must[sdk.BatchDeleteImageOutput](w)(w.ecr.BatchDeleteImage(ctx, &sdk.BatchDeleteImageInput{RepositoryName: app, ImageIds: ids}))
	}
	if out := remove(types.ImageIdentifier{ImageTag: aws.String("stable")}); len(out.ImageIds) != 1 || *out.ImageIds[0].ImageDigest != a {
		t.Errorf("untagged %+v", out)
	}
	if out := remove(types.ImageIdentifier{ImageDigest: &a}); len(out.ImageIds) != 2 || len(out.Failures) != 0 {
		t.Errorf("deleted %+v", out)
	}
	// An index goes before what it holds, in whatever order they are named.
	if out := remove(types.ImageIdentifier{ImageDigest: aws.String(digestOf(part))}, types.ImageIdentifier{ImageTag: aws.String("list")}); len(out.ImageIds) != 2 || len(out.Failures) != 0 {
		t.Errorf("deleted %+v", out)
	}
	if got := w.listed("app", ""); got != "="+short(b) {
		t.Errorf("left %s", got)
	}

	status := must[sdk.DescribeImageReplicationStatusOutput](w)(w.ecr.DescribeImageReplicationStatus(ctx, &sdk.DescribeImageReplicationStatusInput{RepositoryName: app, ImageId: &types.ImageIdentifier{ImageDigest: &b}}))
	if len(status.ReplicationStatuses) != 0 {
		t.Errorf("replicated %+v", status)
	}
}

func TestListImageReferrers(t *testing.T) {
	w := newWorld(t)
	w.repository("app")
	manifest := w.manifest("app", "a")
	a := w.put("app", manifest, "v1")
	w.layer("app", "{}")
	signature := w.put("app", text(map[string]any{
		"schemaVersion": 2, "mediaType": ociManifest, "artifactType": "application/vnd.example.signature",
		"config": descriptor("application/vnd.oci.empty.v1+json", "{}"), "layers": []any{descriptor("application/octet-stream", "{}")},
		"subject": descriptor(dockerManifest, manifest), "annotations": map[string]any{"by": "me"},
	}), "")
	list := func(kind string) []types.ImageReferrer {
		return must[sdk.ListImageReferrersOutput](w)(w.ecr.ListImageReferrers(t.Context(), &sdk.ListImageReferrersInput{
			RepositoryName: aws.String("app"), SubjectId: &types.SubjectIdentifier{ImageDigest: &a}, Filter: &types.ListImageReferrersFilter{ArtifactTypes: []string{kind}},
		})).Referrers
	}
	if got := list("application/vnd.example.signature"); len(got) != 1 || *got[0].Digest != signature || got[0].Annotations["by"] != "me" {
		t.Errorf("referrers %+v", got)
	}
	if got := list("application/sbom"); len(got) != 0 {
		t.Errorf("referrers of another type %+v", got)
	}
}

func TestLayers(t *testing.T) {
	w := newWorld(t)
	ctx, app := t.Context(), aws.String("app")
	w.repository("app")
	content := bytes.Repeat([]byte("0123456789abcdef"), 700_000) // 11.2 MB
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(content))
	begun := must[sdk.InitiateLayerUploadOutput](w)(w.ecr.InitiateLayerUpload(ctx, &sdk.InitiateLayerUploadInput{RepositoryName: app}))
	if *begun.PartSize != 20<<20 {
		t.Errorf("parts of %d bytes", *begun.PartSize)
	}
	const part = 5 << 20
	for first := 0; first < len(content); first += part {
		last := min(first+part, len(content)) - 1
		in := &sdk.UploadLayerPartInput{RepositoryName: app, UploadId: begun.UploadId, PartFirstByte: new(int64(first)), PartLastByte: new(int64(last)), LayerPartBlob: content[first : last+1]}
		if out := must[sdk.UploadLayerPartOutput](w)(w.ecr.UploadLayerPart(ctx, in)); *out.LastByteReceived != int64(last) {
			t.Errorf("received %d of %d", *out.LastByteReceived, last)
		}
		// Who did not hear that it came is told where to go on.
		_, err := w.ecr.UploadLayerPart(ctx, in)
		invalid, ok := errors.AsType[*types.InvalidLayerPartException](err)
		if !ok || *invalid.LastValidByteReceived != int64(last) {
			t.Errorf("again: %v", err)
		}
	}
	must[sdk.CompleteLayerUploadOutput](w)(w.ecr.CompleteLayerUpload(ctx, &sdk.CompleteLayerUploadInput{RepositoryName: app, UploadId: begun.UploadId, LayerDigests: []string{digest}}))
	known := must[sdk.BatchCheckLayerAvailabilityOutput](w)(w.ecr.BatchCheckLayerAvailability(ctx, &sdk.BatchCheckLayerAvailabilityInput{
		RepositoryName: app, LayerDigests: []string{digest, "sha256:00", "nothing", ""},
	}))
	if len(known.Layers) != 2 || known.Layers[0].LayerAvailability != types.LayerAvailabilityAvailable || *known.Layers[0].LayerSize != int64(len(content)) ||
		known.Layers[1].LayerAvailability != types.LayerAvailabilityUnavailable || len(known.Failures) != 2 || known.Failures[1].FailureCode != types.LayerFailureCodeMissingLayerDigest {
		t.Errorf("known %+v", known)
	}
	at := must[sdk.GetDownloadUrlForLayerOutput](w)(w.ecr.GetDownloadUrlForLayer(ctx, &sdk.GetDownloadUrlForLayerInput{RepositoryName: app, LayerDigest: &digest}))
	if *at.DownloadUrl != w.url+"/layers/app/"+digest {
		t.Errorf("download from %s", *at.DownloadUrl)
	}
}

func TestLifecyclePolicy(t *testing.T) {
	w := newWorld(t)
	ctx, app := t.Context(), aws.String("app")
	w.repository("app")
	at := time.Now()
	w.now.Store(new(at.Add(-time.Minute)))
	old := w.image("app", "old", "v0")
	w.now.Store(new(at))
	w.image("app", "new", "v1")
	policy := aws.String(`{"rules":[{"rulePriority":7,"description":"keep only one of the images with tags that are versions","selection":{"tagStatus":"tagged","tagPatternList":["v*"],"countType":"imageCountMoreThan","countNumber":1},"action":{"type":"expire"}}]}`)
	started := must[sdk.StartLifecyclePolicyPreviewOutput](w)(w.ecr.StartLifecyclePolicyPreview(ctx, &sdk.StartLifecyclePolicyPreviewInput{RepositoryName: app, LifecyclePolicyText: policy}))
	if started.Status != types.LifecyclePolicyPreviewStatusInProgress {
		t.Errorf("started %+v", started)
	}
	preview := must[sdk.GetLifecyclePolicyPreviewOutput](w)(w.ecr.GetLifecyclePolicyPreview(ctx, &sdk.GetLifecyclePolicyPreviewInput{RepositoryName: app}))
	if preview.Status != types.LifecyclePolicyPreviewStatusComplete || *preview.Summary.ExpiringImageTotalCount != 1 || len(preview.PreviewResults) != 1 ||
		*preview.PreviewResults[0].ImageDigest != old || *preview.PreviewResults[0].AppliedRulePriority != 7 || preview.PreviewResults[0].Action.Type != types.ImageActionTypeExpire {
		t.Errorf("preview %+v", preview)
	}
	if none := must[sdk.GetLifecyclePolicyPreviewOutput](w)(w.ecr.GetLifecyclePolicyPreview(ctx, &sdk.GetLifecyclePolicyPreviewInput{
		RepositoryName: app, Filter: &types.LifecyclePolicyPreviewFilter{TagStatus: types.TagStatusUntagged},
	})); len(none.PreviewResults) != 0 || *none.Summary.ExpiringImageTotalCount != 1 {
		t.Errorf("untagged %+v", none)
	}
	must[sdk.PutLifecyclePolicyOutput](w)(w.ecr.PutLifecyclePolicy(ctx, &sdk.PutLifecyclePolicyInput{RepositoryName: app, LifecyclePolicyText: policy}))
	got := must[sdk.GetLifecyclePolicyOutput](w)(w.ecr.GetLifecyclePolicy(ctx, &sdk.GetLifecyclePolicyInput{RepositoryName: app}))
	if *got.LifecyclePolicyText != *policy || got.LastEvaluatedAt.Unix() != 0 {
		t.Errorf("policy %+v", got)
	}
	must[sdk.DeleteLifecyclePolicyOutput](w)(w.ecr.DeleteLifecyclePolicy(ctx, &sdk.DeleteLifecyclePolicyInput{RepositoryName: app}))
}

func TestPullThroughCacheRules(t *testing.T) {
	host, transport := upstream(t, "right")
	w := newWorld(t, func(cfg *ecr.Config) {
		cfg.Transport = transport
		cfg.Credentials = func(_ context.Context, arn string) (string, string, error) {
			return "user", strings.TrimSuffix(arn[strings.LastIndexByte(arn, '/')+1:], "-AbCdEf"), nil
		}
	})
	_, err := w.store.Update(t.Context(), func(tx *store.Tx) error {
		for _, name := range []string{"right", "wrong"} {
			name = "ecr-pullthroughcache/" + name
			records.Secrets.Put(tx, &model.Secret{Name: name, ARN: "arn:aws:secretsmanager:us-east-1:123456789012:secret:" + name + "-AbCdEf"})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	secret := func(name string) *string {
		return aws.String("arn:aws:secretsmanager:us-east-1:123456789012:secret:ecr-pullthroughcache/" + name + "-AbCdEf")
	}
	made := must[sdk.CreatePullThroughCacheRuleOutput](w)(w.ecr.CreatePullThroughCacheRule(ctx, &sdk.CreatePullThroughCacheRuleInput{EcrRepositoryPrefix: aws.String("own"), UpstreamRegistryUrl: &host, CredentialArn: secret("wrong")}))
	if *made.UpstreamRegistryUrl != host {
		t.Errorf("made %+v", made)
	}
	must[sdk.CreatePullThroughCacheRuleOutput](w)(w.ecr.CreatePullThroughCacheRule(ctx, &sdk.CreatePullThroughCacheRuleInput{EcrRepositoryPrefix: aws.String("quay"), UpstreamRegistryUrl: aws.String("quay.io")}))
	rules := must[sdk.DescribePullThroughCacheRulesOutput](w)(w.ecr.DescribePullThroughCacheRules(ctx, &sdk.DescribePullThroughCacheRulesInput{})).PullThroughCacheRules
	if len(rules) != 2 || rules[1].UpstreamRegistry != types.UpstreamRegistryQuay || *rules[0].CredentialArn != *secret("wrong") {
		t.Errorf("rules %+v", rules)
	}
	validate := func() *sdk.ValidatePullThroughCacheRuleOutput {
		return must[sdk.ValidatePullThroughCacheRuleOutput](w)(w.ecr.ValidatePullThroughCacheRule(ctx, &sdk.ValidatePullThroughCacheRuleInput{EcrRepositoryPrefix: aws.String("own")}))
	}
	if got := validate(); got.IsValid || !strings.Contains(aws.ToString(got.Failure), "401") {
		t.Errorf("with a wrong password: %+v", got)
	}
	must[sdk.UpdatePullThroughCacheRuleOutput](w)(w.ecr.UpdatePullThroughCacheRule(ctx, &sdk.UpdatePullThroughCacheRuleInput{EcrRepositoryPrefix: aws.String("own"), CredentialArn: secret("right")}))
	if got := validate(); !got.IsValid || got.Failure != nil {
		t.Errorf("with the right password: %s", aws.ToString(got.Failure))
	}
	must[sdk.DeletePullThroughCacheRuleOutput](w)(w.ecr.DeletePullThroughCacheRule(ctx, &sdk.DeletePullThroughCacheRuleInput{EcrRepositoryPrefix: aws.String("own")}))
}

func TestRegistry(t *testing.T) {
	w := newWorld(t, func(cfg *ecr.Config) { cfg.Endpoint = "http://registry.example.com:5000" })
	ctx := t.Context()
	data := must[sdk.GetAuthorizationTokenOutput](w)(w.ecr.GetAuthorizationToken(ctx, &sdk.GetAuthorizationTokenInput{})).AuthorizationData[0]
	decoded, err := base64.StdEncoding.DecodeString(*data.AuthorizationToken)
	name, password, _ := strings.Cut(string(decoded), ":")
	if err != nil || name != "AWS" || *data.ProxyEndpoint != "http://registry.example.com:5000" {
		t.Errorf("%s at %s, %v", name, *data.ProxyEndpoint, err)
	}
	who, err := w.sessions.OpenRegistry(password, time.Now())
	if err != nil || who.AccessKeyID != "AKIAROOT" || time.Until(*data.ExpiresAt) > 12*time.Hour {
		t.Errorf("%+v until %s, %v", who, data.ExpiresAt, err)
	}
	w.repository("app")
	if r := must[sdk.DescribeRepositoriesOutput](w)(w.ecr.DescribeRepositories(ctx, &sdk.DescribeRepositoriesInput{})).Repositories[0]; *r.RepositoryUri != "registry.example.com:5000/app" {
		t.Errorf("uri %s", *r.RepositoryUri)
	}
	text := aws.String(`{"Version":"2012-10-17","Statement":[{"Sid":"s","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":["ecr:CreateRepository","ecr:BatchImportUpstreamImage"],"Resource":"arn:aws:ecr:us-east-1:123456789012:repository/hub/*"}]}`)
	must[sdk.PutRegistryPolicyOutput](w)(w.ecr.PutRegistryPolicy(ctx, &sdk.PutRegistryPolicyInput{PolicyText: text}))
	if p := must[sdk.GetRegistryPolicyOutput](w)(w.ecr.GetRegistryPolicy(ctx, &sdk.GetRegistryPolicyInput{})); *p.PolicyText != *text {
		t.Errorf("policy %s", *p.PolicyText)
	}
	must[sdk.DeleteRegistryPolicyOutput](w)(w.ecr.DeleteRegistryPolicy(ctx, &sdk.DeleteRegistryPolicyInput{}))
	if r := must[sdk.DescribeRegistryOutput](w)(w.ecr.DescribeRegistry(ctx, &sdk.DescribeRegistryInput{})); *r.RegistryId != account || len(r.ReplicationConfiguration.Rules) != 0 {
		t.Errorf("registry %+v", r)
	}
	must[sdk.PutReplicationConfigurationOutput](w)(w.ecr.PutReplicationConfiguration(ctx, &sdk.PutReplicationConfigurationInput{ReplicationConfiguration: &types.ReplicationConfiguration{Rules: []types.ReplicationRule{}}}))
	if s := must[sdk.GetRegistryScanningConfigurationOutput](w)(w.ecr.GetRegistryScanningConfiguration(ctx, &sdk.GetRegistryScanningConfigurationInput{})); s.ScanningConfiguration.ScanType != types.ScanTypeBasic {
		t.Errorf("scanning %+v", s)
	}
	must[sdk.PutRegistryScanningConfigurationOutput](w)(w.ecr.PutRegistryScanningConfiguration(ctx, &sdk.PutRegistryScanningConfigurationInput{ScanType: types.ScanTypeBasic}))
	setting := must[sdk.GetAccountSettingOutput](w)(w.ecr.GetAccountSetting(ctx, &sdk.GetAccountSettingInput{Name: aws.String("REGISTRY_POLICY_SCOPE")}))
	must[sdk.PutAccountSettingOutput](w)(w.ecr.PutAccountSetting(ctx, &sdk.PutAccountSettingInput{Name: setting.Name, Value: setting.Value}))
}

// Whatever is pushed, tagged and deleted: ListImages and DescribeImages agree
// with a model of a repository, page by page.
func TestImages_AgreeWithAModel(t *testing.T) {
	w := newWorld(t)
	w.repository("app")
	manifests := make([]string, 4)
	for i := range manifests {
		manifests[i] = w.manifest("app", fmt.Sprint("image", i))
	}
	ctx, app := t.Context(), aws.String("app")
	tags := map[string]string{} // digests
	there := map[string]bool{}  // digests
	rapid.Check(t, func(t *rapid.T) {
		manifest := rapid.SampledFrom(manifests).Draw(t, "image")
		tag := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "tag")
		digest := digestOf(manifest)
		switch rapid.IntRange(0, 3).Draw(t, "step") {
		case 0, 1:
			_, err := w.ecr.PutImage(ctx, &sdk.PutImageInput{RepositoryName: app, ImageManifest: &manifest, ImageTag: &tag})
			if same := tags[tag] == digest; (err != nil) != same {
				t.Fatalf("putting what is there (%t): %v", same, err)
			}
			tags[tag], there[digest] = digest, true
		case 2:
			out, err := w.ecr.BatchDeleteImage(ctx, &sdk.BatchDeleteImageInput{RepositoryName: app, ImageIds: []types.ImageIdentifier{{ImageTag: &tag}}})
			if err != nil || len(out.Failures) > 0 == (tags[tag] != "") {
				t.Fatalf("untagging: %+v %v", out, err)
			}
			last := tags[tag]
			delete(tags, tag)
			for _, d := range tags {
				if d == last {
					last = ""
				}
			}
			delete(there, last)
		case 3:
			out, err := w.ecr.BatchDeleteImage(ctx, &sdk.BatchDeleteImageInput{RepositoryName: app, ImageIds: []types.ImageIdentifier{{ImageDigest: &digest}}})
			if err != nil || len(out.Failures) > 0 == there[digest] {
				t.Fatalf("deleting: %+v %v", out, err)
			}
			delete(there, digest)
			for tag, d := range tags {
				if d == digest {
					delete(tags, tag)
				}
			}
		}
		want := len(tags)
		for d := range there {
			bare := true
			for _, other := range tags {
				bare = bare && other != d
			}
			if bare {
				want++
			}
		}
		listed := 0
		size := int32(rapid.IntRange(1, 3).Draw(t, "page"))
		for pages := sdk.NewListImagesPaginator(w.ecr, &sdk.ListImagesInput{RepositoryName: app, MaxResults: &size}); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range page.ImageIds {
				listed++
				if id.ImageTag != nil && tags[*id.ImageTag] != *id.ImageDigest || !there[*id.ImageDigest] {
					t.Fatalf("listed %s %s", aws.ToString(id.ImageTag), *id.ImageDigest)
				}
			}
		}
		described, err := w.ecr.DescribeImages(ctx, &sdk.DescribeImagesInput{RepositoryName: app})
		if err != nil || listed != want || len(described.ImageDetails) != len(there) {
			t.Fatalf("listed %d, want %d; described %d, want %d; %v", listed, want, len(described.ImageDetails), len(there), err)
		}
	})
}
