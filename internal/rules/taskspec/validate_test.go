package taskspec_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/taskspec"
)

var update = flag.Bool("update", false, "write testdata/errors.golden")

// fargate returns a small valid definition for Fargate.
func fargate() model.TaskDefinition {
	return model.TaskDefinition{
		Family: "web", NetworkMode: "awsvpc", RequiresCompatibilities: []string{"FARGATE"}, CPU: "256", Memory: "512",
		ExecutionRoleARN: "arn:aws:iam::123456789012:role/exec",
		ContainerDefinitions: []model.ContainerDefinition{
			{Name: "app", Image: "nginx"},
			{Name: "init", Image: "busybox", Essential: new(false)},
		},
	}
}

// ec2 returns a small valid definition for container instances.
func ec2() model.TaskDefinition {
	return model.TaskDefinition{
		Family: "web",
		ContainerDefinitions: []model.ContainerDefinition{
			{Name: "app", Image: "nginx", Memory: new(int32(128))},
			{Name: "side", Image: "busybox", Memory: new(int32(64)), Essential: new(false)},
		},
	}
}

type refusal struct {
	name string
	base func() model.TaskDefinition
	edit func(d *model.TaskDefinition, app *model.ContainerDefinition)
	// seen says that the text was found in real AWS output.
	seen bool
}

func awslogs(extra map[string]string) *model.LogConfiguration {
	options := map[string]string{"awslogs-group": "/ecs/web", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "ecs"}
	for k, v := range extra {
		if v == "-" {
			delete(options, k)
			continue
		}
		options[k] = v
	}
	return &model.LogConfiguration{LogDriver: "awslogs", Options: options}
}

const secretARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf"

func secret(name, from string) func(def, container) {
	return func(_ def, c container) { c.Secrets = []model.SecretReference{{Name: name, ValueFrom: from}} }
}

func login(from string) func(def, container) {
	return func(_ def, c container) {
		c.RepositoryCredentials = &model.RepositoryCredentials{CredentialsParameter: from}
	}
}

const fsID = "fs-0123456789abcdef0"

func volumes(list ...model.Volume) func(def, container) {
	return func(d def, _ container) { d.Volumes = list }
}

func docker(c model.DockerVolumeConfiguration) func(def, container) {
	return volumes(model.Volume{Name: "v", DockerVolumeConfiguration: &c})
}

func efs(c model.EFSVolumeConfiguration) func(def, container) {
	return volumes(model.Volume{Name: "v", EFSVolumeConfiguration: &c})
}

func filesIn(dir string, secrets ...string) func(def, container) {
	return func(_ def, c container) {
		c.DockerLabels = map[string]string{taskspec.LabelSecretsFiles: dir}
		for _, name := range secrets {
			c.Secrets = append(c.Secrets, model.SecretReference{Name: name, ValueFrom: "x"})
		}
	}
}

type (
	def       = *model.TaskDefinition
	container = *model.ContainerDefinition
)

