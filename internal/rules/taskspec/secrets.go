package taskspec

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/model"
)

// Docker labels by which a user asks for what ECS has no member for. A label
// survives every tool that writes task definitions, and AWS ignores it.
const (
	// LabelSecretsFiles has the absolute path of a directory in which the
	// container finds its secrets as files too, one a name, which follow
	// rotation.
	LabelSecretsFiles = "berth.secrets-files"
	// LabelTaskEndpoint with the value "off" keeps AWS_ENDPOINT_URL out of a
	// container, whose SDKs then call AWS itself.
	LabelTaskEndpoint = "berth.task-endpoint"
)

const (
	maxParameterName = 2048 // characters, behaviour/secrets-logs.md §1
	maxRoleName      = 64
)

var (
	// The first sentence of what is said of this pattern lists its characters.
	parameterNamePattern = regexp.MustCompile(`^[a-zA-Z0-9_.\-/]+$`)
	secretNamePattern    = regexp.MustCompile(`^[A-Za-z0-9/_+=.@!-]{1,512}$`)
	accountPattern       = regexp.MustCompile(`^[0-9]{12}$`)
	rolePathPattern      = regexp.MustCompile(`^[A-Za-z0-9+=,.@_/-]{1,512}$`)
	// fileNamePattern is what a directory can have as a file's name, without
	// control characters.
	fileNamePattern = regexp.MustCompile(`^[^/\x00-\x1f\x7f]{1,255}$`)
)

// secretOptions are the options of awslogs that only the node reads. The
// others say which stream the control plane lets the task write to, and are
// plain members of the definition.
var secretOptions = []string{"awslogs-datetime-format", "awslogs-multiline-pattern", "mode", "max-buffer-size"}

// SecretFilesDir returns the directory in which a container asked for its
// secrets as files, and whether it did.
func SecretFilesDir(def *model.ContainerDefinition) (string, bool) {
	dir, ok := def.DockerLabels[LabelSecretsFiles]
	return dir, ok
}

// WantsTaskEndpoint reports whether a container shall find the AWS API's
// address in its environment.
func WantsTaskEndpoint(def *model.ContainerDefinition) bool {
	return def.DockerLabels[LabelTaskEndpoint] != "off"
}

func validateSecrets(_ *model.TaskDefinition, c *model.ContainerDefinition) error {
	names := map[string]bool{}
	for _, e := range c.Environment {
		names[e.Name] = true
	}
	for _, s := range c.Secrets {
		if s.Name == "" || s.ValueFrom == "" {
			return client("A secret of container '%s' needs a name and a valueFrom.", c.Name)
		}
		if strings.ContainsAny(s.Name, "=\x00") {
			return client("The secret name '%s' contains invalid characters.", s.Name)
		}
		if names[s.Name] {
			return client("The secret name must be unique and not shared with any new or existing environment variables set on the container, such as '%s'.", s.Name)
		}
		names[s.Name] = true
		if err := validateValueFrom(s); err != nil {
			return err
		}
	}
	return nil
}

// validateValueFrom checks the form of what names a secret. Whether there is
// such a secret is found out when a task starts.
func validateValueFrom(s model.SecretReference) error {
	if !arn.Is(s.ValueFrom) {
		return validateParameterName(s.Name, s.ValueFrom)
	}
	a, err := arn.Parse(s.ValueFrom)
	if err != nil || a.Region == "" || !accountPattern.MatchString(a.AccountID) {
		return invalidSecretARN(s)
	}
	switch a.Service {
	case "ssm":
		name, ok := strings.CutPrefix(a.Resource, "parameter/")
		if !ok {
			return invalidSecretARN(s)
		}
		return validateParameterName(s.Name, name)
	case "secretsmanager":
		return validateSecretResource(s, a.Resource)
	}
	return invalidSecretARN(s)
}

// validateSecretResource checks secret:<name> and
// secret:<name>:<json key>:<stage>:<version id>.
func validateSecretResource(s model.SecretReference, resource string) error {
	parts := strings.Split(resource, ":")
	if len(parts) != 2 && len(parts) != 5 || parts[0] != "secret" || !secretNamePattern.MatchString(parts[1]) {
		return invalidSecretARN(s)
	}
	if len(parts) == 5 && parts[3] != "" && parts[4] != "" {
		return client("The Secrets Manager ARN specified for secret %s is invalid. Specify a version stage or a version ID, not both.", s.Name)
	}
	return nil
}

func validateParameterName(secret, name string) error {
	if len(name) <= maxParameterName && parameterNamePattern.MatchString(name) {
		return nil
	}
	return client("The Systems Manager parameter name specified for secret %s is invalid. The parameter name can be up to %d characters and include the following letters and symbols: a-zA-Z0-9_.-, and forward slash (/) to delineate hierarchies in parameter names.", secret, maxParameterName)
}

func invalidSecretARN(s model.SecretReference) error {
	return client("The ARN specified for secret %s is invalid. Specify the ARN of a Secrets Manager secret or a Systems Manager parameter.", s.Name)
}

