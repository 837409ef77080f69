package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
)

// answerOnly are members that DescribeTaskDefinition adds to what was
// registered. They are dropped, so that its output can be registered again.
var answerOnly = []string{ //nolint:gochecknoglobals // a constant list
	"taskDefinitionArn", "revision", "status", "requiresAttributes", "compatibilities",
	"registeredAt", "registeredBy", "deregisteredAt", "deleteRequestedAt",
}

// readDefinition reads a task definition as `aws ecs register-task-definition
// --cli-input-json` takes it, or as describe-task-definition prints it. A
// member that ECS does not have is an error: it is a slip of the pen.
func readDefinition(r io.Reader, name string) (*ecs.RegisterTaskDefinitionInput, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return nil, fmt.Errorf("%s is not a JSON object: %w", name, atLine(data, err))
	}
	if inner, ok := members["taskDefinition"]; ok {
		tags := members["tags"]
		members = nil
		if err := json.Unmarshal(inner, &members); err != nil {
			return nil, fmt.Errorf("%s: taskDefinition is not an object: %w", name, err)
		}
		if tags != nil {
			members["tags"] = tags
		}
	}
	for _, member := range answerOnly {
		delete(members, member)
	}
	if data, err = json.Marshal(members); err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	var in ecs.RegisterTaskDefinitionInput
	if err := decoder.Decode(&in); err != nil {
		return nil, fmt.Errorf("%s is not a task definition: %w", name, memberError(err))
	}
	if in.Family == nil || len(in.ContainerDefinitions) == 0 {
		return nil, fmt.Errorf("%s is not a task definition: it needs family and containerDefinitions", name)
	}
	return &in, nil
}

// atLine adds the line to a syntax error.
func atLine(data []byte, err error) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("line %d: %w", 1+bytes.Count(data[:min(int(syntax.Offset), len(data))], []byte("\n")), err)
	}
	return err
}

// memberError says which member has the wrong type in the words of the file.
func memberError(err error) error {
	if kind, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%s is a %s and should be a %s", kind.Field, kind.Value, kindName(kind.Type.Kind().String()))
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: "))
}

func kindName(kind string) string {
	switch {
	case strings.HasPrefix(kind, "int"), strings.HasPrefix(kind, "float"):
		return "number"
	case kind == "slice":
		return "list"
	case kind == "struct", kind == "map":
		return "object"
	}
	return kind
}

// replaceImages applies --image container=ref. A reference without a container
// is for the only one.
func replaceImages(in *ecs.RegisterTaskDefinitionInput, images []string) error {
	for _, image := range images {
		container, ref, named := strings.Cut(image, "=")
		if !named {
			if len(in.ContainerDefinitions) != 1 {
				return misuse("--image %s does not say for which container: write --image CONTAINER=%s", image, image)
			}
			container, ref = aws.ToString(in.ContainerDefinitions[0].Name), image
		}
		found := false
		for i := range in.ContainerDefinitions {
			if aws.ToString(in.ContainerDefinitions[i].Name) == container {
				in.ContainerDefinitions[i].Image, found = &ref, true
			}
		}
		if !found {
			return misuse("--image %s: the task definition has no container %q", image, container)
		}
	}
	return nil
}
