package compose

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// extension is the member by which a file says what Compose has no word for.
const extension = "x-ecs"

// overlay is what x-ecs says.
type overlay struct {
	definition, service map[string]any
}

// overlayOf reads x-ecs of a service or of the project.
func overlayOf(path string, extensions map[string]any) (overlay, error) {
	var o overlay
	value, ok := extensions[extension]
	if !ok || value == nil {
		return o, nil
	}
	path = strings.TrimPrefix(path+"."+extension, ".")
	all, ok := value.(map[string]any)
	if !ok {
		return o, fmt.Errorf("%s is not {taskDefinition: {...}, service: {...}}", path)
	}
	for name, part := range all {
		inner, ok := part.(map[string]any)
		if !ok {
			return o, fmt.Errorf("%s.%s is not a mapping", path, name)
		}
		switch name {
		case "taskDefinition":
			o.definition = inner
		case "service":
			o.service = inner
		default:
			return o, fmt.Errorf("%s has no member %s: there are taskDefinition and service", path, name)
		}
	}
	return o, nil
}

// merge sets members of an SDK struct as a document in AWS's shape says them.
// Objects are merged, everything else is replaced. A member that the struct
// does not have is an error: it is a slip of the pen.
func merge(path string, into reflect.Value, document map[string]any) error {
	for name, value := range document {
		at := path + "." + name
		field := into.FieldByNameFunc(func(f string) bool { return strings.EqualFold(f, name) && !strings.EqualFold(f, "ResultMetadata") })
		if !field.IsValid() || !field.CanSet() {
			return fmt.Errorf("%s: ECS has no such member", at)
		}
		inner, isObject := value.(map[string]any)
		containers, isContainers := field.Addr().Interface().(*[]types.ContainerDefinition)
		switch {
		case isContainers:
			if err := mergeContainers(at, containers, value); err != nil {
				return err
			}
			continue
		case isObject && field.Kind() == reflect.Pointer && field.Type().Elem().Kind() == reflect.Struct:
			fresh := reflect.New(field.Type().Elem())
			if !field.IsNil() {
				fresh.Elem().Set(field.Elem()) // others may share what it points to
			}
			field.Set(fresh)
			if err := merge(at, fresh.Elem(), inner); err != nil {
				return err
			}
			continue
		}
		field.SetZero()
		if number, ok := value.(int); ok && field.Type() == reflect.TypeFor[*string]() {
			value = strconv.Itoa(number) // cpu: 1024, as one writes it in YAML
		}
		data, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(field.Addr().Interface()); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
	}
	return nil
}

// mergeContainers merges container definitions with those of their names, and
// adds the others. One without a name is the first.
func mergeContainers(path string, into *[]types.ContainerDefinition, value any) error {
	list, ok := value.([]any)
	if !ok {
		return fmt.Errorf("%s is not a list", path)
	}
	all := slices.Clone(*into)
	for i, one := range list {
		document, ok := one.(map[string]any)
		if !ok {
			return fmt.Errorf("%s[%d] is not a mapping", path, i)
		}
		at := 0
		if name, named := document["name"].(string); named {
			at = slices.IndexFunc(all, func(c types.ContainerDefinition) bool { return aws.ToString(c.Name) == name })
		}
		if at < 0 || at == len(all) {
			all, at = append(all, types.ContainerDefinition{}), len(all)
		}
		if err := merge(fmt.Sprintf("%s[%d]", path, i), reflect.ValueOf(&all[at]).Elem(), document); err != nil {
			return err
		}
	}
	*into = all
	return nil
}
