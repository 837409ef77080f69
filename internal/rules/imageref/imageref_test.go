package imageref_test

import (
	"testing"

	"berth.dev/berth/internal/rules/imageref"
)

const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestParse(t *testing.T) {
	for image, want := range map[string]imageref.Name{
		"nginx":                        {Host: "docker.io", Repository: "library/nginx", Tag: "latest"},
		"my-app:v1":                    {Host: "docker.io", Repository: "library/my-app", Tag: "v1"},
		"team/app@" + digest:           {Host: "docker.io", Repository: "team/app", Digest: digest},
		"team/app:v2@" + digest:        {Host: "docker.io", Repository: "team/app", Tag: "v2", Digest: digest},
		"localhost:5000/a/b:x":         {Host: "localhost:5000", Repository: "a/b", Tag: "x"},
		"public.ecr.aws/nginx/nginx":   {Host: "public.ecr.aws", Repository: "nginx/nginx", Tag: "latest"},
		"ghcr.io/owner/app:1":          {Host: "ghcr.io", Repository: "owner/app", Tag: "1"},
		"12.dkr.ecr.x.amazonaws.com/a": {Host: "12.dkr.ecr.x.amazonaws.com", Repository: "a", Tag: "latest"},
		"123456789012.dkr.ecr.us-east-1.amazonaws.com/my-app:latest": {
			Host: "123456789012.dkr.ecr.us-east-1.amazonaws.com", Repository: "my-app", Tag: "latest", Account: "123456789012", Region: "us-east-1",
		},
		"123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com/a/b": {
			Host: "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", Repository: "a/b", Tag: "latest", Account: "123456789012", Region: "us-gov-west-1",
		},
		"123456789012.dkr-ecr.eu-west-1.on.aws/a:b": {
			Host: "123456789012.dkr-ecr.eu-west-1.on.aws", Repository: "a", Tag: "b", Account: "123456789012", Region: "eu-west-1",
		},
		"123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/a@" + digest: {
			Host: "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", Repository: "a", Digest: digest, Account: "123456789012", Region: "cn-north-1",
		},
	} {
		got, err := imageref.Parse(image)
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", image, got, err, want)
		}
		if got.ECR() != (want.Account != "") {
			t.Errorf("%s: ECR is %v", image, got.ECR())
		}
	}
	for _, image := range []string{"", "Nginx", "a b", "nginx:", "x@sha256:12", "/a"} {
		if got, err := imageref.Parse(image); err == nil {
			t.Errorf("%q was read as %+v", image, got)
		}
	}
}

func TestName_Reference(t *testing.T) {
	for image, want := range map[string]string{"a": "latest", "a:b": "b", "a:b@" + digest: digest} {
		n, err := imageref.Parse(image)
		if err != nil || n.Reference() != want {
			t.Errorf("%s: %s, %v", image, n.Reference(), err)
		}
		if got := n.Pinned(digest); got != "docker.io/library/a@"+digest {
			t.Errorf("%s is pinned as %s", image, got)
		}
	}
}
