package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"golang.org/x/sys/unix"
)

// Docker's default capabilities.
const defaultCapabilities = "00000000a80425fb"

// inside is a container that answers on its port.
type inside struct {
	k    *task
	port int
}

func (i inside) ask(t *testing.T, path string, query ...string) string {
	t.Helper()
	return i.k.hears(t, i.port, path, query...)
}

func (i inside) file(t *testing.T, name string) string {
	t.Helper()
	return i.ask(t, "/file", "path", name)
}

// refused asks for what must fail, of a container that answers.
func (i inside) refused(t *testing.T, want, path string, query ...string) {
	t.Helper()
	i.ask(t, "/")
	if body, err := i.k.ask(t.Context(), i.port, path, query...); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s %v: %q, %v; want an error with %q", path, query, body, err, want)
	}
}

// status is a line of /proc/self/status.
func (i inside) status(t *testing.T, field string) string {
	t.Helper()
	for _, line := range lines(i.file(t, "/proc/self/status")) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(rest)
		}
	}
	t.Fatalf("/proc/self/status has no %s", field)
	return ""
}

// limit is the soft and hard value of a line of /proc/self/limits.
func (i inside) limit(t *testing.T, name string) string {
	t.Helper()
	for _, line := range lines(i.file(t, "/proc/self/limits")) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return strings.Join(strings.Fields(rest)[:2], " ")
		}
	}
	t.Fatalf("/proc/self/limits has no %s", name)
	return ""
}

// openFiles is Fargate's limit, or this host's where that is lower.
func openFiles(t *testing.T) string {
	t.Helper()
	limit := unix.Rlimit{}
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	raised := unix.Rlimit{Cur: limit.Cur, Max: max(limit.Max, 65535)}
	if unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil {
		limit = raised
	}
	most := min(limit.Max, 65535)
	return fmt.Sprint(most, most)
}

func equal(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %q, want %q", what, got, want)
	}
}

// A feature is a container with something in its definition, and what that must be inside.
type feature struct {
	name   string
	change func(*types.ContainerDefinition)
	holds  func(*testing.T, inside)
}

var fargateFeatures = []feature{
	{"defaults", func(*types.ContainerDefinition) {}, func(t *testing.T, c inside) {
		equal(t, "Seccomp", c.status(t, "Seccomp"), "2")
		equal(t, "CapEff", c.status(t, "CapEff"), defaultCapabilities)
		equal(t, "nofile", c.limit(t, "Max open files"), openFiles(t))
		equal(t, "ids", strings.Join(strings.Fields(c.ask(t, "/id"))[:2], " "), "0 0")
		equal(t, "the image's environment", c.ask(t, "/env", "name", "FROM_IMAGE"), "yes")
		equal(t, "AWS_REGION", c.ask(t, "/env", "name", "AWS_REGION"), "us-east-1")
		equal(t, "AWS_EXECUTION_ENV", c.ask(t, "/env", "name", "AWS_EXECUTION_ENV"), "AWS_ECS_FARGATE")
		equal(t, "/proc/keys, which is masked", c.file(t, "/proc/keys"), "")
		equal(t, "/dev/shm", c.ask(t, "/size", "path", "/dev/shm"), "1021994 "+strconv.Itoa(64<<20))
		equal(t, "process 1", strings.SplitN(c.file(t, "/proc/1/cmdline"), "\x00", 2)[0], "/probe")
		c.refused(t, "read-only file system", "/write", "path", "/proc/sys/kernel/domainname", "data", "x")
	}},
	{"user-and-directory", func(c *types.ContainerDefinition) {
		c.User, c.WorkingDirectory = aws.String("app"), aws.String("/seed")
	}, func(t *testing.T, c inside) {
		equal(t, "id", c.ask(t, "/id"), "1000 1000 [1000 2000]")
		equal(t, "directory", c.ask(t, "/cwd"), "/seed")
		equal(t, "CapEff of a user", c.status(t, "CapEff"), "0000000000000000")
		c.refused(t, "permission denied", "/write", "path", "/etc/passwd", "data", "x")
	}},
	{"entry-point-and-environment", func(c *types.ContainerDefinition) {
		c.EntryPoint = []string{"/bin/probe", "answer"}
		c.Command = c.Command[1:]
		c.Environment = []types.KeyValuePair{{Name: aws.String("FROM_IMAGE"), Value: aws.String("no")}, {Name: aws.String("EMPTY"), Value: aws.String("")}}
	}, func(t *testing.T, c inside) {
		equal(t, "arguments", strings.SplitN(c.file(t, "/proc/self/cmdline"), "\x00", 3)[0], "/bin/probe")
		equal(t, "FROM_IMAGE", c.ask(t, "/env", "name", "FROM_IMAGE"), "no")
		if !strings.Contains(c.file(t, "/proc/self/environ"), "\x00EMPTY=\x00") {
			t.Error("an empty variable is not in the environment")
		}
	}},
	{"ulimits", func(c *types.ContainerDefinition) {
		c.Ulimits = []types.Ulimit{{Name: types.UlimitNameNofile, SoftLimit: 2048, HardLimit: 2048}}
	}, func(t *testing.T, c inside) { equal(t, "nofile", c.limit(t, "Max open files"), "2048 2048") }},
	{"read-only-root", func(c *types.ContainerDefinition) { c.ReadonlyRootFilesystem = aws.Bool(true) }, func(t *testing.T, c inside) {
		c.refused(t, "read-only file system", "/write", "path", "/tmp/x", "data", "x")
	}},
	{"init", func(c *types.ContainerDefinition) {
		c.LinuxParameters = &types.LinuxParameters{InitProcessEnabled: aws.Bool(true)}
	}, func(t *testing.T, c inside) {
		if first, _, _ := strings.Cut(c.file(t, "/proc/1/cmdline"), "\x00"); first == "/probe" || first == "" {
			t.Errorf("process 1 is %q, not an init", first)
		}
	}},
	{"capabilities", func(c *types.ContainerDefinition) {
		c.LinuxParameters = &types.LinuxParameters{Capabilities: &types.KernelCapabilities{Drop: []string{"ALL"}, Add: []string{"SYS_PTRACE"}}}
	}, func(t *testing.T, c inside) {
		equal(t, "CapEff", c.status(t, "CapEff"), "0000000000080000")
		equal(t, "CapBnd", c.status(t, "CapBnd"), "0000000000080000")
	}},
	{"sysctls", func(c *types.ContainerDefinition) {
		c.SystemControls = []types.SystemControl{{Namespace: aws.String("net.core.somaxconn"), Value: aws.String("777")}, {Namespace: aws.String("kernel.msgmax"), Value: aws.String("9999")}}
	}, func(t *testing.T, c inside) {
		equal(t, "somaxconn", strings.TrimSpace(c.file(t, "/proc/sys/net/core/somaxconn")), "777")
		equal(t, "msgmax", strings.TrimSpace(c.file(t, "/proc/sys/kernel/msgmax")), "9999")
	}},
	{"volume", mounts("scratch", "/data", false), func(t *testing.T, c inside) { c.ask(t, "/write", "path", "/data/from", "data", "here") }},
	{"volumes-from", func(c *types.ContainerDefinition) {
		c.VolumesFrom = []types.VolumeFrom{{SourceContainer: aws.String("volume"), ReadOnly: aws.Bool(true)}}
	}, func(t *testing.T, c inside) {
		equal(t, "a file of another container", c.file(t, "/data/from"), "here")
		c.refused(t, "read-only file system", "/write", "path", "/data/x", "data", "x")
	}},
}