var refusals = []refusal{
	{"family missing", ec2, func(d def, _ container) { d.Family = "" }, false},
	{"family with a dot", ec2, func(d def, _ container) { d.Family = "a.b" }, false},
	{"no containers", ec2, func(d def, _ container) { d.ContainerDefinitions = nil }, true},
	{"eleven containers", ec2, func(d def, _ container) {
		for i := range 9 {
			d.ContainerDefinitions = append(d.ContainerDefinitions, model.ContainerDefinition{Name: fmt.Sprint("c", i), Image: "x", Memory: new(int32(8))})
		}
	}, true},
	{"network mode", ec2, func(d def, _ container) { d.NetworkMode = "overlay" }, false},
	{"compatibility", ec2, func(d def, _ container) { d.RequiresCompatibilities = []string{"MOON"} }, false},
	{"role", ec2, func(d def, _ container) { d.TaskRoleARN = "arn:aws:s3:::bucket" }, true},
	{"task cpu", ec2, func(d def, _ container) { d.CPU = "12" }, true},
	{"task memory", ec2, func(d def, _ container) { d.Memory = "lots" }, false},
	{"architecture", ec2, func(d def, _ container) { d.RuntimePlatform = &model.RuntimePlatform{CPUArchitecture: "MIPS"} }, false},
	{"placement constraint type", ec2, func(d def, _ container) {
		d.PlacementConstraints = []model.PlacementConstraint{{Type: "distinctInstance"}}
	}, false},
	{"external awsvpc", ec2, func(d def, _ container) { d.NetworkMode, d.RequiresCompatibilities = "awsvpc", []string{"EXTERNAL"} }, false},
	{"managed bridge", ec2, func(d def, _ container) { d.RequiresCompatibilities = []string{"MANAGED_INSTANCES"} }, false},

	{"name missing", ec2, func(_ def, c container) { c.Name = "" }, true},
	{"name with a space", ec2, func(_ def, c container) { c.Name = "a b" }, true},
	{"name twice", ec2, func(d def, _ container) { d.ContainerDefinitions[1].Name = "app" }, false},
	{"image missing", ec2, func(_ def, c container) { c.Image = "" }, true},
	{"image with a space", ec2, func(_ def, c container) { c.Image = "a b" }, true},
	{"image digest", ec2, func(_ def, c container) { c.Image = "nginx@sha256:12" }, true},
	{"memory missing", ec2, func(_ def, c container) { c.Memory = nil }, true},
	{"memory small", ec2, func(_ def, c container) { c.Memory = new(int32(5)) }, false},
	{"reservation above memory", ec2, func(_ def, c container) { c.MemoryReservation = new(int32(128)) }, false},
	{"container cpu negative", ec2, func(_ def, c container) { c.CPU = -1 }, false},
	{"no essential", ec2, func(d def, c container) { c.Essential = new(false) }, true},
	{"containers above task cpu", fargate, func(_ def, c container) { c.CPU = 512 }, true},
	{"container above task memory", fargate, func(_ def, c container) { c.Memory = new(int32(1024)) }, true},
	{"containers above task memory", fargate, func(d def, c container) {
		c.Memory, d.ContainerDefinitions[1].Memory = new(int32(400)), new(int32(400))
	}, false},

	{"host port differs", fargate, func(_ def, c container) {
		c.PortMappings = []model.PortMapping{{ContainerPort: new(int32(80)), HostPort: new(int32(8080))}}
	}, true},
	{"port without number", fargate, func(_ def, c container) { c.PortMappings = []model.PortMapping{{}} }, false},
	{"port zero", fargate, func(_ def, c container) { c.PortMappings = []model.PortMapping{{ContainerPort: new(int32(0))}} }, false},
	{"port protocol", fargate, func(_ def, c container) {
		c.PortMappings = []model.PortMapping{{ContainerPort: new(int32(80)), Protocol: "sctp"}}
	}, false},
	{"port name", fargate, func(_ def, c container) {
		c.PortMappings = []model.PortMapping{{ContainerPort: new(int32(80)), Name: "-Web"}}
	}, false},
	{"port twice", fargate, func(d def, c container) {
		c.PortMappings = []model.PortMapping{{ContainerPort: new(int32(3000))}}
		d.ContainerDefinitions[1].PortMappings = c.PortMappings
	}, true},
	{"port range", fargate, func(_ def, c container) { c.PortMappings = []model.PortMapping{{ContainerPortRange: "9-1"}} }, false},
	{"port without network", ec2, func(d def, c container) {
		d.NetworkMode = "none"
		c.PortMappings = []model.PortMapping{{ContainerPort: new(int32(80))}}
	}, false},
	{"links with awsvpc", fargate, func(_ def, c container) { c.Links = []string{"init"} }, false},
	{"unknown link", ec2, func(_ def, c container) { c.Links = []string{"db"} }, false},
	{"link cycle", ec2, func(d def, c container) {
		c.Links, d.ContainerDefinitions[1].Links = []string{"side"}, []string{"app:web"}
	}, true},
	{"hostname with awsvpc", fargate, func(_ def, c container) { c.Hostname = "h" }, false},

	{"environment name", ec2, func(_ def, c container) { c.Environment = []model.KeyValuePair{{Value: "x"}} }, false},
	{"secret shadows environment", ec2, func(_ def, c container) {
		c.Environment = []model.KeyValuePair{{Name: "FOO"}}
		c.Secrets = []model.SecretReference{{Name: "FOO", ValueFrom: "x"}}
	}, true},
	{"start timeout", ec2, func(_ def, c container) { c.StartTimeout = new(int32(-1)) }, false},
	{"stop timeout on Fargate", fargate, func(_ def, c container) { c.StopTimeout = new(int32(121)) }, false},
	{"version consistency", ec2, func(_ def, c container) { c.VersionConsistency = "maybe" }, false},
	{"health check empty", ec2, func(_ def, c container) { c.HealthCheck = &model.HealthCheck{} }, false},
	{"health check kind", ec2, func(_ def, c container) { c.HealthCheck = &model.HealthCheck{Command: []string{"curl"}} }, false},
	{"health check interval", ec2, func(_ def, c container) {
		c.HealthCheck = &model.HealthCheck{Command: []string{"CMD", "true"}, Interval: new(int32(4))}
	}, false},
	{"restart period", ec2, func(_ def, c container) {
		c.RestartPolicy = &model.ContainerRestartPolicy{Enabled: true, RestartAttemptPeriod: new(int32(59))}
	}, false},

	{"dependency unknown", ec2, func(_ def, c container) {
		c.DependsOn = []model.ContainerDependency{{ContainerName: "db", Condition: "START"}}
	}, true},
	{"dependency condition", ec2, func(_ def, c container) {
		c.DependsOn = []model.ContainerDependency{{ContainerName: "side", Condition: "SOON"}}
	}, false},
	{"dependency essential", ec2, func(d def, _ container) {
		d.ContainerDefinitions[1].DependsOn = []model.ContainerDependency{{ContainerName: "app", Condition: "COMPLETE"}}
	}, true},
	{"dependency without check", ec2, func(_ def, c container) {
		c.DependsOn = []model.ContainerDependency{{ContainerName: "side", Condition: "HEALTHY"}}
	}, false},
	{"dependency cycle", ec2, func(d def, c container) {
		c.DependsOn = []model.ContainerDependency{{ContainerName: "side", Condition: "START"}}
		d.ContainerDefinitions[1].VolumesFrom = []model.VolumeFrom{{SourceContainer: "app"}}
	}, false},
	{"dependency on itself", ec2, func(_ def, c container) {
		c.DependsOn = []model.ContainerDependency{{ContainerName: "app", Condition: "START"}}
	}, false},

	{"capability", ec2, func(_ def, c container) {
		c.LinuxParameters = &model.LinuxParameters{Capabilities: &model.KernelCapabilities{Add: []string{"CAP_KILL"}}}
	}, false},
	{"swappiness", ec2, func(_ def, c container) { c.LinuxParameters = &model.LinuxParameters{Swappiness: new(int32(101))} }, false},
	{"tmpfs size", ec2, func(_ def, c container) {
		c.LinuxParameters = &model.LinuxParameters{Tmpfs: []model.Tmpfs{{ContainerPath: "/t"}}}
	}, false},
	{"tmpfs option", ec2, func(_ def, c container) {
		c.LinuxParameters = &model.LinuxParameters{Tmpfs: []model.Tmpfs{{ContainerPath: "/t", Size: 1, MountOptions: []string{"x"}}}}
	}, false},
	{"sysctl", ec2, func(_ def, c container) {
		c.SystemControls = []model.SystemControl{{Namespace: "kernel.panic", Value: "1"}}
	}, false},
	{"ulimit name", ec2, func(_ def, c container) { c.Ulimits = []model.Ulimit{{Name: "files"}} }, false},
	{"ulimit order", ec2, func(_ def, c container) { c.Ulimits = []model.Ulimit{{Name: "nofile", SoftLimit: 2, HardLimit: 1}} }, false},

	{"log driver", ec2, func(_ def, c container) { c.LogConfiguration = &model.LogConfiguration{LogDriver: "none"} }, false},
	{"awslogs without options", ec2, func(_ def, c container) { c.LogConfiguration = &model.LogConfiguration{LogDriver: "awslogs"} }, true},
	{"awslogs prefix on Fargate", fargate, func(_ def, c container) {
		c.LogConfiguration = awslogs(map[string]string{"awslogs-stream-prefix": "-"})
	}, true},
	{"awslogs unknown option", ec2, func(_ def, c container) { c.LogConfiguration = awslogs(map[string]string{"awslogs-stream": "x"}) }, true},
	{"awslogs empty group", ec2, func(_ def, c container) { c.LogConfiguration = awslogs(map[string]string{"awslogs-group": ""}) }, true},
	{"awslogs create group", ec2, func(_ def, c container) {
		c.LogConfiguration = awslogs(map[string]string{"awslogs-create-group": "false"})
	}, true},
	{"awslogs mode", ec2, func(_ def, c container) { c.LogConfiguration = awslogs(map[string]string{"mode": "fast"}) }, false},
	{"awslogs buffer", ec2, func(_ def, c container) { c.LogConfiguration = awslogs(map[string]string{"max-buffer-size": "big"}) }, false},
	{"awslogs pattern", ec2, func(_ def, c container) {
		c.LogConfiguration = awslogs(map[string]string{"awslogs-multiline-pattern": "("})
	}, false},

	{"volume name", ec2, func(d def, _ container) { d.Volumes = []model.Volume{{}} }, false},
	{"volume twice", ec2, func(d def, _ container) { d.Volumes = []model.Volume{{Name: "v"}, {Name: "v"}} }, false},
	{"volume of two kinds", ec2, func(d def, _ container) {
		d.Volumes = []model.Volume{{Name: "v", Host: &model.HostVolumeProperties{}, ConfiguredAtLaunch: new(true)}}
	}, false},
	{"two volumes at launch", ec2, volumes(model.Volume{Name: "v", ConfiguredAtLaunch: new(true)}, model.Volume{Name: "w", ConfiguredAtLaunch: new(true)}), false},
	{"host path", ec2, volumes(model.Volume{Name: "v", Host: &model.HostVolumeProperties{SourcePath: "data"}}), false},
	{"Docker scope", ec2, docker(model.DockerVolumeConfiguration{Scope: "host"}), false},
	{"autoprovision of a task's volume", ec2, docker(model.DockerVolumeConfiguration{Autoprovision: new(true)}), false},
	{"EFS without id", ec2, efs(model.EFSVolumeConfiguration{}), false},
	{"EFS id", ec2, efs(model.EFSVolumeConfiguration{FileSystemID: "fs-../x"}), false},
	{"EFS encryption", ec2, efs(model.EFSVolumeConfiguration{FileSystemID: fsID, TransitEncryption: "TLS"}), false},
	{"EFS port", ec2, efs(model.EFSVolumeConfiguration{FileSystemID: fsID, TransitEncryption: "ENABLED", TransitEncryptionPort: new(int32(70000))}), false},
	{"EFS port in the clear", ec2, efs(model.EFSVolumeConfiguration{FileSystemID: fsID, TransitEncryptionPort: new(int32(7000))}), false},
	{"EFS root", ec2, efs(model.EFSVolumeConfiguration{FileSystemID: fsID, RootDirectory: "data"}), false},
	{"EFS root above", ec2, efs(model.EFSVolumeConfiguration{FileSystemID: fsID, RootDirectory: "/a/../../etc"}), false},
	{"EFS IAM", ec2, efs(model.EFSVolumeConfiguration{FileSystemID: fsID, TransitEncryption: "ENABLED", AuthorizationConfig: &model.EFSAuthorizationConfig{IAM: "YES"}}), false},
	{"EFS IAM in the clear", ec2, efs(model.EFSVolumeConfiguration{FileSystemID: fsID, AuthorizationConfig: &model.EFSAuthorizationConfig{IAM: "ENABLED"}}), false},
	{"EFS access point", ec2, efs(model.EFSVolumeConfiguration{FileSystemID: fsID, TransitEncryption: "ENABLED", AuthorizationConfig: &model.EFSAuthorizationConfig{AccessPointID: "ap-1"}}), false},
	{"EFS access point in the clear", ec2, efs(model.EFSVolumeConfiguration{FileSystemID: fsID, AuthorizationConfig: &model.EFSAuthorizationConfig{AccessPointID: "fsap-0123456789abcdef0"}}), false},
	{"EFS access point with a root", ec2, efs(model.EFSVolumeConfiguration{FileSystemID: fsID, RootDirectory: "/x", TransitEncryption: "ENABLED", AuthorizationConfig: &model.EFSAuthorizationConfig{AccessPointID: "fsap-0123456789abcdef0"}}), false},
	{"mount of unknown volume", ec2, func(_ def, c container) {
		c.MountPoints = []model.MountPoint{{SourceVolume: "v", ContainerPath: "/v"}}
	}, true},
	{"mount path", ec2, func(d def, c container) {
		d.Volumes = []model.Volume{{Name: "v"}}
		c.MountPoints = []model.MountPoint{{SourceVolume: "v", ContainerPath: "v"}}
	}, false},
	{"volumes from nobody", ec2, func(_ def, c container) { c.VolumesFrom = []model.VolumeFrom{{SourceContainer: "db"}} }, false},
	{"user", ec2, func(_ def, c container) { c.User = "root:" }, false},

	{"Fargate with bridge", fargate, func(d def, _ container) { d.NetworkMode = "" }, true},
	{"Fargate without cpu", fargate, func(d def, _ container) { d.CPU = "" }, true},
	{"Fargate without memory", fargate, func(d def, _ container) { d.Memory = "" }, true},
	{"Fargate size", fargate, func(d def, _ container) { d.CPU, d.Memory = "1024", "1024" }, true},
	{"Fargate constraint", fargate, func(d def, _ container) {
		d.PlacementConstraints = []model.PlacementConstraint{{Type: "memberOf", Expression: "attribute:x exists"}}
	}, true},
	{"Fargate pid mode", fargate, func(d def, _ container) { d.PIDMode = "host" }, true},
	{"Fargate ipc mode", fargate, func(d def, _ container) { d.IPCMode = "task" }, true},
	{"Fargate small storage", fargate, func(d def, _ container) { d.EphemeralStorage = &model.EphemeralStorage{SizeInGiB: 20} }, true},
	{"Fargate large storage", fargate, func(d def, _ container) { d.EphemeralStorage = &model.EphemeralStorage{SizeInGiB: 201} }, true},
	{"Fargate Docker volume", fargate, docker(model.DockerVolumeConfiguration{}), false},
	{"Fargate host volume", fargate, func(d def, _ container) {
		d.Volumes = []model.Volume{{Name: "v", Host: &model.HostVolumeProperties{SourcePath: "/x"}}}
	}, true},
	{"Fargate privileged", fargate, func(_ def, c container) { c.Privileged = new(true) }, false},
	{"Fargate NET_ADMIN", fargate, func(_ def, c container) {
		c.LinuxParameters = &model.LinuxParameters{Capabilities: &model.KernelCapabilities{Add: []string{"NET_ADMIN"}}}
	}, false},
	{"Fargate device", fargate, func(_ def, c container) {
		c.LinuxParameters = &model.LinuxParameters{Devices: []model.Device{{HostPath: "/dev/kvm"}}}
	}, false},
	{"Fargate shared memory", fargate, func(_ def, c container) { c.LinuxParameters = &model.LinuxParameters{SharedMemorySize: new(int32(64))} }, false},
	{"Fargate ulimit", fargate, func(_ def, c container) { c.Ulimits = []model.Ulimit{{Name: "core", SoftLimit: 1, HardLimit: 1}} }, false},
	{"Fargate ECR without role", fargate, func(d def, c container) {
		d.ExecutionRoleARN, c.Image = "", "123456789012.dkr.ecr.us-east-1.amazonaws.com/web:1"
	}, true},
	{"Fargate awslogs without role", fargate, func(d def, c container) { d.ExecutionRoleARN, c.LogConfiguration = "", awslogs(nil) }, true},
	{"Fargate log driver", fargate, func(_ def, c container) { c.LogConfiguration = &model.LogConfiguration{LogDriver: "syslog"} }, false},
	{"Fargate secrets without role", fargate, func(d def, c container) {
		d.ExecutionRoleARN, c.Secrets = "", []model.SecretReference{{Name: "A", ValueFrom: "b"}}
	}, true},

	{"secret without name", fargate, secret("", "b"), false},
	{"secret without valueFrom", fargate, secret("A", ""), false},
	{"secret name", fargate, secret("A=B", "b"), false},
	{"secret twice", fargate, func(_ def, c container) {
		c.Secrets = []model.SecretReference{{Name: "A", ValueFrom: "a"}, {Name: "A", ValueFrom: "b"}}
	}, true},
	{"secrets without role", ec2, secret("A", "b"), true},
	{"secretOptions without role", ec2, func(_ def, c container) {
		c.LogConfiguration = awslogs(nil)
		c.LogConfiguration.SecretOptions = []model.SecretReference{{Name: "mode", ValueFrom: "b"}}
	}, false},
	{"registry login without role", ec2, login("login"), false},
	{"parameter with a json key", fargate, secret("A", "name:json-key::"), false},
	{"parameter of another service", fargate, secret("A", "arn:aws:s3:us-east-1:123456789012:parameter/x"), false},
	{"parameter ARN without a name", fargate, secret("A", "arn:aws:ssm:us-east-1:123456789012:parameter/"), false},
	{"parameter ARN of something else", fargate, secret("A", "arn:aws:ssm:us-east-1:123456789012:document/x"), false},
	{"parameter name too long", fargate, secret("A", strings.Repeat("x", 2049)), false},
	{"secret ARN without a region", fargate, secret("A", "arn:aws:secretsmanager::123456789012:secret:x"), false},
	{"secret ARN with eight fields", fargate, secret("A", secretARN+":key"), false},
	{"secret ARN with stage and id", fargate, secret("A", secretARN+":key:AWSCURRENT:0b1c"), false},
	{"secretOption without name", fargate, func(_ def, c container) {
		c.LogConfiguration = awslogs(nil)
		c.LogConfiguration.SecretOptions = []model.SecretReference{{ValueFrom: "b"}}
	}, false},
	{"secretOption is an option", fargate, func(_ def, c container) {
		c.LogConfiguration = awslogs(map[string]string{"mode": "blocking"})
		c.LogConfiguration.SecretOptions = []model.SecretReference{{Name: "mode", ValueFrom: "b"}}
	}, false},
	{"registry login empty", fargate, login(""), false},
	{"registry login elsewhere", fargate, login("arn:aws:ssm:us-east-1:123456789012:parameter/x"), false},
	{"registry login with a json key", fargate, login(secretARN + ":key::"), false},
	{"role of another service", ec2, func(d def, _ container) { d.ExecutionRoleARN = "arn:aws:sts::123456789012:role/x" }, true},
	{"role without a name", ec2, func(d def, _ container) { d.TaskRoleARN = "arn:aws:iam::123456789012:role/path/" }, true},
	{"role with a long name", ec2, func(d def, _ container) { d.TaskRoleARN = strings.Repeat("r", 65) }, true},
	{"label of the task endpoint", ec2, func(_ def, c container) {
		c.DockerLabels = map[string]string{taskspec.LabelTaskEndpoint: "no"}
	}, false},
	{"secrets as files without secrets", ec2, filesIn("/run/secrets"), false},
	{"secrets as files in no directory", fargate, filesIn("secrets", "A"), false},
	{"secrets as files in the root", fargate, filesIn("/", "A"), false},
	{"secrets as files with a slash", fargate, filesIn("/run/secrets", "A/B"), false},
	{"secrets as hidden files", fargate, filesIn("/run/secrets", "..data"), false},
	{"secrets as files in a volume", fargate, func(d def, c container) {
		filesIn("/run/secrets", "A")(d, c)
		d.Volumes = []model.Volume{{Name: "v"}}
		c.MountPoints = []model.MountPoint{{SourceVolume: "v", ContainerPath: "/run/secrets/"}}
	}, false},

	{"unsupported secret option", fargate, func(_ def, c container) {
		c.LogConfiguration = awslogs(map[string]string{"awslogs-stream-prefix": "ecs"})
		c.LogConfiguration.SecretOptions = []model.SecretReference{{Name: "awslogs-endpoint", ValueFrom: "b"}}
	}, false},
	{"unsupported environment files", ec2, func(_ def, c container) { c.EnvironmentFiles = []model.EnvironmentFile{{Type: "s3", Value: "v"}} }, false},
	{"unsupported firelens", ec2, func(_ def, c container) { c.FirelensConfiguration = &model.FirelensConfiguration{Type: "fluentbit"} }, false},
	{"unsupported log driver", ec2, func(_ def, c container) { c.LogConfiguration = &model.LogConfiguration{LogDriver: "awsfirelens"} }, false},
	{"unsupported S3 files", ec2, func(d def, _ container) {
		d.Volumes = []model.Volume{{Name: "v", S3FilesVolumeConfiguration: &model.S3FilesVolumeConfiguration{FileSystemARN: "a"}}}
	}, false},
	{"unsupported FSx", ec2, func(d def, _ container) {
		d.Volumes = []model.Volume{{Name: "v", FSxWindowsFileServerVolumeConfiguration: &model.FSxWindowsFileServerVolumeConfiguration{}}}
	}, false},
	{"unsupported proxy", ec2, func(d def, _ container) { d.ProxyConfiguration = &model.ProxyConfiguration{ContainerName: "app"} }, false},
	{"unsupported accelerators", ec2, func(d def, _ container) { d.InferenceAccelerators = []model.InferenceAccelerator{{DeviceName: "d"}} }, false},
	{"unsupported GPU", ec2, func(_ def, c container) {
		c.ResourceRequirements = []model.ResourceRequirement{{Type: "GPU", Value: "1"}}
	}, false},
	{"unsupported Windows", ec2, func(d def, _ container) {
		d.RuntimePlatform = &model.RuntimePlatform{OperatingSystemFamily: "WINDOWS_SERVER_2022_CORE"}
	}, false},
	{"unsupported credential specs", ec2, func(_ def, c container) { c.CredentialSpecs = []string{"credentialspec:arn"} }, false},
	{"unsupported security options", ec2, func(_ def, c container) { c.DockerSecurityOptions = []string{"label:x"} }, false},
	{"unsupported faults", ec2, func(d def, _ container) { d.EnableFaultInjection = new(true) }, false},
	{"unsupported pid mode", fargate, func(d def, _ container) { d.PIDMode = "task" }, false},
	{"unsupported ipc mode", ec2, func(d def, _ container) { d.IPCMode = "task" }, false},
	{"unsupported interactive", ec2, func(_ def, c container) { c.Interactive = new(true) }, false},
}

