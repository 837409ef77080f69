package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// mounting is a probe that answers on port 3000 and has one volume at /data.
func mounting(volume types.Volume) *ecs.RegisterTaskDefinitionInput {
	def := fargate(with(container("app", "answer", "3000", "0"), mounts(*volume.Name, "/data", false)))
	def.Volumes = []types.Volume{volume}
	return def
}

// An EFS file system is a directory that the operator names; tasks share it, and an access point leads to a part of it.
func TestEFSFileSystemsAreShared(t *testing.T) {
	t.Parallel()
	const system, point = "fs-0123456789abcdef0", "fsap-0123456789abcdef0"
	dir := t.TempDir()
	b := start(t, "--efs", system+"="+dir, "--efs-access-point", point+"="+system+":/team/app,uid=1000,gid=1000,mode=0750")
	whole := types.Volume{Name: aws.String("shared"), EfsVolumeConfiguration: &types.EFSVolumeConfiguration{FileSystemId: aws.String(system)}}
	part := types.Volume{Name: aws.String("part"), EfsVolumeConfiguration: &types.EFSVolumeConfiguration{
		FileSystemId: aws.String(system), TransitEncryption: types.EFSTransitEncryptionEnabled,
		AuthorizationConfig: &types.EFSAuthorizationConfig{AccessPointId: aws.String(point)},
	}}
	writer, reader, narrow := inside{b.run(t, mounting(whole)), 3000}, inside{b.run(t, mounting(whole)), 3000}, inside{b.run(t, mounting(part)), 3000}
	writer.ask(t, "/write", "path", "/data/from", "data", "one task")
	equal(t, "another task's file", reader.file(t, "/data/from"), "one task")
	if got, err := os.ReadFile(filepath.Join(dir, "from")); err != nil || string(got) != "one task" {
		t.Errorf("on the host: %q, %v", got, err)
	}
	narrow.ask(t, "/write", "path", "/data/to", "data", "a part")
	equal(t, "a file of the access point", reader.file(t, "/data/team/app/to"), "a part")
	narrow.refused(t, "no such file", "/file", "path", "/data/../data/from")
	info, err := os.Stat(filepath.Join(dir, "team", "app"))
	if err != nil || info.Mode().Perm() != 0o750 || info.Sys().(*syscall.Stat_t).Uid != 1000 {
		t.Errorf("the access point's directory: %v, %v", info, err)
	}
	// What was written stays when the tasks are gone.
	for _, k := range []*task{writer.k, reader.k, narrow.k} {
		k.stop(t, "over")
	}
	if got, err := os.ReadFile(filepath.Join(dir, "team", "app", "to")); err != nil || string(got) != "a part" {
		t.Errorf("afterwards: %q, %v", got, err)
	}

	whole.EfsVolumeConfiguration.FileSystemId = aws.String("fs-0000000000000000f")
	if got := b.run(t, mounting(whole)).awaitStatus(t, "STOPPED"); !strings.HasPrefix(aws.ToString(got.StoppedReason), "ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes: ") {
		t.Errorf("a file system that nobody named: %q", aws.ToString(got.StoppedReason))
	}
}

