package compose

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// Source says which project to load, as `docker compose` does: its files, else
// those that COMPOSE_FILE names, else compose.yaml and its override in the
// directory or in one above it.
type Source struct {
	Files    []string // -f
	Dir      string   // --project-directory; empty is that of the first file
	Name     string   // --project-name
	Profiles []string
	EnvFiles []string // instead of .env
	Env      []string // NAME=VALUE, of the process
}

// Load reads a project: overrides, includes and extends merged, variables
// interpolated, profiles chosen, env files and label files read.
func Load(ctx context.Context, from Source) (*types.Project, error) {
	options, err := cli.NewProjectOptions(
		from.Files,
		cli.WithWorkingDirectory(from.Dir),
		cli.WithEnv(from.Env),
		cli.WithConfigFileEnv,
		cli.WithDefaultConfigPath,
		cli.WithEnvFiles(from.EnvFiles...),
		cli.WithDotEnv,
		cli.WithDefaultProfiles(from.Profiles...),
		cli.WithName(from.Name),
	)
	if err != nil {
		return nil, fmt.Errorf("finding the compose file: %w", err)
	}
	project, err := options.LoadProject(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the compose file: %w", err)
	}
	return project, nil
}

// Secret is a secret or a config that becomes a secret of Secrets Manager.
type Secret struct {
	// Name is the one that it has there.
	Name string
	// External secrets are there already.
	External bool

	path string // in the compose file
	of   types.FileObjectConfig
}

// Value reads it. An external secret has none that could be read here.
func (s *Secret) Value() (string, error) {
	if s.of.File == "" {
		return s.of.Content, nil
	}
	data, err := os.ReadFile(s.of.File)
	if err != nil {
		return "", fmt.Errorf("%s: %w", s.path, err)
	}
	return string(data), nil
}
