package ssm

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ssmapi"
	"berth.dev/berth/internal/wire/smithy"
)

const (
	maxARN    = 1011 // characters of a parameter's ARN, which bounds its name
	maxLevels = 15
)

var (
	subPath = regexp.MustCompile(`^[a-zA-Z0-9_.\-]+$`)
	path    = regexp.MustCompile(`^(/[a-zA-Z0-9_.\-]+)*/?$`)
)

const (
	nameRule = `Parameter name: can't be prefixed with "ssm" (case-insensitive). If formed as a path, it can consist of sub-paths divided by slash symbol; ` +
		`each sub-path can be formed as a mix of letters, numbers and the following 3 symbols .-_`
	pathRule = `Parameter path: can't be prefixed with "aws" or "ssm" (case-insensitive) except global parameter name path prefixed with "aws" (case-sensitive). ` +
		`It should always begin with / symbol.It consists of sub-paths divided by slash symbol; ` +
		`each sub-path can be formed as a mix of letters, numbers and the following 3 symbols .-_`
	pathFilterRule = `The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward slash "/". ` +
		`It can't be prefixed with "aws" or "ssm" (case-insensitive). It must use only letters, numbers, or the following symbols: . (period), - (hyphen), _ (underscore). ` +
		`Special characters are not allowed. All sub-paths, if specified, must use the forward slash symbol "/". Valid example: /get/parameters2-/by1./path0_.`
)

// reserved reports whether only AWS may make parameters of that name.
func reserved(name string) bool {
	name = strings.ToLower(strings.TrimPrefix(name, "/"))
	return strings.HasPrefix(name, "aws") || strings.HasPrefix(name, "ssm")
}

// checkName says why no parameter can be made with a name.
func (p *Provider) checkName(name string) error {
	isPath := strings.Count(name, "/") > 1
	switch {
	case reserved(name) && isPath && strings.HasPrefix(strings.ToLower(name), "/aws"):
		return smithy.NewError(400, "AccessDeniedException", "No access to reserved parameter name: "+name+".")
	case reserved(name) && !isPath:
		return invalid(`Parameter name: can't be prefixed with "aws" or "ssm" (case-insensitive).`)
	case reserved(name):
		return invalid(nameRule)
	case strings.Contains(name, "/") && name[0] != '/':
		return invalid("Parameter name must be a fully qualified name.")
	}
	levels := strings.Split(strings.TrimPrefix(name, "/"), "/")
	for _, level := range levels {
		if !subPath.MatchString(level) {
			return invalid(nameRule)
		}
	}
	if len(levels) > maxLevels {
		return &ssmapi.HierarchyLevelLimitExceededException{Message: new("A hierarchy can have a maximum of 15 levels. " +
			"For more information, see Requirements and constraints for parameter names in the AWS Systems Manager User Guide.")}
	}
	if len(p.arn(name)) > maxARN {
		return invalid("The length of the parameter name, including the full length of the parameter Amazon Resource Name (ARN), must be %d characters or fewer.", maxARN)
	}
	return nil
}

// reference is what a client names a value by: a parameter, and which of its
// versions.
type reference struct {
	name     string
	selector string // a version or a label; empty for the newest
}

// parseReference reads <name>[:<version or label>], or an ARN with the same.
// ok is false for what is well formed but can name nothing here, such as an
// ARN of another account.
func (p *Provider) parseReference(r store.Reader, text string) (ref reference, ok bool, err error) {
	isARN := arn.Is(text)
	if isARN {
		parsed, err := arn.Parse(text)
		if err != nil || parsed.Service != "ssm" || parsed.Region != p.scope.Region || parsed.AccountID != p.scope.AccountID || !strings.HasPrefix(parsed.Resource, "parameter/") {
			return ref, false, nil
		}
		text = strings.TrimPrefix(parsed.Resource, "parameter")
	}
	name, selector, selected := strings.Cut(text, ":")
	if selected && (selector == "" || strings.Contains(selector, ":")) {
		return ref, false, invalid("Invalid parameter name. Please use correct syntax for referencing a version/label  <name>:<version/label>")
	}
	// The ARN of x has a slash that its name has not.
	if bare := strings.TrimPrefix(name, "/"); isARN && records.Parameters.Has(r, bare) {
		name = bare
	}
	return reference{name, selector}, true, nil
}

// find returns the parameter and the version that a reference names.
func find(r store.Reader, ref reference) (*model.Parameter, *model.ParameterVersion, error) {
	parameter, ok := records.Parameters.Get(r, ref.name)
	if !ok {
		return nil, nil, notFound()
	}
	if ref.selector == "" {
		v, err := newest(r, parameter)
		return parameter, v, err
	}
	if n, err := strconv.ParseInt(ref.selector, 10, 64); err == nil {
		v, err := version(r, parameter.Name, n)
		return parameter, v, err
	}
	if v := labelled(r, parameter.Name, ref.selector); v != nil {
		return parameter, v, nil
	}
	return nil, nil, versionNotFound("label", ref.selector, parameter.Name)
}

func version(r store.Reader, name string, n int64) (*model.ParameterVersion, error) {
	v, ok := records.ParameterVersions.Get(r, (&model.ParameterVersion{ParameterName: name, Version: n}).Key())
	if n < 0 || !ok {
		return nil, versionNotFound("version", strconv.FormatInt(n, 10), name)
	}
	return v, nil
}

func versionNotFound(kind, which, name string) error {
	return &ssmapi.ParameterVersionNotFound{Message: new("Systems Manager could not find " + kind + " " + which + " of " + name + ". Verify the " + kind + " and try again.")}
}

// labelled is the version with a label; nil when none has it.
func labelled(r store.Reader, name, label string) *model.ParameterVersion {
	for v := range records.ParameterVersions.Prefix(r, versionsPrefix(name)) {
		if slices.Contains(v.Labels, label) {
			return v
		}
	}
	return nil
}
