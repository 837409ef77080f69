package ecs_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/wire/api/ecsapi"
)

// maximal is a definition that sets every member that Berth accepts.
func maximal() *ecsapi.RegisterTaskDefinitionInput {
	return &ecsapi.RegisterTaskDefinitionInput{
		Family: new("max"), NetworkMode: "awsvpc", Cpu: new("1 vCPU"), Memory: new("2GB"), IpcMode: "none",
		TaskRoleArn: new("arn:aws:iam::123456789012:role/task"), ExecutionRoleArn: new("arn:aws:iam::123456789012:role/exec"),
		RequiresCompatibilities: []ecsapi.Compatibility{"EC2"},
		EphemeralStorage:        &ecsapi.EphemeralStorage{SizeInGiB: new(int32(30))},
		RuntimePlatform:         &ecsapi.RuntimePlatform{CpuArchitecture: "X86_64", OperatingSystemFamily: "LINUX"},
		EnableFaultInjection:    new(false),
		PlacementConstraints:    []ecsapi.TaskDefinitionPlacementConstraint{{Type: "memberOf", Expression: new("attribute:x exists")}},
		Volumes: []ecsapi.Volume{
			{Name: new("scratch")}, {Name: new("data"), Host: &ecsapi.HostVolumeProperties{SourcePath: new("/data")}},
		},
		Tags: []ecsapi.Tag{{Key: new("team"), Value: new("a")}},
		ContainerDefinitions: []ecsapi.ContainerDefinition{
			{
				Name: new("app"), Image: new("registry.example/app:1"), Cpu: new(int32(512)), Memory: new(int32(1024)), MemoryReservation: new(int32(512)),
				RepositoryCredentials: &ecsapi.RepositoryCredentials{CredentialsParameter: new("login")},
				PortMappings: []ecsapi.PortMapping{
					{ContainerPort: new(int32(80)), Name: new("web"), AppProtocol: "http"},
					{ContainerPort: new(int32(53)), HostPort: new(int32(53)), Protocol: "udp"},
					{ContainerPortRange: new("8000-8010"), Protocol: "tcp"},
				},
				Essential: new(true), RestartPolicy: &ecsapi.ContainerRestartPolicy{Enabled: new(true), IgnoredExitCodes: []int32{0}, RestartAttemptPeriod: new(int32(60))},
				EntryPoint: []string{"/entry"}, Command: []string{"serve"}, Environment: []ecsapi.KeyValuePair{{Name: new("B"), Value: new("2")}, {Name: new("A"), Value: new("")}},
				Secrets:     []ecsapi.Secret{{Name: new("PASSWORD"), ValueFrom: new("arn:aws:secretsmanager:us-east-1:123456789012:secret:db:password::")}, {Name: new("KEY"), ValueFrom: new("/a/key")}},
				MountPoints: []ecsapi.MountPoint{{SourceVolume: new("scratch"), ContainerPath: new("/s")}, {SourceVolume: new("data"), ContainerPath: new("/d"), ReadOnly: new(true)}},
				VolumesFrom: []ecsapi.VolumeFrom{{SourceContainer: new("init"), ReadOnly: new(true)}},
				LinuxParameters: &ecsapi.LinuxParameters{
					Capabilities:       &ecsapi.KernelCapabilities{Add: []string{"SYS_PTRACE"}, Drop: []string{"KILL"}},
					Devices:            []ecsapi.Device{{HostPath: new("/dev/fuse"), ContainerPath: new("/dev/fuse"), Permissions: []ecsapi.DeviceCgroupPermission{"read", "write"}}},
					InitProcessEnabled: new(true), SharedMemorySize: new(int32(128)),
					Tmpfs: []ecsapi.Tmpfs{{ContainerPath: new("/t"), Size: new(int32(64)), MountOptions: []string{"noexec"}}}, MaxSwap: new(int32(0)), Swappiness: new(int32(10)),
				},
				DependsOn: []ecsapi.ContainerDependency{{ContainerName: new("init"), Condition: "COMPLETE"}}, StartTimeout: new(int32(60)), StopTimeout: new(int32(30)),
				VersionConsistency: "enabled", User: new("1000:1000"), WorkingDirectory: new("/w"), Privileged: new(false), ReadonlyRootFilesystem: new(true),
				PseudoTerminal: new(true), DockerLabels: map[string]string{"a": "b"}, Ulimits: []ecsapi.Ulimit{{Name: "nofile", SoftLimit: new(int32(1024)), HardLimit: new(int32(2048))}},
				LogConfiguration: &ecsapi.LogConfiguration{
					LogDriver: "awslogs", Options: map[string]string{"awslogs-group": "/ecs/max", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "ecs"},
					SecretOptions: []ecsapi.Secret{{Name: new("awslogs-multiline-pattern"), ValueFrom: new("/a/pattern")}},
				},
				HealthCheck:    &ecsapi.HealthCheck{Command: []string{"CMD-SHELL", "true"}, StartPeriod: new(int32(10))},
				SystemControls: []ecsapi.SystemControl{{Namespace: new("net.core.somaxconn"), Value: new("1024")}},
			},
			{Name: new("init"), Image: new("busybox"), Essential: new(false), MemoryReservation: new(int32(64))},
		},
	}
}

