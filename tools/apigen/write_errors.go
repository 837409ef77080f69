package main

import (
	"net/http"
	"strings"
)

// errorTrait is an error's code, HTTP status and fault. JSON models mostly say
// nothing: the code is the shape's name then, and the status 400, or 500 for
// the server's faults.
func (sh *shape) errorTrait(name string) (code string, status int, fault string) {
	code, status, fault = name, http.StatusBadRequest, "FaultClient"
	if sh.Fault {
		status = http.StatusInternalServerError
	}
	if sh.Error != nil && sh.Error.Code != "" {
		code = sh.Error.Code
	}
	if sh.Error != nil && sh.Error.HTTPStatusCode != 0 {
		status = sh.Error.HTTPStatusCode
	}
	if status >= http.StatusInternalServerError {
		fault = "FaultServer"
	}
	return code, status, fault
}

// writeErrors writes the modelled errors. Every one has a Message, whether its
// shape does or not: AWS sends one anyway.
func writeErrors(f *file, p *pkg) error {
	f.line("package %s\n", p.Name)
	f.line("import (")
	if p.usesTime(p.Errors) {
		f.line(`"time"`)
		f.line("")
	}
	f.line(`"berth.dev/berth/internal/wire/smithy"`)
	f.line(")\n")
	for _, d := range p.Errors {
		sh := p.shapes[d.Shape]
		code, status, fault := sh.errorTrait(d.Shape)
		f.line("// %s %s Code %s, HTTP %d.", d.GoName, d.Doc, code, status)
		f.line("type %s struct {", d.GoName)
		if !sh.hasMessage() {
			f.line("Message *string // not in the model")
		}
		p.writeFields(f, d)
		f.line("}\n")
		f.line("// Error implements error.")
		f.line("func (v *%s) Error() string { return smithy.ErrorText(v) }\n", d.GoName)
		f.line("// ErrorCode implements smithy.APIError.")
		f.line("func (*%s) ErrorCode() string { return %q }\n", d.GoName, code)
		f.line("// ErrorMessage implements smithy.APIError.")
		f.line("func (v *%s) ErrorMessage() string {", d.GoName)
		f.line("if v.Message == nil { return \"\" }")
		f.line("return *v.Message")
		f.line("}\n")
		f.line("// HTTPStatus implements smithy.APIError.")
		f.line("func (*%s) HTTPStatus() int { return %d }\n", d.GoName, status)
		f.line("// Fault implements smithy.APIError.")
		f.line("func (*%s) Fault() smithy.Fault { return smithy.%s }\n", d.GoName, fault)
		p.writeMethods(f, d)
	}
	return nil
}

func (sh *shape) hasMessage() bool {
	for _, m := range sh.Members {
		if strings.EqualFold(m.Name, "message") {
			return true
		}
	}
	return false
}
