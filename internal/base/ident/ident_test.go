package ident_test

import (
	"regexp"
	"testing"

	"berth.dev/berth/internal/base/ident"
)

func TestForms(t *testing.T) {
	for _, tc := range []struct {
		name, pattern string
		make          func() string
	}{
		{"task", `^[0-9a-f]{32}$`, ident.Task},
		{"ec2", `^eni-[0-9a-f]{17}$`, func() string { return ident.EC2("eni") }},
		{"uuid", `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, ident.UUID},
		{"access key", `^AKIA[A-Z2-7]{16}$`, ident.AccessKeyID},
		{"secret", `^[A-Za-z0-9+/]{40}$`, ident.SecretAccessKey},
		{"deployment", `^ecs-svc/[1-9][0-9]{18}$`, ident.Deployment},
		{"service revision", `^[1-9][0-9]{18}$`, ident.ServiceRevision},
		{"service deployment", `^[A-Za-z0-9_-]{21}$`, ident.ServiceDeployment},
		{"token", `^[a-z2-7]{26}$`, func() string { return ident.Token(26) }},
	} {
		pattern := regexp.MustCompile(tc.pattern)
		seen := map[string]bool{}
		for range 100 {
			id := tc.make()
			if !pattern.MatchString(id) {
				t.Fatalf("%s: %q does not match %s", tc.name, id, tc.pattern)
			}
			if seen[id] {
				t.Fatalf("%s: %q twice", tc.name, id)
			}
			seen[id] = true
		}
	}
}
