package main

import "strings"

// writeService writes the interface, Unimplemented and the operation table.
func writeService(f *file, p *pkg) error {
	f.line("package %s\n", p.Name)
	f.line("import (")
	f.line(`"context"`)
	f.line("")
	f.line(`"berth.dev/berth/internal/wire/smithy"`)
	f.line(")\n")

	f.line("// Service is %s as a provider implements it. Inputs have passed", p.Meta.ServiceID)
	f.line("// smithy.Validate. Errors that clients may see are smithy.APIError; any other is")
	f.line("// an internal failure.")
	f.line("type Service interface {")
	for _, op := range p.Operations {
		f.line("%s(ctx context.Context, in *%sInput) (*%sOutput, error)", op.Name, op.Name, op.Name)
	}
	f.line("}\n")

	f.line("// Unimplemented answers every operation with smithy.NotImplemented. Providers")
	f.line("// embed it.")
	f.line("type Unimplemented struct{}\n")
	f.line("var _ Service = Unimplemented{}\n")
	for _, op := range p.Operations {
		f.line("// %s implements Service.", op.Name)
		f.line("func (Unimplemented) %s(context.Context, *%sInput) (*%sOutput, error) {", op.Name, op.Name, op.Name)
		f.line("return nil, smithy.NotImplemented(%q, %q)", p.Key, op.Name)
		f.line("}\n")
	}
	p.writeTable(f)
	return nil
}

func (p *pkg) writeTable(f *file) {
	m := p.Meta
	signing := m.SigningName
	if signing == "" {
		signing = m.EndpointPrefix
	}
	f.line("// API is the operation table.")
	f.line("var API = &smithy.Service{")
	f.line("Name: %q,", p.Key)
	f.line("ID: %q,", m.ServiceID)
	f.line("SigningName: %q,", signing)
	f.line("EndpointPrefix: %q,", m.EndpointPrefix)
	f.line("APIVersion: %q,", m.APIVersion)
	f.line("Protocol: %q,", m.Protocol)
	for _, s := range [][2]string{{"JSONVersion", m.JSONVersion}, {"TargetPrefix", m.TargetPrefix}, {"XMLNamespace", m.XMLNamespace}} {
		if s[1] != "" {
			f.line("%s: %q,", s[0], s[1])
		}
	}
	f.line("Codes: %s,", codesLiteral(p.Codes))
	f.line("Operations: []*smithy.Operation{")
	for _, op := range p.Operations {
		f.line("{")
		f.line("Name: %q,", op.Name)
		f.line("Input: %s,", schemaVar(op.Input))
		f.line("Output: %s,", schemaVar(op.Output))
		f.line("NewInput: func() smithy.Shape { return new(%sInput) },", op.Name)
		f.line("NewOutput: func() smithy.Shape { return new(%sOutput) },", op.Name)
		f.line("Invoke: smithy.Bind(Service.%s),", op.Name)
		if len(op.Errors) > 0 {
			vars := make([]string, len(op.Errors))
			for i, e := range op.Errors {
				vars[i] = schemaVar(e)
			}
			f.line("Errors: []*smithy.Schema{%s},", strings.Join(vars, ", "))
		}
		if op.ResultWrapper != "" {
			f.line("ResultWrapper: %q,", op.ResultWrapper)
		}
		if op.ReadOnly {
			f.line("ReadOnly: true,")
		}
		f.line("Codes: %s,", codesLiteral(op.Codes))
		f.line("},")
	}
	f.line("},")
	f.line("}")
}

func codesLiteral(c codes) string {
	wording := "smithy.WordingCoral"
	switch c.Wording {
	case "ec2":
		wording = "smithy.WordingEC2"
	case "ecr":
		wording = "smithy.WordingECR"
	}
	return "smithy.Codes{Malformed: \"" + c.Malformed + "\", Violation: \"" + c.Violation + "\", Missing: \"" + c.Missing + "\", Wording: " + wording + "}"
}