// Every refusal has its text in testdata/errors.golden, where those that were
// not seen in real output are marked.
func TestValidate_Refusals(t *testing.T) {
	var got strings.Builder
	for _, r := range refusals {
		d := r.base()
		r.edit(&d, &d.ContainerDefinitions[0])
		err := taskspec.Validate(d)
		var refused *taskspec.Error
		if !errors.As(err, &refused) {
			t.Errorf("%s: got %v, want a refusal", r.name, err)
			continue
		}
		mark := ""
		switch {
		case strings.HasPrefix(r.name, "unsupported"):
			mark = " (ours: AWS accepts it)"
		case !r.seen:
			mark = " (uncertain)"
		}
		fmt.Fprintf(&got, "%s: %s: %s%s\n", r.name, refused.Class, refused.Message, mark)
	}
	compareGolden(t, "testdata/errors.golden", got.String())
}

func compareGolden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	wantLines, gotLines := strings.Split(string(want), "\n"), strings.Split(got, "\n")
	for i := range max(len(wantLines), len(gotLines)) {
		var w, g string
		if i < len(wantLines) {
			w = wantLines[i]
		}
		if i < len(gotLines) {
			g = gotLines[i]
		}
		if w != g {
			t.Errorf("%s line %d:\n got %s\nwant %s", path, i+1, g, w)
		}
	}
}

