package access

import "berth.dev/berth/internal/base/arn"

// ecr follows the Service Authorization Reference of Amazon ECR. Its
// ecr:ResourceTag is the repository's tags, which every check has.
var ecr = join(
	rows(row{}, "GetAuthorizationToken", "PutRegistryPolicy", "GetRegistryPolicy", "DeleteRegistryPolicy", "DescribeRegistry",
		"GetAccountSetting", "PutAccountSetting", "GetRegistryScanningConfiguration", "PutRegistryScanningConfiguration",
		"PutReplicationConfiguration", "CreatePullThroughCacheRule", "DescribePullThroughCacheRules",
		"UpdatePullThroughCacheRule", "DeletePullThroughCacheRule", "ValidatePullThroughCacheRule"),
	table{
		"CreateRepository": {
			on: []target{inRepository}, tags: "tags",
			also: []need{{action: "ecr:TagResource", on: []target{inRepository}, when: "tags.Key"}},
		},
		"DescribeRepositories":                    {on: []target{{path: "repositoryNames", arn: repository, absent: "*"}}},
		"BatchGetRepositoryScanningConfiguration": {on: []target{{path: "repositoryNames", arn: repository}}},
		"TagResource":                             {on: []target{inRepositoryARN}, tags: "tags"},
		"UntagResource":                           {on: []target{inRepositoryARN}, tagKeys: "tagKeys"},
		"ListTagsForResource":                     {on: []target{inRepositoryARN}},
	},
	rows(row{on: []target{inRepository}}, "DeleteRepository", "PutImageTagMutability", "PutImageScanningConfiguration",
		"SetRepositoryPolicy", "GetRepositoryPolicy", "DeleteRepositoryPolicy",
		"ListImages", "DescribeImages", "BatchGetImage", "BatchDeleteImage", "PutImage", "ListImageReferrers",
		"BatchCheckLayerAvailability", "GetDownloadUrlForLayer", "InitiateLayerUpload", "UploadLayerPart", "CompleteLayerUpload",
		"PutLifecyclePolicy", "GetLifecyclePolicy", "DeleteLifecyclePolicy", "StartLifecyclePolicyPreview", "GetLifecyclePolicyPreview",
		"StartImageScan", "DescribeImageScanFindings", "DescribeImageReplicationStatus"),
)

var (
	inRepository    = target{path: "repositoryName", arn: repository}
	inRepositoryARN = target{path: "resourceArn", arn: literal}
)

// repository is that of a name in the registry that the request names, which
// may be another account's.
func repository(v *view, name string) []string {
	if arn.Is(name) {
		return literal(v, name)
	}
	scope := v.Scope
	if registry := v.value("registryId"); registry != "" {
		scope.AccountID = registry
	}
	return []string{scope.Repository(name)}
}