// An EBS volume is as large as it was asked for, is shown by EC2 and goes with its task, unless it is to stay.
func TestEBSVolumesHaveTheirSizeAndEnd(t *testing.T) {
	t.Parallel()
	b, ctx := shared, t.Context()
	_, role := b.newRole(t, strings.ReplaceAll(taskTrust, "ecs-tasks", "ecs"), allow("*", "ec2:*"))
	run := func(keep bool) inside {
		def := mounting(types.Volume{Name: aws.String("disk"), ConfiguredAtLaunch: aws.Bool(true)})
		return inside{b.runIn(t, def, func(in *ecs.RunTaskInput) {
			in.VolumeConfigurations = []types.TaskVolumeConfiguration{{Name: aws.String("disk"), ManagedEBSVolume: &types.TaskManagedEBSVolumeConfiguration{
				RoleArn: &role, SizeInGiB: aws.Int32(1), FilesystemType: types.TaskFilesystemTypeExt4,
				TerminationPolicy: &types.TaskManagedEBSVolumeTerminationPolicy{DeleteOnTermination: aws.Bool(!keep)},
			}}}
		}), 3000}
	}
	volume := func(id string) (ec2types.Volume, error) {
		out, err := b.ec2.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{VolumeIds: []string{id}})
		if err != nil {
			return ec2types.Volume{}, err
		}
		return out.Volumes[0], nil
	}
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprint("kept ", keep), func(t *testing.T) {
			t.Parallel()
			c := run(keep)
			running := c.k.awaitStatus(t, "RUNNING")
			id := attachment(running)["volumeId"]
			kind, size, _ := strings.Cut(c.ask(t, "/size", "path", "/data"), " ")
			if n := must(strconv.Atoi(size))(t); kind != "ef53" || n > 1<<30 || n < 900<<20 {
				t.Errorf("the file system is %s with %d bytes", kind, n)
			}
			c.ask(t, "/allocate", "path", "/data/half", "bytes", fmt.Sprint(512<<20))
			c.refused(t, "no space left on device", "/allocate", "path", "/data/more", "bytes", fmt.Sprint(1<<30))
			got := must(volume(id))(t)
			if got.State != ec2types.VolumeStateInUse || *got.Size != 1 || len(got.Attachments) != 1 || *got.Attachments[0].DeleteOnTermination == keep || *got.AvailabilityZone != *running.AvailabilityZone {
				t.Errorf("in use: %+v", got)
			}
			c.k.stop(t, "over")
			if keep {
				eventually(t, "the volume to be available", func() error {
					if got, err := volume(id); err != nil || got.State != ec2types.VolumeStateAvailable {
						return fmt.Errorf("it is %s, %w", got.State, err)
					}
					return nil
				})
				must(b.ec2.DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: &id}))(t)
			}
			eventually(t, "the volume to be gone", func() error {
				if got, err := volume(id); !hasCode(err, "InvalidVolume.NotFound") {
					return fmt.Errorf("it is %s, %w", got.State, err)
				}
				return nil
			})
			eventually(t, "its file to be gone", func() error {
				if files := must(filepath.Glob(b.path("agent", "volumes", "ebs", id+"*")))(t); len(files) > 0 {
					return fmt.Errorf("there are %v", files)
				}
				return nil
			})
		})
	}
}

// A Docker volume lives as long as its scope says: with its task, or from then on.
func TestDockerVolumesLiveAsTheirScopeSays(t *testing.T) {
	t.Parallel()
	b, name := shared, "e2e-"+random()
	run := func() inside {
		def := onInstance(with(container("app", "answer", "3000", "0"), func(c *types.ContainerDefinition) {
			c.MountPoints = []types.MountPoint{
				{SourceVolume: &name, ContainerPath: aws.String("/shared")},
				{SourceVolume: aws.String("own"), ContainerPath: aws.String("/own")},
				{SourceVolume: aws.String("own"), ContainerPath: aws.String("/seed")}, // an empty one has what the image has there
			}
		}))
		def.Volumes = []types.Volume{
			{Name: &name, DockerVolumeConfiguration: &types.DockerVolumeConfiguration{Scope: types.ScopeShared, Autoprovision: aws.Bool(true), Driver: aws.String("local")}},
			{Name: aws.String("own"), DockerVolumeConfiguration: &types.DockerVolumeConfiguration{Scope: types.ScopeTask, Driver: aws.String("local")}},
		}
		return inside{b.run(t, def), 3000}
	}
	first := run()
	first.ask(t, "/write", "path", "/shared/x", "data", "stays")
	first.ask(t, "/write", "path", "/own/x", "data", "goes")
	equal(t, "the same volume at another path", first.file(t, "/seed/x"), "goes")
	first.k.stop(t, "over")
	second := run()
	equal(t, "the shared volume", second.file(t, "/shared/x"), "stays")
	second.refused(t, "no such file", "/file", "path", "/own/x")
}
