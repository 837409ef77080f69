package cli

import (
	"reflect"
	"time"
	"unicode"
)

// awsShape turns an SDK value into one that marshals with the member names of
// the AWS API, as the aws CLI prints it: struct fields begin in lower case and
// what is absent is left out, while keys of maps are users' data and stay.
func awsShape(v any) any { return shapeOf(reflect.ValueOf(v), lowerFirst) }

// shapeOf names the members of structs by what rename makes of their Go names.
func shapeOf(v reflect.Value, rename func(string) string) any {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return shapeOf(v.Elem(), rename)
	case reflect.Struct:
		if t, ok := reflect.TypeAssert[time.Time](v); ok {
			return t
		}
		out := map[string]any{}
		for i := range v.NumField() {
			field := v.Type().Field(i)
			if !field.IsExported() || field.Name == "ResultMetadata" || v.Field(i).IsZero() && v.Field(i).Kind() != reflect.Bool {
				continue
			}
			out[rename(field.Name)] = shapeOf(v.Field(i), rename)
		}
		return out
	case reflect.Slice:
		out := make([]any, v.Len())
		for i := range out {
			out[i] = shapeOf(v.Index(i), rename)
		}
		return out
	case reflect.Map:
		out := make(map[string]any, v.Len())
		for entries := v.MapRange(); entries.Next(); {
			out[entries.Key().String()] = shapeOf(entries.Value(), rename)
		}
		return out
	default:
		return v.Interface()
	}
}

func lowerFirst(s string) string {
	runes := []rune(s)
	runes[0] = unicode.ToLower(runes[0])
	return string(runes)
}
