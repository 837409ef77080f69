package cli

import (
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"berth.dev/berth/internal/agent/image"
	"berth.dev/berth/internal/agent/runtime"
)

// imageFlags are a node's options about images.
type imageFlags struct {
	behavior, registryConfig string
	maxGiB                   int64
	high, low                int
}

// registryConfigDir is where containerd's own tools look for registries.
const registryConfigDir = "/etc/containerd/certs.d"

func (f *imageFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.behavior, "image-pull-behavior", env("BERTH_IMAGE_PULL_BEHAVIOR", string(runtime.PullDefault)),
		"when an image that this node has is pulled again: default, always, once or prefer-cached (BERTH_IMAGE_PULL_BEHAVIOR)")
	flags.StringVar(&f.registryConfig, "registry-config", env("BERTH_REGISTRY_CONFIG", ""),
		"directory with a hosts.toml for each registry: mirrors, certificates (default "+registryConfigDir+" when there is one) (BERTH_REGISTRY_CONFIG)")
	flags.Int64Var(&f.maxGiB, "image-max-size", 100, "most that an image may have, unpacked, in GiB; 0 for no limit")
	flags.IntVar(&f.high, "image-gc-high", 85, "percent of the disk from which on unused images are removed")
	flags.IntVar(&f.low, "image-gc-low", 80, "percent of the disk at which that ends")
}

// config is what the flags say, or why they say nothing that makes sense.
func (f *imageFlags) config() (image.Config, error) {
	policy, err := runtime.ParsePullPolicy(f.behavior)
	if err != nil {
		return image.Config{}, fmt.Errorf("--image-pull-behavior: %w", err)
	}
	out := image.Config{
		Policy: policy, RegistryConfig: f.registryConfig, MaxSize: f.maxGiB << 30,
		Collection: image.Collection{High: f.high, Low: f.low},
	}
	if err := out.Collection.Check(); err != nil {
		return image.Config{}, fmt.Errorf("--image-gc-high and --image-gc-low: %w", err)
	}
	if f.maxGiB < 0 {
		return image.Config{}, fmt.Errorf("--image-max-size: an image cannot have %d GiB", f.maxGiB)
	}
	if f.registryConfig == "" {
		if info, err := os.Stat(registryConfigDir); err == nil && info.IsDir() {
			out.RegistryConfig = registryConfigDir
		}
	} else if info, err := os.Stat(f.registryConfig); err != nil || !info.IsDir() {
		return image.Config{}, fmt.Errorf("--registry-config: %s is no directory", f.registryConfig)
	}
	return out, nil
}

// args are the flags for another process.
func (f *imageFlags) args() []string {
	return []string{
		"--image-pull-behavior", f.behavior, "--registry-config", f.registryConfig, "--image-max-size", fmt.Sprint(f.maxGiB),
		"--image-gc-high", fmt.Sprint(f.high), "--image-gc-low", fmt.Sprint(f.low),
	}
}
