package main

import (
	"strings"
	"unicode"
)

// exported is a model name as a Go name: first letter upper case, the rest as
// it is, which is also what the AWS SDK for Go does.
func exported(name string) string {
	r := []rune(name)
	r[0] = unicode.ToUpper(r[0])
	return string(r)
}

// typeName is the Go type of a shape. The models of services that have
// services call one Service, which is the name of the interface.
func typeName(shape string) string {
	name := exported(shape)
	if name == "Service" {
		return "ServiceShape"
	}
	return name
}

// fieldName is the Go field of a member. Names that would collide with the
// methods that every shape has get an underscore.
func fieldName(member string) string {
	name := exported(member)
	switch name {
	case "Schema", "Serialize", "Deserialize", "Error", "ErrorCode", "ErrorMessage", "HTTPStatus", "Fault":
		return name + "_"
	}
	return name
}

// enumConst is the constant of an enum value: type name and the value in camel
// case. "FARGATE_SPOT" of CapacityProvider is CapacityProviderFargateSpot.
func enumConst(typ, value string) string {
	var b strings.Builder
	b.WriteString(typ)
	for _, word := range strings.FieldsFunc(value, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		if strings.ToUpper(word) == word {
			word = strings.ToLower(word)
		}
		b.WriteString(exported(word))
	}
	return b.String()
}
