package rotation_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/rotation"
)

func TestParseTask(t *testing.T) {
	scope := arn.Scope{Region: "us-east-1", AccountID: "123456789012"}
	const prefix = "arn:aws:ecs:us-east-1:123456789012:task-definition/"
	for _, tc := range []struct {
		text, family string
		revision     int
		ok           bool
	}{
		{prefix + "rotate", "rotate", 0, true},
		{prefix + "rotate:7", "rotate", 7, true},
		{prefix + "rotate:07", "", 0, false},
		{prefix + "rotate:0", "", 0, false},
		{prefix + "rotate:x", "", 0, false},
		{prefix, "", 0, false},
		{prefix + "a/b", "", 0, false},
		{"rotate:7", "", 0, false},
		{"arn:aws:ecs:eu-west-1:123456789012:task-definition/rotate", "", 0, false},
		{"arn:aws:ecs:us-east-1:999999999999:task-definition/rotate", "", 0, false},
		{"arn:aws:ecs:us-east-1:123456789012:service/rotate", "", 0, false},
		{"arn:aws:lambda:us-east-1:123456789012:function:rotate", "", 0, false},
	} {
		family, revision, ok := rotation.ParseTask(tc.text, scope)
		if ok != tc.ok || ok && (family != tc.family || revision != tc.revision) {
			t.Errorf("%s: got %s, %d, %v", tc.text, family, revision, ok)
		}
	}
}

func TestPlaceOf(t *testing.T) {
	if diff := cmp.Diff(rotation.Place{Cluster: "default"}, rotation.PlaceOf(&model.Secret{})); diff != "" {
		t.Error(diff)
	}
	s := &model.Secret{Tags: []model.Tag{{Key: "team", Value: "x"}, {Key: rotation.TagCluster, Value: "prod"}, {Key: rotation.TagSubnets, Value: "subnet-1  subnet-2"}, {Key: rotation.TagSecurityGroups, Value: "sg-1"}}}
	if diff := cmp.Diff(rotation.Place{Cluster: "prod", Subnets: []string{"subnet-1", "subnet-2"}, SecurityGroups: []string{"sg-1"}}, rotation.PlaceOf(s)); diff != "" {
		t.Error(diff)
	}
}

func TestEnvironment(t *testing.T) {
	def := &model.TaskDefinition{ContainerDefinitions: []model.ContainerDefinition{{Name: "a"}, {Name: "b"}}}
	env := []model.KeyValuePair{{Name: "SECRET_ARN", Value: "arn"}, {Name: "SECRET_VERSION_ID", Value: "id"}}
	want := model.TaskOverride{ContainerOverrides: []model.ContainerOverride{{Name: "a", Environment: env}, {Name: "b", Environment: env}}}
	if diff := cmp.Diff(want, rotation.Environment(def, "arn", "id")); diff != "" {
		t.Error(diff)
	}
}