func mounts(volume, path string, readOnly bool) func(*types.ContainerDefinition) {
	return func(c *types.ContainerDefinition) {
		c.MountPoints = []types.MountPoint{{SourceVolume: &volume, ContainerPath: &path, ReadOnly: &readOnly}}
	}
}

// Each member of a container definition has its effect inside the container.
func TestContainerDefinitionsHaveTheirEffect(t *testing.T) {
	t.Parallel()
	hostDir := t.TempDir()
	if err := os.WriteFile(filepath.Join(hostDir, "from"), []byte("the host"), 0o600); err != nil {
		t.Fatal(err)
	}
	instanceFeatures := []feature{
		{"tmpfs", func(c *types.ContainerDefinition) {
			c.LinuxParameters = &types.LinuxParameters{Tmpfs: []types.Tmpfs{{ContainerPath: aws.String("/fast"), Size: 16, MountOptions: []string{"noexec"}}}}
		}, func(t *testing.T, c inside) {
			equal(t, "/fast", c.ask(t, "/size", "path", "/fast"), "1021994 "+strconv.Itoa(16<<20))
			equal(t, "AWS_EXECUTION_ENV", c.ask(t, "/env", "name", "AWS_EXECUTION_ENV"), "AWS_ECS_EC2")
		}},
		{"shared-memory", func(c *types.ContainerDefinition) {
			c.LinuxParameters = &types.LinuxParameters{SharedMemorySize: aws.Int32(128)}
		}, func(t *testing.T, c inside) {
			equal(t, "/dev/shm", c.ask(t, "/size", "path", "/dev/shm"), "1021994 "+strconv.Itoa(128<<20))
		}},
		{"host-volume", mounts("host", "/host", false), func(t *testing.T, c inside) {
			equal(t, "a file of the host", c.file(t, "/host/from"), "the host")
			c.ask(t, "/write", "path", "/host/to", "data", "the task")
			data, err := os.ReadFile(filepath.Join(hostDir, "to"))
			if err != nil || string(data) != "the task" {
				t.Errorf("the host reads %q, %v", data, err)
			}
		}},
		{"host-volume-read-only", mounts("host", "/host", true), func(t *testing.T, c inside) {
			c.refused(t, "read-only file system", "/write", "path", "/host/x", "data", "x")
		}},
		{"privileged", func(c *types.ContainerDefinition) { c.Privileged = aws.Bool(true) }, func(t *testing.T, c inside) {
			equal(t, "Seccomp", c.status(t, "Seccomp"), "0")
			if got := c.status(t, "CapEff"); got == defaultCapabilities {
				t.Errorf("a privileged container has the capabilities %s only", got)
			}
		}},
		{"ulimits", func(c *types.ContainerDefinition) {
			c.Ulimits = []types.Ulimit{{Name: types.UlimitNameNproc, SoftLimit: 500, HardLimit: 600}, {Name: types.UlimitNameCore, SoftLimit: 0, HardLimit: 0}}
		}, func(t *testing.T, c inside) {
			equal(t, "nproc", c.limit(t, "Max processes"), "500 600")
			equal(t, "core", c.limit(t, "Max core file size"), "0 0")
		}},
	}
	for _, kind := range []struct {
		name     string
		features []feature
	}{{"fargate", fargateFeatures}, {"ec2", instanceFeatures}} {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			var all []types.ContainerDefinition
			port := func(i int) int { return 3000 + 2*i }
			for i, f := range kind.features {
				all = append(all, with(container(f.name, "answer", fmt.Sprint(port(i)), "0"), f.change))
			}
			def := fargate(all...)
			def.Volumes = []types.Volume{{Name: aws.String("scratch")}}
			if kind.name == "ec2" {
				def = onInstance(all...)
				def.Volumes = []types.Volume{{Name: aws.String("host"), Host: &types.HostVolumeProperties{SourcePath: &hostDir}}}
			}
			k := shared.run(t, def)
			k.awaitStatus(t, "RUNNING")
			for i, f := range kind.features {
				t.Run(f.name, func(t *testing.T) { f.holds(t, inside{k, port(i)}) })
			}
		})
	}
}

