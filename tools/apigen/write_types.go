package main

import "slices"

// writeTypes writes enums and structures with the methods by which they
// describe themselves.
func writeTypes(f *file, p *pkg) error {
	f.line("package %s\n", p.Name)
	f.line("import (")
	if p.usesTime(p.Structs) {
		f.line(`"time"`)
		f.line("")
	}
	f.line(`"berth.dev/berth/internal/wire/smithy"`)
	f.line(")\n")
	for _, name := range p.Enums {
		writeEnum(f, typeName(name), p.shapes[name].Enum)
	}
	for _, d := range p.Structs {
		f.line("// %s %s", d.GoName, d.Doc)
		f.line("type %s struct {", d.GoName)
		p.writeFields(f, d)
		f.line("}\n")
		p.writeMethods(f, d)
	}
	for _, name := range p.Containers {
		p.writeContainer(f, name)
	}
	return nil
}

func (p *pkg) usesTime(decls []*structDecl) bool {
	for _, d := range decls {
		for _, m := range p.shapes[d.Shape].Members {
			if p.hasTime(m.Shape) {
				return true
			}
		}
	}
	return false
}

func (p *pkg) hasTime(name string) bool {
	switch sh := p.shapes[name]; sh.Type {
	case "timestamp":
		return true
	case "list":
		return p.hasTime(sh.Member.Shape)
	case "map":
		return p.hasTime(sh.Value.Shape)
	}
	return false
}

func writeEnum(f *file, name string, values []string) {
	f.line("// %s is an enum.", name)
	f.line("type %s string\n", name)
	f.line("// Values of %s.", name)
	f.line("const (")
	for _, v := range values {
		f.line("%s %s = %q", enumConst(name, v), name, v)
	}
	f.line(")\n")
}

func (p *pkg) writeFields(f *file, d *structDecl) {
	sh := p.shapes[d.Shape]
	for _, m := range sh.Members {
		comment := ""
		if sh.requires(m.Name) {
			comment = " // required"
		}
		f.line("%s %s%s", fieldName(m.Name), p.fieldType(m.Shape), comment)
	}
}

func (sh *shape) requires(member string) bool { return slices.Contains(sh.Required, member) }

// writeMethods writes Schema, Serialize and Deserialize.
func (p *pkg) writeMethods(f *file, d *structDecl) {
	sh := p.shapes[d.Shape]
	schema := schemaVar(d.Shape)
	f.line("// Schema implements smithy.Shape.")
	f.line("func (*%s) Schema() *smithy.Schema { return %s }\n", d.GoName, schema)

	f.line("// Serialize implements smithy.Shape.")
	if len(sh.Members) == 0 {
		f.line("func (*%s) Serialize(smithy.ShapeSerializer) {}\n", d.GoName)
		f.line("// Deserialize implements smithy.Shape.")
		f.line("func (*%s) Deserialize(d smithy.ShapeDeserializer) error {", d.GoName)
		f.line("return d.ReadStruct(%s, func(*smithy.Member) error { return nil })", schema)
		f.line("}\n")
		return
	}
	f.line("func (v *%s) Serialize(s smithy.ShapeSerializer) {", d.GoName)
	f.line("m := %s.Members", schema)
	for i, m := range sh.Members {
		p.writeMember(f, i, m)
	}
	f.line("}\n")

	f.line("// Deserialize implements smithy.Shape.")
	f.line("func (v *%s) Deserialize(d smithy.ShapeDeserializer) error {", d.GoName)
	f.line("return d.ReadStruct(%s, func(m *smithy.Member) error {", schema)
	f.line("switch m.Index {")
	for i, m := range sh.Members {
		f.line("case %d:", i)
		f.line("return %s", p.readMember(m))
	}
	f.line("}")
	f.line("return nil")
	f.line("})")
	f.line("}\n")
}

func (p *pkg) writeMember(f *file, i int, m member) {
	field := "v." + fieldName(m.Name)
	sh := p.shapes[m.Shape]
	switch p.form(m.Shape) {
	case formEnum:
		f.line("smithy.WriteEnum(s, m[%d], %s)", i, field)
	case formBlob:
		f.line("smithy.WriteBlob(s, m[%d], &%s)", i, field)
	case formList:
		f.line("smithy.WriteList(s, m[%d], %s, %s)", i, field, p.codecFunc("Write", sh.Member.Shape))
	case formMap:
		f.line("smithy.WriteMap(s, m[%d], %s, %s)", i, field, p.codecFunc("Write", sh.Value.Shape))
	case formPointer:
		f.line("smithy.WritePtr(s, m[%d], %s, %s)", i, field, p.codecFunc("Write", m.Shape))
	}
}

func (p *pkg) readMember(m member) string {
	field := "&v." + fieldName(m.Name)
	sh := p.shapes[m.Shape]
	switch p.form(m.Shape) {
	case formEnum, formBlob:
		return p.codecFunc("Read", m.Shape) + "(d, m, " + field + ")"
	case formList:
		return "smithy.ReadList(d, m, " + field + ", " + p.codecFunc("Read", sh.Member.Shape) + ")"
	case formMap:
		return "smithy.ReadMap(d, m, " + field + ", " + p.codecFunc("Read", sh.Value.Shape) + ")"
	}
	return "smithy.ReadPtr(d, m, " + field + ", " + p.codecFunc("Read", m.Shape) + ")"
}

// writeContainer writes the functions of a list or map that is itself an
// element of one.
func (p *pkg) writeContainer(f *file, name string) {
	sh, typ := p.shapes[name], p.valueType(name)
	kind, elem := "List", sh.Member
	if sh.Type == "map" {
		kind, elem = "Map", sh.Value
	}
	f.line("func %s(d smithy.ShapeDeserializer, m *smithy.Member, dst *%s) error {", p.codecFunc("Read", name), typ)
	f.line("return smithy.Read%s(d, m, dst, %s)", kind, p.codecFunc("Read", elem.Shape))
	f.line("}\n")
	f.line("func %s(s smithy.ShapeSerializer, m *smithy.Member, v *%s) {", p.codecFunc("Write", name), typ)
	f.line("smithy.Write%s(s, m, *v, %s)", kind, p.codecFunc("Write", elem.Shape))
	f.line("}\n")
}
