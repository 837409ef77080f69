package ecs_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/caller"
)

func TestTags(t *testing.T) {
	w := newWorld(t)
	n := w.node("n1", "default", 4096, 8192)
	def := w.register("web", func(in *ecsapi.RegisterTaskDefinitionInput) {
		in.Tags = []ecsapi.Tag{{Key: new("from"), Value: new("definition")}}
	})
	task := w.run("web", func(in *ecsapi.RunTaskInput) { in.PropagateTags = "TASK_DEFINITION" }).Tasks[0]
	list := func(arn string) string {
		out, err := w.ListTagsForResource(t.Context(), &ecsapi.ListTagsForResourceInput{ResourceArn: &arn})
		if err != nil {
			return say(err)
		}
		var tags []string
		for _, tag := range out.Tags {
			tags = append(tags, *tag.Key+"="+*tag.Value)
		}
		return strings.Join(tags, " ")
	}
	if got := list(*task.TaskArn); got != "from=definition" {
		t.Errorf("propagated: %s", got)
	}
	arns := []string{*task.TaskArn, *def.TaskDefinitionArn, scope.Cluster("default"), scope.ContainerInstance("default", n)}
	for _, arn := range arns {
		for _, v := range []string{"1", "2"} {
			if _, err := w.TagResource(t.Context(), &ecsapi.TagResourceInput{ResourceArn: &arn, Tags: []ecsapi.Tag{{Key: new("k"), Value: &v}, {Key: new("l"), Value: new("")}}}); err != nil {
				t.Fatal(arn, err)
			}
		}
		if _, err := w.UntagResource(t.Context(), &ecsapi.UntagResourceInput{ResourceArn: &arn, TagKeys: []string{"l", "absent", "from"}}); err != nil {
			t.Fatal(arn, err)
		}
		if got := list(arn); got != "k=2" {
			t.Errorf("%s: %s", arn, got)
		}
	}
	tag := func(arn string, tags ...ecsapi.Tag) error {
		_, err := w.TagResource(t.Context(), &ecsapi.TagResourceInput{ResourceArn: &arn, Tags: tags})
		return err
	}
	one := ecsapi.Tag{Key: new("a"), Value: new("b")}
	var many []ecsapi.Tag
	for i := range 50 {
		many = append(many, ecsapi.Tag{Key: new(fmt.Sprint("t", i)), Value: new("")})
	}
	w.report(*task.TaskArn, model.TaskStopped, nil)
	var lines strings.Builder
	for _, tc := range []struct {
		name string
		err  error
	}{
		{"no ARN", tag("web", one)},
		{"unknown cluster", tag(scope.Cluster("none"), one)},
		{"unknown task", tag(scope.Task("default", "x"), one)},
		{"unknown definition", tag(scope.TaskDefinition("none", 1), one)},
		{"capacity provider", tag(scope.CapacityProvider("FARGATE"), one)},
		{"unknown kind", tag("arn:aws:ecs:us-east-1:123456789012:service/default/web", one)},
		{"stopped task", tag(*task.TaskArn, one)},
		{"reserved", tag(scope.Cluster("default"), ecsapi.Tag{Key: new("aws:ecs:x"), Value: new("")})},
		{"too many", tag(scope.Cluster("default"), many...)},
		{"long key", tag(scope.Cluster("default"), ecsapi.Tag{Key: new(strings.Repeat("k", 129))})},
	} {
		if tc.err == nil {
			t.Errorf("%s was accepted", tc.name)
			continue
		}
		lines.WriteString(tc.name + ": " + say(tc.err) + mark([]string{"unknown cluster", "unknown task"}, tc.name))
	}
	compareGolden(t, "testdata/tag_errors.golden", lines.String())
}

func TestAccountSettings(t *testing.T) {
	w := newWorld(t)
	user := caller.With(t.Context(), caller.Identity{AccountID: "123456789012", ARN: "arn:aws:iam::123456789012:user/ann"})
	effective := func() map[string]string {
		got := map[string]string{}
		in := &ecsapi.ListAccountSettingsInput{EffectiveSettings: new(true), MaxResults: new(int32(4))}
		for {
			out, err := w.ListAccountSettings(user, in)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range out.Settings {
				got[string(s.Name)] = *s.Value
			}
			if out.NextToken == nil {
				return got
			}
			in.NextToken = out.NextToken
		}
	}
	defaults := effective()
	if len(defaults) != 11 || defaults["taskLongArnFormat"] != "enabled" || defaults["containerInsights"] != "disabled" {
		t.Errorf("%v", defaults)
	}
	if _, err := w.PutAccountSettingDefault(user, &ecsapi.PutAccountSettingDefaultInput{Name: "containerInsights", Value: new("enabled")}); err != nil {
		t.Fatal(err)
	}
	if got := effective()["containerInsights"]; got != "enabled" {
		t.Errorf("the account's default is not effective: %s", got)
	}
	out, err := w.PutAccountSetting(user, &ecsapi.PutAccountSettingInput{Name: "containerInsights", Value: new("enhanced")})
	if err != nil {
		t.Fatal(err)
	}
	want := &ecsapi.Setting{Name: "containerInsights", Value: new("enhanced"), PrincipalArn: new("arn:aws:iam::123456789012:user/ann"), Type: "user"}
	if diff := cmp.Diff(want, out.Setting); diff != "" {
		t.Error(diff)
	}
	if got := effective()["containerInsights"]; got != "enhanced" {
		t.Errorf("the user's own is not effective: %s", got)
	}
	list, err := w.ListAccountSettings(user, &ecsapi.ListAccountSettingsInput{})
	if err != nil || len(list.Settings) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	// New clusters follow the account.
	if c, err := w.CreateCluster(user, &ecsapi.CreateClusterInput{ClusterName: new("new")}); err != nil || *c.Cluster.Settings[0].Value != "enabled" {
		t.Errorf("%+v, %v", c, err)
	}
	if deleted, err := w.DeleteAccountSetting(user, &ecsapi.DeleteAccountSettingInput{Name: "containerInsights"}); err != nil || *deleted.Setting.Value != "enabled" {
		t.Errorf("%+v, %v", deleted, err)
	}
	put := func(name, v string) error {
		_, err := w.PutAccountSetting(user, &ecsapi.PutAccountSettingInput{Name: ecsapi.SettingName(name), Value: &v})
		return err
	}
	for _, tc := range []struct {
		err  error
		want string
	}{
		{put("colour", "red"), "InvalidParameterException: colour should be one of [serviceLongArnFormat,taskLongArnFormat,containerInstanceLongArnFormat,awsvpcTrunking,containerInsights,fargateFIPSMode,tagResourceAuthorization,fargateTaskRetirementWaitPeriod,guardDutyActivate,defaultLogDriverMode,fargateEventWindows]"},
		{put("taskLongArnFormat", "disabled"), "InvalidParameterException: You can no longer disable the long ARN format for task resources."},
		{put("guardDutyActivate", "on"), "InvalidParameterException: The setting guardDutyActivate is managed by AWS and cannot be changed."},
		{put("containerInsights", "x"), "InvalidParameterException: Invalid value 'x' for containerInsights. Valid values: enabled, disabled, enhanced."},
		{put("fargateFIPSMode", "enabled"), "InvalidParameterException: fargateFIPSMode enabled is not supported: Berth uses the host's kernel, whose mode it does not control."},
	} {
		if got := say(tc.err); got != tc.want {
			t.Errorf("got %s, want %s", got, tc.want)
		}
	}
}