// asInput is what a tool registers that copies a described definition.
func asInput(d *ecsapi.TaskDefinition, tags []ecsapi.Tag) *ecsapi.RegisterTaskDefinitionInput {
	return &ecsapi.RegisterTaskDefinitionInput{
		Family: d.Family, TaskRoleArn: d.TaskRoleArn, ExecutionRoleArn: d.ExecutionRoleArn, NetworkMode: d.NetworkMode,
		ContainerDefinitions: d.ContainerDefinitions, Volumes: d.Volumes, PlacementConstraints: d.PlacementConstraints,
		RequiresCompatibilities: d.RequiresCompatibilities, Cpu: d.Cpu, Memory: d.Memory, Tags: tags, PidMode: d.PidMode, IpcMode: d.IpcMode,
		EphemeralStorage: d.EphemeralStorage, RuntimePlatform: d.RuntimePlatform, EnableFaultInjection: d.EnableFaultInjection,
	}
}

// What was registered is described with nothing changed but what ECS fills in,
// and registering the description gives the same again.
func TestRegister_RoundTrip(t *testing.T) {
	w := newWorld(t)
	registered, err := w.RegisterTaskDefinition(t.Context(), maximal())
	if err != nil {
		t.Fatal(err)
	}
	described, err := w.DescribeTaskDefinition(t.Context(), &ecsapi.DescribeTaskDefinitionInput{TaskDefinition: new("max"), Include: []ecsapi.TaskDefinitionField{"TAGS"}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(registered.TaskDefinition, described.TaskDefinition); diff != "" {
		t.Errorf("described differs from registered: %s", diff)
	}
	if diff := cmp.Diff(registered.Tags, described.Tags); diff != "" {
		t.Error(diff)
	}

	want := maximal()
	want.Cpu, want.Memory = new("1024"), new("2048")
	want.Volumes[0].Host = &ecsapi.HostVolumeProperties{}
	app, init := &want.ContainerDefinitions[0], &want.ContainerDefinitions[1]
	app.PortMappings[0].HostPort, app.PortMappings[0].Protocol = new(int32(80)), "tcp"
	app.HealthCheck.Interval, app.HealthCheck.Timeout, app.HealthCheck.Retries = new(int32(30)), new(int32(5)), new(int32(3))
	init.Cpu = new(int32(0))
	init.PortMappings, init.Environment, init.MountPoints = []ecsapi.PortMapping{}, []ecsapi.KeyValuePair{}, []ecsapi.MountPoint{}
	init.VolumesFrom, init.SystemControls = []ecsapi.VolumeFrom{}, []ecsapi.SystemControl{}
	if diff := cmp.Diff(want, asInput(described.TaskDefinition, described.Tags)); diff != "" {
		t.Errorf("Terraform would see drift: %s", diff)
	}

	again, err := w.RegisterTaskDefinition(t.Context(), asInput(described.TaskDefinition, described.Tags))
	if err != nil {
		t.Fatal(err)
	}
	if *again.TaskDefinition.Revision != 2 {
		t.Errorf("revision %d", *again.TaskDefinition.Revision)
	}
	again.TaskDefinition.Revision, again.TaskDefinition.TaskDefinitionArn = described.TaskDefinition.Revision, described.TaskDefinition.TaskDefinitionArn
	if diff := cmp.Diff(described.TaskDefinition, again.TaskDefinition); diff != "" {
		t.Errorf("registering the description changed it: %s", diff)
	}
}

func TestDefinitionLife(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	for range 3 {
		w.register("web", nil)
	}
	w.register("web-b", nil)
	revision := func(ref string) string {
		out, err := w.DescribeTaskDefinition(ctx, &ecsapi.DescribeTaskDefinitionInput{TaskDefinition: &ref})
		if err != nil {
			return say(err)
		}
		return fmt.Sprintf("%d %s", *out.TaskDefinition.Revision, out.TaskDefinition.Status)
	}
	if got := revision("web"); got != "3 ACTIVE" {
		t.Error(got)
	}
	for range 2 { // the second time changes nothing
		out, err := w.DeregisterTaskDefinition(ctx, &ecsapi.DeregisterTaskDefinitionInput{TaskDefinition: new("web:3")})
		if err != nil || out.TaskDefinition.Status != "INACTIVE" || out.TaskDefinition.DeregisteredAt == nil {
			t.Fatalf("%+v, %v", out, err)
		}
	}
	for ref, want := range map[string]string{
		"web": "2 ACTIVE", "web:3": "3 INACTIVE", "arn:aws:ecs:us-east-1:123456789012:task-definition/web:1": "1 ACTIVE",
		"arn:aws:ecs:us-east-1:123456789012:task-definition/web": "2 ACTIVE", "web:9": "ClientException: Unable to describe task definition.",
	} {
		if got := revision(ref); got != want {
			t.Errorf("%s: got %s, want %s", ref, got, want)
		}
	}

	list := func(in ecsapi.ListTaskDefinitionsInput) string {
		var names []string
		for {
			out, err := w.ListTaskDefinitions(ctx, &in)
			if err != nil {
				return say(err)
			}
			for _, arn := range out.TaskDefinitionArns {
				names = append(names, arn[strings.LastIndex(arn, "/")+1:])
			}
			if out.NextToken == nil {
				return strings.Join(names, " ")
			}
			in.NextToken = out.NextToken
		}
	}
	for _, tc := range []struct {
		in   ecsapi.ListTaskDefinitionsInput
		want string
	}{
		{ecsapi.ListTaskDefinitionsInput{}, "web:1 web:2 web-b:1"},
		{ecsapi.ListTaskDefinitionsInput{Sort: "DESC", MaxResults: new(int32(1))}, "web-b:1 web:2 web:1"},
		{ecsapi.ListTaskDefinitionsInput{FamilyPrefix: new("web"), MaxResults: new(int32(1))}, "web:1 web:2"},
		{ecsapi.ListTaskDefinitionsInput{Status: "INACTIVE"}, "web:3"},
		{ecsapi.ListTaskDefinitionsInput{NextToken: new("x")}, "InvalidParameterException: Invalid token: 'x'"},
		{ecsapi.ListTaskDefinitionsInput{MaxResults: new(int32(0))}, "InvalidParameterException: Invalid value for maxResults: 0. It must be between 1 and 100."},
	} {
		if got := list(tc.in); got != tc.want {
			t.Errorf("got %s, want %s", got, tc.want)
		}
	}

	deleted, err := w.DeleteTaskDefinitions(ctx, &ecsapi.DeleteTaskDefinitionsInput{TaskDefinitions: []string{"web:3", "web:2", "web", "web:7"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(deleted.TaskDefinitions) != 1 || deleted.TaskDefinitions[0].Status != "DELETE_IN_PROGRESS" || len(deleted.Failures) != 3 {
		t.Errorf("%+v", deleted)
	}
	if got := revision("web:3"); got != "3 DELETE_IN_PROGRESS" {
		t.Error(got)
	}
	if d := w.register("web", nil); *d.Revision != 4 {
		t.Errorf("revision %d", *d.Revision)
	}
}

func TestListTaskDefinitionFamilies(t *testing.T) {
	w := newWorld(t)
	for _, family := range []string{"api", "web", "web-old"} {
		w.register(family, nil)
	}
	if _, err := w.DeregisterTaskDefinition(t.Context(), &ecsapi.DeregisterTaskDefinitionInput{TaskDefinition: new("web-old:1")}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		prefix, status, want string
	}{{"", "", "api web web-old"}, {"web", "ACTIVE", "web"}, {"", "INACTIVE", "web-old"}, {"x", "ALL", ""}} {
		out, err := w.ListTaskDefinitionFamilies(t.Context(), &ecsapi.ListTaskDefinitionFamiliesInput{FamilyPrefix: &tc.prefix, Status: ecsapi.TaskDefinitionFamilyStatus(tc.status)})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(out.Families, " "); got != tc.want {
			t.Errorf("%+v: got %s", tc, got)
		}
	}
}
