package ecr_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
)

// What is refused, and in which words. Lines marked [OBS] are as users of AWS
// reported them, [MOTO] as moto's tests have them, [GK] have a code that AWS
// documents and a text that was not seen in real AWS, [Berth] are ours.
func TestRefusals(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.repository("app")
	w.repository("full")
	fixed := w.image("full", "fixed", "v1")
	part := w.manifest("full", "part")
	w.put("full", part, "part")
	list := w.put("full", index(part), "list")
	_, err := w.ecr.CreateRepository(ctx, &sdk.CreateRepositoryInput{RepositoryName: aws.String("immutable"), ImageTagMutability: types.ImageTagMutabilityImmutable})
	if err != nil {
		t.Fatal(err)
	}
	w.image("immutable", "a", "v1")
	app, none := aws.String("app"), aws.String("none")

	hide := strings.NewReplacer(fixed, "sha256:FIXED", digestOf(part), "sha256:PART", list, "sha256:LIST")
	var lines []string
	refuse := func(name, mark string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s: not refused", name)
		}
		lines = append(lines, name+": "+hide.Replace(refusal(err))+" ["+mark+"]")
	}
	create := func(in sdk.CreateRepositoryInput) error {
		if in.RepositoryName == nil {
			in.RepositoryName = aws.String("new")
		}
		_, err := w.ecr.CreateRepository(ctx, &in)
		return err
	}
	key := func(k, v string) types.Tag { return types.Tag{Key: &k, Value: &v} }
	refuse("repository twice", "OBS", create(sdk.CreateRepositoryInput{RepositoryName: app}))
	refuse("bad name", "OBS", create(sdk.CreateRepositoryInput{RepositoryName: aws.String("App")}))
	refuse("another account's repository", "GK", create(sdk.CreateRepositoryInput{RegistryId: aws.String("999999999999")}))
	refuse("KMS", "Berth", create(sdk.CreateRepositoryInput{EncryptionConfiguration: &types.EncryptionConfiguration{EncryptionType: types.EncryptionTypeKms}}))
	refuse("AES256 with a key", "GK", create(sdk.CreateRepositoryInput{EncryptionConfiguration: &types.EncryptionConfiguration{EncryptionType: types.EncryptionTypeAes256, KmsKey: aws.String("k")}}))
	refuse("unknown mutability", "MOTO", create(sdk.CreateRepositoryInput{ImageTagMutability: "SOME"}))
	wild := func(filter string) types.ImageTagMutabilityExclusionFilter {
		return types.ImageTagMutabilityExclusionFilter{Filter: &filter, FilterType: types.ImageTagMutabilityExclusionFilterTypeWildcard}
	}
	refuse("filters without exclusion", "GK", create(sdk.CreateRepositoryInput{ImageTagMutabilityExclusionFilters: []types.ImageTagMutabilityExclusionFilter{wild("v*")}}))
	refuse("exclusion without filters", "GK", create(sdk.CreateRepositoryInput{ImageTagMutability: types.ImageTagMutabilityMutableWithExclusion}))
	excluding := func(filters ...types.ImageTagMutabilityExclusionFilter) error {
		return create(sdk.CreateRepositoryInput{ImageTagMutability: types.ImageTagMutabilityImmutableWithExclusion, ImageTagMutabilityExclusionFilters: filters})
	}
	refuse("three wildcards", "GK", excluding(wild("*a*b*")))
	refuse("filter twice", "GK", excluding(wild("a"), wild("a")))
	refuse("tag twice", "GK", create(sdk.CreateRepositoryInput{Tags: []types.Tag{key("k", "1"), key("k", "2")}}))
	refuse("tag of AWS", "GK", create(sdk.CreateRepositoryInput{Tags: []types.Tag{key("AWS:k", "1")}}))
	refuse("long tag", "GK", create(sdk.CreateRepositoryInput{Tags: []types.Tag{key("k", strings.Repeat("x", 257))}}))
	var many []types.Tag
	for i := range 51 {
		many = append(many, key(fmt.Sprint(i), ""))
	}
	refuse("too many tags", "GK", create(sdk.CreateRepositoryInput{Tags: many}))
	_, err = w.ecr.TagResource(ctx, &sdk.TagResourceInput{ResourceArn: aws.String("app"), Tags: []types.Tag{}})
	refuse("no ARN", "MOTO", err)
	_, err = w.ecr.ListTagsForResource(ctx, &sdk.ListTagsForResourceInput{ResourceArn: aws.String("arn:aws:ecr:eu-west-1:123456789012:repository/app")})
	refuse("another region", "GK", err)
	_, err = w.ecr.UntagResource(ctx, &sdk.UntagResourceInput{ResourceArn: aws.String("arn:aws:ecr:us-east-1:999999999999:repository/app"), TagKeys: []string{"k"}})
	refuse("another account", "MOTO", err)
	_, err = w.ecr.DescribeRepositories(ctx, &sdk.DescribeRepositoriesInput{RepositoryNames: []string{"none"}})
	refuse("no repository", "OBS", err)
	_, err = w.ecr.DescribeRepositories(ctx, &sdk.DescribeRepositoriesInput{RepositoryNames: []string{"app"}, MaxResults: aws.Int32(1)})
	refuse("names and pages", "GK", err)
	_, err = w.ecr.DescribeRepositories(ctx, &sdk.DescribeRepositoriesInput{MaxResults: aws.Int32(1001)})
	refuse("long page", "OBS", err)
	_, err = w.ecr.DescribeRepositories(ctx, &sdk.DescribeRepositoriesInput{NextToken: aws.String("x")})
	refuse("token", "GK", err)
	_, err = w.ecr.DeleteRepository(ctx, &sdk.DeleteRepositoryInput{RepositoryName: aws.String("full")})
	refuse("not empty", "OBS", err)

	// Policies.
	policy := func(text string, force bool) error {
		_, err := w.ecr.SetRepositoryPolicy(ctx, &sdk.SetRepositoryPolicyInput{RepositoryName: app, PolicyText: &text, Force: force})
		return err
	}
	refuse("no policy", "MOTO", policy(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow"}]}`, false))
	refuse("policy with a resource", "OBS", policy(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"ecr:*","Resource":"*"}]}`, false))
	refuse("policy that shuts out", "GK", policy(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"ecr:*"}]}`, false))
	_, err = w.ecr.GetRepositoryPolicy(ctx, &sdk.GetRepositoryPolicyInput{RepositoryName: app})
	refuse("no repository policy", "MOTO", err)
	_, err = w.ecr.DeleteRepositoryPolicy(ctx, &sdk.DeleteRepositoryPolicyInput{RepositoryName: app})
	refuse("no repository policy to delete", "MOTO", err)
	_, err = w.ecr.PutRegistryPolicy(ctx, &sdk.PutRegistryPolicyInput{PolicyText: aws.String("{}")})
	refuse("bad registry policy", "MOTO", err)
	_, err = w.ecr.GetRegistryPolicy(ctx, &sdk.GetRegistryPolicyInput{})
	refuse("no registry policy", "MOTO", err)
	_, err = w.ecr.DeleteRegistryPolicy(ctx, &sdk.DeleteRegistryPolicyInput{})
	refuse("no registry policy to delete", "MOTO", err)
	_, err = w.ecr.GetAuthorizationToken(ctx, &sdk.GetAuthorizationTokenInput{RegistryIds: []string{"999999999999"}})
	refuse("another registry's token", "GK", err)

	// Images.
	id := func(digest, tag string) types.ImageIdentifier {
		var id types.ImageIdentifier
		if digest != "" {
			id.ImageDigest = &digest
		}
		if tag != "" {
			id.ImageTag = &tag
		}
		return id
	}
	_, err = w.ecr.ListImages(ctx, &sdk.ListImagesInput{RepositoryName: none})
	refuse("images of no repository", "OBS", err)
	describe := func(id types.ImageIdentifier) error {
		_, err := w.ecr.DescribeImages(ctx, &sdk.DescribeImagesInput{RepositoryName: aws.String("full"), ImageIds: []types.ImageIdentifier{id}})
		return err
	}
	refuse("no image", "OBS", describe(id("", "t")))
	refuse("a tag of another image", "GK", describe(id(fixed, "part")))
	refuse("no identifier", "MOTO", describe(types.ImageIdentifier{}))
	batch := func(name, mark string, ids ...types.ImageIdentifier) {
		out := must[sdk.BatchDeleteImageOutput](w)(w.ecr.BatchDeleteImage(ctx, &sdk.BatchDeleteImageInput{RepositoryName: aws.String("full"), ImageIds: ids}))
		got := must[sdk.BatchGetImageOutput](w)(w.ecr.BatchGetImage(ctx, &sdk.BatchGetImageInput{RepositoryName: aws.String("full"), ImageIds: ids}))
		if len(out.ImageIds) > 0 || len(out.Failures) != 1 {
			t.Errorf("%s: %d deleted, %d failures", name, len(out.ImageIds), len(out.Failures))
			return
		}
		f := out.Failures[0]
		if len(got.Failures) == 1 && *got.Failures[0].FailureReason != *f.FailureReason {
			t.Errorf("%s: %s to read, %s to delete", name, *got.Failures[0].FailureReason, *f.FailureReason)
		}
		lines = append(lines, name+": "+hide.Replace(string(f.FailureCode)+": "+*f.FailureReason)+" ["+mark+"]")
	}
	batch("image of a batch", "MOTO", id("", "t"))
	batch("digest of a batch", "MOTO", id("sha256:0", ""))
	batch("bad digest of a batch", "MOTO", id("0000", ""))
	batch("bad tag of a batch", "GK", id("", "-x"))
	batch("nothing of a batch", "MOTO", types.ImageIdentifier{})
	batch("mismatch of a batch", "GK", id(fixed, "part"))
	batch("held by an index", "OBS", id(digestOf(part), ""))
	batch("last tag of what is held", "OBS", id("", "part"))
	_, err = w.ecr.BatchDeleteImage(ctx, &sdk.BatchDeleteImageInput{RepositoryName: app, ImageIds: []types.ImageIdentifier{}})
	refuse("empty batch", "OBS", err)

	put := func(repository, manifest, tag, digest string) error {
		in := &sdk.PutImageInput{RepositoryName: &repository, ImageManifest: &manifest}
		if tag != "" {
			in.ImageTag = &tag
		}
		if digest != "" {
			in.ImageDigest = &digest
		}
		_, err := w.ecr.PutImage(ctx, in)
		return err
	}
	refuse("image twice", "OBS", put("full", part, "part", ""))
	refuse("image twice, no tag", "GK", put("full", part, "", ""))
	refuse("immutable tag", "OBS", put("immutable", w.manifest("immutable", "b"), "v1", ""))
	refuse("digest of another manifest", "GK", put("full", part, "x", fixed))
	refuse("no JSON", "OBS", put("app", "{", "v1", ""))
	refuse("no manifest", "GK", put("app", `{"schemaVersion":2}`, "v1", ""))
	refuse("bad tag", "GK", put("full", part, "a b", ""))
	refuse("no layers", "OBS", put("app", strings.ReplaceAll(part, digestOf("layer of part"), "sha256:"+strings.Repeat("0", 64)), "v1", ""))
	refuse("no images", "OBS", put("app", index(part), "v1", ""))
	_, err = w.ecr.ListImageReferrers(ctx, &sdk.ListImageReferrersInput{RepositoryName: app, SubjectId: &types.SubjectIdentifier{ImageDigest: aws.String("x")}})
	refuse("referrers of no digest", "GK", err)

	// Layers.
	_, err = w.ecr.GetDownloadUrlForLayer(ctx, &sdk.GetDownloadUrlForLayerInput{RepositoryName: app, LayerDigest: aws.String("sha256:00")})
	refuse("no layer", "OBS", err)
	upload := func() *string {
		return must[sdk.InitiateLayerUploadOutput](w)(w.ecr.InitiateLayerUpload(ctx, &sdk.InitiateLayerUploadInput{RepositoryName: app})).UploadId
	}
	send := func(id *string, first, last int64, content string) error {
		_, err := w.ecr.UploadLayerPart(ctx, &sdk.UploadLayerPartInput{RepositoryName: app, UploadId: id, PartFirstByte: &first, PartLastByte: &last, LayerPartBlob: []byte(content)})
		return err
	}
	complete := func(id *string, digests ...string) error {
		_, err := w.ecr.CompleteLayerUpload(ctx, &sdk.CompleteLayerUploadInput{RepositoryName: app, UploadId: id, LayerDigests: digests})
		return err
	}
	a := upload()
	hideUploads := func(err error) error {
		return fmt.Errorf("%s", strings.ReplaceAll(refusal(err), *a, "UPLOAD"))
	}
	refuse("empty upload", "OBS", hideUploads(complete(a, digestOf("x"))))
	refuse("part that is no start", "GK", hideUploads(send(a, 1, 2, "xy")))
	refuse("part of another length", "GK", hideUploads(send(a, 0, 2, "xy")))
	refuse("long part", "GK", hideUploads(send(a, 0, 20<<20, strings.Repeat("x", 20<<20+1))))
	refuse("no upload", "GK", send(aws.String("00000000-0000-0000-0000-000000000000"), 0, 0, "x"))
	refuse("no id of an upload", "GK", send(aws.String("x"), 0, 0, "x"))
	refuse("two digests", "GK", complete(a, digestOf("x"), digestOf("y")))
	if err := send(a, 0, 0, "x"); err != nil {
		t.Fatal(err)
	}
	if err := send(a, 1, 1, "y"); err != nil {
		t.Fatal(err)
	}
	refuse("small part", "OBS", complete(a, digestOf("xy")))
	a = upload()
	if err := send(a, 0, 1, "xy"); err != nil {
		t.Fatal(err)
	}
	refuse("wrong digest", "GK", hideUploads(complete(a, digestOf("xx"))))
	w.layer("app", "xy")
	a = upload()
	if err := send(a, 0, 1, "xy"); err != nil {
		t.Fatal(err)
	}
	refuse("layer twice", "GK", complete(a, digestOf("xy")))

	// Lifecycle policies.
	rules := `{"rules":[{"rulePriority":1,"description":"` + strings.Repeat("x", 80) + `","selection":{"tagStatus":"tagged","countType":"imageCountMoreThan","countNumber":1},"action":{"type":"expire"}}]}`
	_, err = w.ecr.PutLifecyclePolicy(ctx, &sdk.PutLifecyclePolicyInput{RepositoryName: app, LifecyclePolicyText: &rules})
	refuse("bad lifecycle policy", "OBS", err)
	_, err = w.ecr.PutLifecyclePolicy(ctx, &sdk.PutLifecyclePolicyInput{RepositoryName: app, LifecyclePolicyText: aws.String("{}")})
	refuse("short lifecycle policy", "OBS", err)
	_, err = w.ecr.GetLifecyclePolicy(ctx, &sdk.GetLifecyclePolicyInput{RepositoryName: app})
	refuse("no lifecycle policy", "MOTO", err)
	_, err = w.ecr.DeleteLifecyclePolicy(ctx, &sdk.DeleteLifecyclePolicyInput{RepositoryName: app})
	refuse("no lifecycle policy to delete", "MOTO", err)
	_, err = w.ecr.StartLifecyclePolicyPreview(ctx, &sdk.StartLifecyclePolicyPreviewInput{RepositoryName: app})
	refuse("no lifecycle policy to preview", "GK", err)
	_, err = w.ecr.StartLifecyclePolicyPreview(ctx, &sdk.StartLifecyclePolicyPreviewInput{RepositoryName: app, LifecyclePolicyText: &rules})
	refuse("bad lifecycle policy to preview", "OBS", err)
	_, err = w.ecr.GetLifecyclePolicyPreview(ctx, &sdk.GetLifecyclePolicyPreviewInput{RepositoryName: app})
	refuse("no preview", "GK", err)

	// Pull through cache rules.
	rule := func(host string, change func(*sdk.CreatePullThroughCacheRuleInput)) error {
		in := &sdk.CreatePullThroughCacheRuleInput{EcrRepositoryPrefix: aws.String("hub"), UpstreamRegistryUrl: &host}
		if change != nil {
			change(in)
		}
		_, err := w.ecr.CreatePullThroughCacheRule(ctx, in)
		return err
	}
	secret := aws.String("arn:aws:secretsmanager:us-east-1:123456789012:secret:ecr-pullthroughcache/hub-AbCdEf")
	refuse("no host", "OBS", rule("https://quay.io", nil))
	refuse("another registry's host", "OBS", rule("quay.io", func(in *sdk.CreatePullThroughCacheRuleInput) { in.UpstreamRegistry = types.UpstreamRegistryK8s }))
	refuse("ECR", "Berth", rule("123456789012.dkr.ecr.us-east-1.amazonaws.com", nil))
	refuse("Docker Hub without a secret", "OBS", rule("registry-1.docker.io", nil))
	refuse("no secret", "GK", rule("registry-1.docker.io", func(in *sdk.CreatePullThroughCacheRuleInput) { in.CredentialArn = secret }))
	refuse("secret of another name", "OBS", rule("registry-1.docker.io", func(in *sdk.CreatePullThroughCacheRuleInput) {
		in.CredentialArn = aws.String("arn:aws:secretsmanager:us-east-1:123456789012:secret:hub-AbCdEf")
	}))
	refuse("upstream prefix", "Berth", rule("quay.io", func(in *sdk.CreatePullThroughCacheRuleInput) { in.UpstreamRepositoryPrefix = aws.String("team") }))
	refuse("rule of another account", "GK", rule("quay.io", func(in *sdk.CreatePullThroughCacheRuleInput) { in.RegistryId = aws.String("999999999999") }))
	if err := rule("quay.io", nil); err != nil {
		t.Fatal(err)
	}
	refuse("rule twice", "GK", rule("quay.io", nil))
	_, err = w.ecr.DescribePullThroughCacheRules(ctx, &sdk.DescribePullThroughCacheRulesInput{EcrRepositoryPrefixes: []string{"none"}})
	refuse("no rule", "GK", err)
	_, err = w.ecr.UpdatePullThroughCacheRule(ctx, &sdk.UpdatePullThroughCacheRuleInput{EcrRepositoryPrefix: aws.String("hub"), CredentialArn: secret})
	refuse("no secret to update to", "GK", err)
	_, err = w.ecr.UpdatePullThroughCacheRule(ctx, &sdk.UpdatePullThroughCacheRuleInput{EcrRepositoryPrefix: aws.String("hub")})
	refuse("nothing to update", "GK", err)
	_, err = w.ecr.UpdatePullThroughCacheRule(ctx, &sdk.UpdatePullThroughCacheRuleInput{EcrRepositoryPrefix: aws.String("hub"), CustomRoleArn: aws.String("arn:aws:iam::123456789012:role/r")})
	refuse("role to update to", "Berth", err)

	// What is not there.
	_, err = w.ecr.StartImageScan(ctx, &sdk.StartImageScanInput{RepositoryName: aws.String("full"), ImageId: new(id("", "v1"))})
	refuse("scan", "Berth", err)
	_, err = w.ecr.DescribeImageScanFindings(ctx, &sdk.DescribeImageScanFindingsInput{RepositoryName: aws.String("full"), ImageId: new(id("", "v1"))})
	refuse("findings", "MOTO", err)
	_, err = w.ecr.PutRegistryScanningConfiguration(ctx, &sdk.PutRegistryScanningConfigurationInput{ScanType: types.ScanTypeEnhanced})
	refuse("enhanced scanning", "Berth", err)
	_, err = w.ecr.PutReplicationConfiguration(ctx, &sdk.PutReplicationConfigurationInput{ReplicationConfiguration: &types.ReplicationConfiguration{Rules: []types.ReplicationRule{{
		Destinations: []types.ReplicationDestination{{Region: aws.String("eu-west-1"), RegistryId: aws.String(account)}},
	}}}})
	refuse("replication", "Berth", err)
	_, err = w.ecr.GetAccountSetting(ctx, &sdk.GetAccountSettingInput{Name: aws.String("COLOUR")})
	refuse("no account setting", "GK", err)
	_, err = w.ecr.PutAccountSetting(ctx, &sdk.PutAccountSettingInput{Name: aws.String("COLOUR"), Value: aws.String("red")})
	refuse("no account setting to put", "GK", err)
	_, err = w.ecr.PutAccountSetting(ctx, &sdk.PutAccountSettingInput{Name: aws.String("BLOB_MOUNTING"), Value: aws.String("DISABLED")})
	refuse("account setting", "Berth", err)

	compareGolden(t, "testdata/errors.golden", lines)
}
