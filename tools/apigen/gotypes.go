package main

import "strings"

// valueType is the Go type of a shape where it must be present: as an element,
// or behind a pointer.
func (p *pkg) valueType(name string) string {
	sh := p.shapes[name]
	switch sh.Type {
	case "boolean":
		return "bool"
	case "integer":
		return "int32"
	case "long":
		return "int64"
	case "float":
		return "float32"
	case "double":
		return "float64"
	case "blob":
		return "[]byte"
	case "timestamp":
		return "time.Time"
	case "list":
		return "[]" + p.valueType(sh.Member.Shape)
	case "map":
		return "map[string]" + p.valueType(sh.Value.Shape)
	case "string":
		if len(sh.Enum) == 0 {
			return "string"
		}
	}
	return typeName(name) // enums and structures
}

// form is how a structure's field holds its value and says that there is none.
type form uint8

const (
	formPointer form = iota // nil is absent
	formEnum                // "" is absent
	formBlob                // nil is absent
	formList                // nil is absent, empty is present
	formMap                 // likewise
)

func (p *pkg) form(name string) form {
	switch sh := p.shapes[name]; sh.Type {
	case "list":
		return formList
	case "map":
		return formMap
	case "blob":
		return formBlob
	case "string":
		if len(sh.Enum) > 0 {
			return formEnum
		}
	}
	return formPointer
}

// fieldType is the Go type of a structure's field.
func (p *pkg) fieldType(name string) string {
	if p.form(name) == formPointer {
		return "*" + p.valueType(name)
	}
	return p.valueType(name)
}

// codecFunc is the function that reads or writes a value of a shape; verb is
// "Read" or "Write". Scalars and structures have theirs in package smithy,
// lists and maps within lists and maps one of the package's own.
func (p *pkg) codecFunc(verb, name string) string {
	switch p.shapes[name].Type {
	case "boolean":
		return "smithy." + verb + "Bool"
	case "integer":
		return "smithy." + verb + "Int32"
	case "long":
		return "smithy." + verb + "Int64"
	case "float":
		return "smithy." + verb + "Float32"
	case "double":
		return "smithy." + verb + "Float64"
	case "string":
		return "smithy." + verb + "String"
	case "blob":
		return "smithy." + verb + "Blob"
	case "timestamp":
		return "smithy." + verb + "Time"
	case "structure":
		return "smithy." + verb + "Struct[" + typeName(name) + "]"
	}
	return strings.ToLower(verb) + exported(name)
}
