package taskspec

import (
	"regexp"
	"slices"
	"strings"

	"berth.dev/berth/internal/model"
)

// Log drivers that the API has. Which of them have an effect here is in the
// table of what is unsupported.
var logDrivers = []string{"json-file", "syslog", "journald", "gelf", "fluentd", "awslogs", "splunk", "awsfirelens"}

var fargateLogDrivers = []string{"awslogs", "splunk", "awsfirelens"}

// awslogsOptions are the options that ECS lets through to the driver.
var awslogsOptions = []string{
	"awslogs-create-group", "awslogs-region", "awslogs-group", "awslogs-stream-prefix",
	"awslogs-datetime-format", "awslogs-multiline-pattern", "mode", "max-buffer-size",
}

var (
	bufferSizePattern = regexp.MustCompile(`^[1-9][0-9]*[bkmgBKMG]?[bB]?$`)
	logGroupPattern   = regexp.MustCompile(`^[.\-_/#A-Za-z0-9]{1,512}$`)
)

func validateLogs(def *model.TaskDefinition, c *model.ContainerDefinition) error {
	logs := c.LogConfiguration
	if logs == nil {
		return nil
	}
	if logs.LogDriver == "" {
		return client("logConfiguration.logDriver should not be null or empty for container '%s'.", c.Name)
	}
	if !slices.Contains(logDrivers, logs.LogDriver) {
		return invalidChoice("logConfiguration.logDriver", logs.LogDriver, logDrivers)
	}
	if logs.LogDriver == "awslogs" {
		return validateAwslogs(def, logs.Options)
	}
	return nil
}

func validateAwslogs(def *model.TaskDefinition, options map[string]string) error {
	required := []string{"awslogs-region", "awslogs-group"}
	if slices.Contains(def.RequiresCompatibilities, CompatibleFargate) {
		required = append(required, "awslogs-stream-prefix")
	}
	missing := slices.DeleteFunc(slices.Clone(required), func(name string) bool { _, ok := options[name]; return ok })
	if len(missing) > 0 {
		return client("Log driver awslogs requires options: %s", strings.Join(missing, ", "))
	}
	var refused []string
	for name := range options {
		if !slices.Contains(awslogsOptions, name) {
			refused = append(refused, name)
		}
	}
	if len(refused) > 0 {
		slices.Sort(refused)
		return client("Log driver awslogs disallows options: %s", strings.Join(refused, ", "))
	}
	for _, name := range required {
		if options[name] == "" {
			return client("Log driver awslogs option '%s' should not be null or empty.", name)
		}
	}
	if v, ok := options["awslogs-create-group"]; ok && v != "true" {
		return client("Log driver awslogs option 'awslogs-create-group' should only be set to 'true', else omit option.")
	}
	if !logGroupPattern.MatchString(options["awslogs-group"]) {
		return client("Log driver awslogs option 'awslogs-group' contains invalid characters.")
	}
	if mode, ok := options["mode"]; ok && mode != "blocking" && mode != "non-blocking" {
		return client("Log driver awslogs option 'mode' should be 'blocking' or 'non-blocking'.")
	}
	if size, ok := options["max-buffer-size"]; ok {
		if !bufferSizePattern.MatchString(size) {
			return client("Log driver awslogs option 'max-buffer-size' is not a size.")
		}
		if options["mode"] == "blocking" {
			return client("Log driver awslogs option 'max-buffer-size' is only supported with mode 'non-blocking'.")
		}
	}
	if pattern, ok := options["awslogs-multiline-pattern"]; ok {
		if _, err := regexp.Compile(pattern); err != nil {
			return client("Log driver awslogs option 'awslogs-multiline-pattern' is not a regular expression.")
		}
	}
	return nil
}