func TestValidate_Accepts(t *testing.T) {
	for _, tc := range []struct {
		name string
		base func() model.TaskDefinition
		edit func(d def, app container)
	}{
		{"Fargate", fargate, func(def, container) {}},
		{"EC2", ec2, func(def, container) {}},
		{"task memory instead of the containers'", ec2, func(d def, c container) { d.Memory, c.Memory = "1 GB", nil }},
		{"vCPU", fargate, func(d def, _ container) { d.CPU, d.Memory = ".5 vcpu", "1GB" }},
		{"role name", ec2, func(d def, _ container) { d.TaskRoleARN = "path/role" }},
		{"digest", ec2, func(_ def, c container) { c.Image = "r.example:5000/a/b:1@sha256:" + strings.Repeat("0a", 32) }},
		{"dependency", ec2, func(_ def, c container) {
			c.DependsOn = []model.ContainerDependency{{ContainerName: "side", Condition: "SUCCESS"}}
		}},
		{"tcp and udp", fargate, func(_ def, c container) {
			c.PortMappings = []model.PortMapping{{ContainerPort: new(int32(53))}, {ContainerPort: new(int32(53)), Protocol: "udp"}}
		}},
		{"ptrace on Fargate", fargate, func(_ def, c container) {
			c.LinuxParameters = &model.LinuxParameters{Capabilities: &model.KernelCapabilities{Add: []string{"SYS_PTRACE"}, Drop: []string{"ALL"}}}
		}},
		{"sysctl", fargate, func(_ def, c container) {
			c.SystemControls = []model.SystemControl{{Namespace: "net.core.somaxconn", Value: "1024"}}
		}},
		{"no IPC", ec2, func(d def, _ container) { d.IPCMode = "none" }},
		{"unlimited", ec2, func(_ def, c container) { c.Ulimits = []model.Ulimit{{Name: "memlock", SoftLimit: -1, HardLimit: -1}} }},
		{"ARM", fargate, func(d def, _ container) { d.RuntimePlatform = &model.RuntimePlatform{CPUArchitecture: "ARM64"} }},
		{"what make demo registers", fargate, func(d def, c container) {
			d.TaskRoleARN = "arn:aws:iam::123456789012:role/task"
			c.PortMappings = []model.PortMapping{{ContainerPort: new(int32(3000)), Protocol: "tcp"}}
			c.Environment = []model.KeyValuePair{{Name: "NODE_ENV", Value: "production"}}
			c.LogConfiguration = awslogs(map[string]string{"awslogs-create-group": "true"})
			c.DependsOn = []model.ContainerDependency{{ContainerName: "init", Condition: "COMPLETE"}}
			d.ContainerDefinitions[1].Command = []string{"./migrate.sh"}
		}},
		{"registry login", fargate, func(_ def, c container) {
			c.RepositoryCredentials = &model.RepositoryCredentials{CredentialsParameter: "login"}
		}},
		{"registry login by ARN", fargate, login(secretARN)},
		{"secrets in every form", fargate, func(_ def, c container) {
			for i, from := range []string{
				"x", "/a/b.c-d", "/aws/reference/secretsmanager/x", "arn:aws:ssm:us-east-1:123456789012:parameter/a/b",
				secretARN, "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-creds:password::",
				secretARN + "::AWSPREVIOUS:", secretARN + ":::0b1c", secretARN + ":user:AWSPREVIOUS:", secretARN + ":user::0b1c",
			} {
				c.Secrets = append(c.Secrets, model.SecretReference{Name: fmt.Sprint("S", i), ValueFrom: from})
			}
		}},
		{"secrets as files", fargate, filesIn("/run/secrets", "A", "b.pem")},
		{"secret option", fargate, func(_ def, c container) {
			c.LogConfiguration = awslogs(nil)
			c.LogConfiguration.SecretOptions = []model.SecretReference{{Name: "mode", ValueFrom: secretARN}}
		}},
		{"Docker volumes", ec2, volumes(
			model.Volume{Name: "a", DockerVolumeConfiguration: &model.DockerVolumeConfiguration{}},
			model.Volume{Name: "b", DockerVolumeConfiguration: &model.DockerVolumeConfiguration{Scope: "shared", Autoprovision: new(true), Driver: "rexray", DriverOpts: map[string]string{"size": "1"}}},
		)},
		{"EFS", fargate, efs(model.EFSVolumeConfiguration{FileSystemID: fsID, RootDirectory: "/a/b/", TransitEncryption: "DISABLED"})},
		{"EFS with all", fargate, efs(model.EFSVolumeConfiguration{
			FileSystemID: fsID, RootDirectory: "/", TransitEncryption: "ENABLED", TransitEncryptionPort: new(int32(2999)),
			AuthorizationConfig: &model.EFSAuthorizationConfig{AccessPointID: "fsap-0123456789abcdef0", IAM: "ENABLED"},
		})},
		{"EBS", fargate, volumes(model.Volume{Name: "v", ConfiguredAtLaunch: new(true)})},
		{"no task endpoint", ec2, func(_ def, c container) {
			c.DockerLabels = map[string]string{taskspec.LabelTaskEndpoint: "off"}
		}},
		{"multiline", fargate, func(_ def, c container) {
			c.LogConfiguration = awslogs(map[string]string{"awslogs-multiline-pattern": `^\[`, "mode": "non-blocking", "max-buffer-size": "25m", "awslogs-create-group": "true"})
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := tc.base()
			tc.edit(&d, &d.ContainerDefinitions[0])
			if err := taskspec.Validate(d); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFargateSizes(t *testing.T) {
	n := 0
	for _, cpu := range []int64{256, 512, 1024, 2048, 4096, 8192, 16384} {
		for memory := int64(512); memory <= 131072; memory += 512 {
			if taskspec.FargateSizeExists(cpu, memory) {
				n++
			}
		}
	}
	// 3 + 4 + 7 + 13 + 23 + 12 + 12 rows of AWS's table.
	if n != 74 {
		t.Errorf("the table has %d sizes, want 74", n)
	}
	for _, tc := range []struct {
		cpu, memory int64
		want        bool
	}{
		{256, 512, true},
		{256, 1536, false},
		{256, 2048, true},
		{256, 3072, false},
		{1024, 1024, false},
		{1024, 8192, true},
		{1024, 9216, false},
		{8192, 16384, true},
		{8192, 17408, false},
		{8192, 61440, true},
		{16384, 32768, true},
		{16384, 122880, true},
		{16384, 36864, false},
		{32768, 65536, false},
	} {
		if got := taskspec.FargateSizeExists(tc.cpu, tc.memory); got != tc.want {
			t.Errorf("%d units with %d MiB: %v", tc.cpu, tc.memory, got)
		}
	}
}
