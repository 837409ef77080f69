package compose

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/compose-spec/compose-go/v2/types"

	"berth.dev/berth/internal/rules/taskspec"
)

// mounts are the volumes of the service but for those of memory.
func (w *work) mounts(out *ecstypes.ContainerDefinition) error {
	for i := range w.s.Volumes {
		v, at := &w.s.Volumes[i], fmt.Sprintf("%s.volumes[%d]", w.at, i)
		switch v.Type {
		case types.VolumeTypeTmpfs: // of linuxParameters
		case types.VolumeTypeBind:
			if v.Bind != nil && !bool(v.Bind.CreateHostPath) {
				w.not(at+".bind.create_host_path", "a directory that is not there is made")
			}
			w.mount(out, w.bind(v.Source), v.Target, v.ReadOnly)
		case types.VolumeTypeVolume:
			if v.Source == "" {
				name := "scratch-" + strconv.Itoa(i)
				w.volumes = append(w.volumes, ecstypes.Volume{Name: &name, Host: &ecstypes.HostVolumeProperties{}})
				w.mount(out, name, v.Target, v.ReadOnly)
				continue
			}
			name, err := w.named(at, v.Source)
			if err != nil {
				return err
			}
			w.mount(out, name, v.Target, v.ReadOnly)
		default:
			w.not(at+".type", "ECS has no volumes of the type %s", v.Type)
		}
	}
	return nil
}

func (w *work) mount(out *ecstypes.ContainerDefinition, name, target string, readOnly bool) {
	out.MountPoints = append(out.MountPoints, ecstypes.MountPoint{SourceVolume: &name, ContainerPath: aws.String(target), ReadOnly: aws.Bool(readOnly)})
}

// bind is a directory or file of the host as a volume of the task, and its
// name.
func (w *work) bind(source string) string {
	w.host("volumes")
	for _, v := range w.volumes {
		if v.Host != nil && aws.ToString(v.Host.SourcePath) == source {
			return *v.Name
		}
	}
	name := "bind-" + strconv.Itoa(len(w.volumes))
	w.volumes = append(w.volumes, ecstypes.Volume{Name: &name, Host: &ecstypes.HostVolumeProperties{SourcePath: &source}})
	return name
}

// named is one of the project's volumes as a Docker volume of scope shared: it
// is the same for every task of a node that names it, and stays.
func (w *work) named(at, source string) (string, error) {
	v, ok := w.project.Volumes[source]
	if !ok {
		return "", fmt.Errorf("%s: the file has no volume %s", at, source)
	}
	w.host("volumes")
	w.keeps = true
	name := v.Name
	if name == "" {
		name = w.project.Name + "_" + source
	}
	if slices.ContainsFunc(w.volumes, func(v ecstypes.Volume) bool { return *v.Name == name }) {
		return name, nil
	}
	c := &ecstypes.DockerVolumeConfiguration{Scope: ecstypes.ScopeShared, Autoprovision: aws.Bool(!bool(v.External)), DriverOpts: v.DriverOpts}
	if v.Driver != "" {
		c.Driver = aws.String(v.Driver)
	}
	if len(v.Labels) > 0 {
		c.Labels = maps.Clone(map[string]string(v.Labels))
	}
	w.volumes = append(w.volumes, ecstypes.Volume{Name: &name, DockerVolumeConfiguration: c})
	return name, nil
}

// secrets give the container its secrets as files.
func (w *work) secrets(out *ecstypes.ContainerDefinition) {
	for i, ref := range w.s.Secrets {
		at := fmt.Sprintf("%s.secrets[%d]", w.at, i)
		target := ref.Target
		if target == "" {
			target = ref.Source
		}
		file, ok := inSecretsDir(target)
		if !ok {
			w.not(at+".target", "secrets are files below %s: it is %s", secretsDir, path.Join(secretsDir, file))
		}
		w.ownership(at, types.FileReferenceConfig(ref))
		w.secret(out, at, file, "secrets."+ref.Source, types.FileObjectConfig(w.project.Secrets[ref.Source]))
	}
}

// ownership says what becomes of owner and mode.
func (w *work) ownership(at string, ref types.FileReferenceConfig) {
	for member, given := range map[string]bool{"uid": ref.UID != "", "gid": ref.GID != "", "mode": ref.Mode != nil} {
		if given {
			w.not(at+"."+member, "the file is the container's user's, and only that user reads it")
		}
	}
}

// secret gives the container one secret as a file of secretsDir.
func (w *work) secret(out *ecstypes.ContainerDefinition, at, file, from string, of types.FileObjectConfig) {
	name := w.project.Name + "/" + strings.TrimPrefix(of.Name, w.project.Name+"_")
	if of.External {
		name = of.Name
	}
	taken := slices.ContainsFunc(out.Environment, func(kv ecstypes.KeyValuePair) bool { return *kv.Name == file }) ||
		slices.ContainsFunc(out.Secrets, func(s ecstypes.Secret) bool { return *s.Name == file })
	if taken {
		w.not(at, "ECS has secrets in the environment too, where %s is something else already: it is not given", file)
		return
	}
	w.out.Secrets = append(w.out.Secrets, Secret{Name: name, External: bool(of.External), path: from, of: of})
	out.Secrets = append(out.Secrets, ecstypes.Secret{Name: &file, ValueFrom: aws.String(w.options.SecretARN(name))})
	if out.DockerLabels == nil {
		out.DockerLabels = map[string]string{}
	}
	out.DockerLabels[taskspec.LabelSecretsFiles] = secretsDir
}

// configs give the container its configs: those below the secrets' directory
// as secrets are, files elsewhere as read-only mounts, as Compose does it.
func (w *work) configs(out *ecstypes.ContainerDefinition) {
	for i, ref := range w.s.Configs {
		at, of := fmt.Sprintf("%s.configs[%d]", w.at, i), types.FileObjectConfig(w.project.Configs[ref.Source])
		target := ref.Target
		if target == "" {
			target = "/" + ref.Source
		}
		switch file, secret := inSecretsDir(target); {
		case secret:
			w.ownership(at, types.FileReferenceConfig(ref))
			w.secret(out, at, file, "configs."+ref.Source, of)
		case of.File != "":
			for member, given := range map[string]bool{"uid": ref.UID != "", "gid": ref.GID != "", "mode": ref.Mode != nil} {
				if given {
					w.not(at+"."+member, "the file is mounted as it is")
				}
			}
			w.mount(out, w.bind(of.File), target, true)
		default:
			w.not(at, "a config that is no file can only be below %s: say target: %s/%s", secretsDir, secretsDir, path.Base(target))
		}
	}
}
