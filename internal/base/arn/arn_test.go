package arn_test

import (
	"slices"
	"testing"

	"berth.dev/berth/internal/base/arn"
)

func TestScope(t *testing.T) {
	s := arn.Scope{Region: "us-east-1", AccountID: "123456789012"}
	for _, tc := range []struct{ got, want string }{
		{s.Cluster("default"), "arn:aws:ecs:us-east-1:123456789012:cluster/default"},
		{s.Task("default", "0123"), "arn:aws:ecs:us-east-1:123456789012:task/default/0123"},
		{s.Container("c", "t", "u"), "arn:aws:ecs:us-east-1:123456789012:container/c/t/u"},
		{s.ContainerInstance("c", "i"), "arn:aws:ecs:us-east-1:123456789012:container-instance/c/i"},
		{s.TaskDefinition("web", 7), "arn:aws:ecs:us-east-1:123456789012:task-definition/web:7"},
		{s.CapacityProvider("FARGATE"), "arn:aws:ecs:us-east-1:123456789012:capacity-provider/FARGATE"},
		{s.Service("c", "web"), "arn:aws:ecs:us-east-1:123456789012:service/c/web"},
		{s.ServiceDeployment("c", "web", "x"), "arn:aws:ecs:us-east-1:123456789012:service-deployment/c/web/x"},
		{s.ServiceRevision("c", "web", "1"), "arn:aws:ecs:us-east-1:123456789012:service-revision/c/web/1"},
		{s.ServiceLinkedRole(), "arn:aws:iam::123456789012:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS"},
		{s.LogGroup("/ecs/x"), "arn:aws:logs:us-east-1:123456789012:log-group:/ecs/x"},
		{s.Root(), "arn:aws:iam::123456789012:root"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %s, want %s", tc.got, tc.want)
		}
	}
}

func TestParse(t *testing.T) {
	a, err := arn.Parse("arn:aws:ecs:us-east-1:123456789012:task/default/0123")
	if err != nil {
		t.Fatal(err)
	}
	if a.Type() != "task" || !slices.Equal(a.Path(), []string{"default", "0123"}) {
		t.Errorf("type %q, path %q", a.Type(), a.Path())
	}
	if a.String() != "arn:aws:ecs:us-east-1:123456789012:task/default/0123" {
		t.Errorf("round trip gave %s", a)
	}
	for _, bad := range []string{"", "task", "arn:aws:ecs", "arn:aws:ecs:r:1:", "arn::ecs:r:1:x", "urn:aws:ecs:r:1:x"} {
		if _, err := arn.Parse(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