// A task learns about itself at the metadata endpoint, and finds names, from inside.
func TestTaskFindsMetadataAndNamesInside(t *testing.T) {
	t.Parallel()
	k := shared.run(t, fargate(container("app", "answer", "3000", "0"), with(optional(container("done", "exit", "3")), func(c *types.ContainerDefinition) { c.Memory = aws.Int32(64) })))
	other := shared.run(t, fargate(container("app", "answer", "3000", "0")))
	running := k.awaitStatus(t, "RUNNING")
	other.awaitStatus(t, "RUNNING")
	c := inside{k, 3000}
	uri := c.ask(t, "/env", "name", "ECS_CONTAINER_METADATA_URI_V4")
	get := func(path string) map[string]any {
		t.Helper()
		var out map[string]any
		if err := json.Unmarshal([]byte(c.ask(t, "/fetch", "url", uri+path)), &out); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		return out
	}

	self := get("")
	app := find(t, running, "app")
	for member, want := range map[string]string{
		"Name": "app", "Image": probeImage, "ImageID": *app.ImageDigest, "KnownStatus": "RUNNING", "DesiredStatus": "RUNNING",
		"ContainerARN": *app.ContainerArn, "DockerId": *app.RuntimeId, "LogDriver": "awslogs", "Type": "NORMAL",
	} {
		equal(t, member, fmt.Sprint(self[member]), want)
	}
	network, _ := self["Networks"].([]any)[0].(map[string]any)
	equal(t, "IPv4Addresses", fmt.Sprint(network["IPv4Addresses"]), "["+k.address+"]")
	equal(t, "MACAddress", fmt.Sprint(network["MACAddress"]), attachment(running)["macAddress"])

	whole := get("/task")
	for member, want := range map[string]string{
		"TaskARN": k.arn, "Family": k.family, "Revision": "1", "LaunchType": "FARGATE", "KnownStatus": "RUNNING",
		"AvailabilityZone": *running.AvailabilityZone, "Limits": "map[CPU:0.25 Memory:512]",
	} {
		equal(t, member, fmt.Sprint(whole[member]), want)
	}
	if all, _ := whole["Containers"].([]any); len(all) != 2 {
		t.Errorf("the task has %d containers", len(all))
	}
	stats := get("/stats")
	if memory, _ := stats["memory_stats"].(map[string]any); memory["usage"] == nil {
		t.Errorf("no memory usage in %v", stats)
	}
	if all := get("/task/stats"); all[*app.RuntimeId] == nil {
		t.Errorf("no statistics of %s in %v", *app.RuntimeId, all)
	}
	c.refused(t, "", "/fetch", "url", strings.Replace(uri, "/v4/", "/v4/x", 1))

	for name, address := range map[string]string{
		attachment(running)["privateDnsName"]:                                 k.address,
		"ip-" + strings.ReplaceAll(other.address, ".", "-") + ".ec2.internal": other.address,
		"localhost": "127.0.0.1",
	} {
		if got := strings.Fields(c.ask(t, "/lookup", "name", name)); len(got) == 0 || got[0] != address {
			t.Errorf("%s is %v, want %s", name, got, address)
		}
	}
	c.refused(t, "no such host", "/lookup", "name", "nobody.ec2.internal")
	// One task reaches another by its address and by its name.
	equal(t, "another task", c.ask(t, "/fetch", "url", "http://"+other.address+":3000/"), "hello from "+"ip-"+strings.ReplaceAll(other.address, ".", "-")+".ec2.internal")
	c.ask(t, "/fetch", "url", "http://ip-"+strings.ReplaceAll(other.address, ".", "-")+".ec2.internal:3000/")
}