func validateSecretOptions(_ *model.TaskDefinition, c *model.ContainerDefinition) error {
	if c.LogConfiguration == nil {
		return nil
	}
	names := map[string]bool{}
	for name := range c.LogConfiguration.Options {
		names[name] = true
	}
	for _, s := range c.LogConfiguration.SecretOptions {
		if s.Name == "" || s.ValueFrom == "" {
			return client("A secretOption of container '%s' needs a name and a valueFrom.", c.Name)
		}
		if names[s.Name] {
			return client("The secretOption name must be unique and not shared with any option of the log driver, such as '%s'.", s.Name)
		}
		names[s.Name] = true
		if err := validateValueFrom(s); err != nil {
			return err
		}
	}
	return nil
}

// validateRegistryLogin takes the ARN of a secret, or its name.
func validateRegistryLogin(_ *model.TaskDefinition, c *model.ContainerDefinition) error {
	if c.RepositoryCredentials == nil {
		return nil
	}
	from := c.RepositoryCredentials.CredentialsParameter
	if from == "" {
		return client("repositoryCredentials.credentialsParameter should not be null or empty for container '%s'.", c.Name)
	}
	if !arn.Is(from) && secretNamePattern.MatchString(from) {
		return nil
	}
	if a, err := arn.Parse(from); err == nil && a.Service == "secretsmanager" && a.Region != "" && accountPattern.MatchString(a.AccountID) {
		if name, ok := strings.CutPrefix(a.Resource, "secret:"); ok && secretNamePattern.MatchString(name) {
			return nil
		}
	}
	return client("Invalid repositoryCredentials.credentialsParameter for container '%s'. Specify the ARN or the name of a Secrets Manager secret.", c.Name)
}

// validateLabels checks the labels that mean something to Berth.
func validateLabels(_ *model.TaskDefinition, c *model.ContainerDefinition) error {
	if v, ok := c.DockerLabels[LabelTaskEndpoint]; ok && v != "off" {
		return client("Invalid value '%s' for the docker label %s. Valid values: off.", v, LabelTaskEndpoint)
	}
	dir, ok := SecretFilesDir(c)
	if !ok {
		return nil
	}
	if !path.IsAbs(dir) || path.Clean(dir) != dir || dir == "/" {
		return client("Invalid value '%s' for the docker label %s: it must be the absolute path of a directory.", dir, LabelSecretsFiles)
	}
	if len(c.Secrets) == 0 {
		return client("The docker label %s has no effect on container '%s', which has no secrets.", LabelSecretsFiles, c.Name)
	}
	if slices.ContainsFunc(c.MountPoints, func(m model.MountPoint) bool { return path.Clean(m.ContainerPath) == dir }) {
		return client("The docker label %s of container '%s' names a directory that is the mount point of a volume.", LabelSecretsFiles, c.Name)
	}
	for _, s := range c.Secrets {
		if !fileNamePattern.MatchString(s.Name) || s.Name[0] == '.' {
			return client("The secret name '%s' cannot be the name of a file, which the docker label %s asks for.", s.Name, LabelSecretsFiles)
		}
	}
	return nil
}

// validateExecutionRole asks for the role that everything from elsewhere is
// fetched with, whatever the launch type. Fargate asks for it for more.
func validateExecutionRole(def *model.TaskDefinition) error {
	if def.ExecutionRoleARN != "" {
		return nil
	}
	for i := range def.ContainerDefinitions {
		c := &def.ContainerDefinitions[i]
		switch {
		case len(c.Secrets) > 0, c.LogConfiguration != nil && len(c.LogConfiguration.SecretOptions) > 0:
			return client("When you are specifying container secrets, you must also specify a value for 'executionRoleArn'.")
		case c.RepositoryCredentials != nil:
			return client("When you are specifying repositoryCredentials, you must also specify a value for 'executionRoleArn'.")
		}
	}
	return nil
}

// validRole accepts a role's name, with or without a path, or its ARN.
func validRole(role string) bool {
	name := role
	if arn.Is(role) {
		a, err := arn.Parse(role)
		if err != nil || !strings.HasPrefix(a.Partition, "aws") || a.Service != "iam" || a.Region != "" || !accountPattern.MatchString(a.AccountID) {
			return false
		}
		var ok bool
		if name, ok = strings.CutPrefix(a.Resource, "role/"); !ok {
			return false
		}
	}
	last := name[strings.LastIndexByte(name, '/')+1:]
	return rolePathPattern.MatchString(name) && last != "" && len(last) <= maxRoleName && !strings.Contains(name, "//")
}

// needsOf reports which of the two services a list of references asks.
func needsOf(refs []model.SecretReference) (secretsManager, parameterStore bool) {
	for _, s := range refs {
		if a, err := arn.Parse(s.ValueFrom); err == nil && a.Service == "secretsmanager" {
			secretsManager = true
		} else {
			parameterStore = true
		}
	}
	return secretsManager, parameterStore
}
