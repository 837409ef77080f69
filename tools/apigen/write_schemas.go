package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

func schemaVar(shape string) string { return "schema" + exported(shape) }

// writeSchemas writes one variable per shape. They are static data: the
// compiler lays them out, nothing is built at start.
func writeSchemas(f *file, p *pkg) error {
	f.line("package %s\n", p.Name)
	f.line(`import "berth.dev/berth/internal/wire/smithy"`)
	f.line("")
	for _, name := range p.Schemas {
		if err := p.writeSchema(f, name); err != nil {
			return err
		}
	}
	if len(p.Late) > 0 {
		p.writeLateTargets(f)
	}
	return nil
}

// writeLateTargets closes the cycles that variable initialisers cannot.
func (p *pkg) writeLateTargets(f *file) {
	f.line("// Shapes that contain themselves: their last link is set here.")
	f.line("var _ = linkSchemas()\n")
	f.line("func linkSchemas() struct{} {")
	for _, l := range p.Late {
		f.line("%s.%s.Target = %s", schemaVar(l.Owner), l.Path, schemaVar(l.Target))
	}
	f.line("return struct{}{}")
	f.line("}")
}

var kinds = map[string]string{
	"boolean": "KindBoolean", "integer": "KindInteger", "long": "KindLong", "float": "KindFloat", "double": "KindDouble",
	"string": "KindString", "blob": "KindBlob", "timestamp": "KindTimestamp",
	"list": "KindList", "map": "KindMap", "structure": "KindStructure",
}

func (p *pkg) writeSchema(f *file, name string) error {
	sh := p.shapes[name]
	f.line("var %s = &smithy.Schema{", schemaVar(name))
	f.line("Name: %q,", name)
	f.line("Kind: smithy.%s,", kinds[sh.Type])
	if sh.Union {
		f.line("Union: true,")
	}
	if sh.Flattened {
		f.line("Flattened: true,")
	}
	if sh.Sensitive {
		f.line("Sensitive: true,")
	}
	if err := writeTimestamp(f, name, sh.TimestampFormat); err != nil {
		return err
	}
	if err := writeConstraints(f, name, sh); err != nil {
		return err
	}
	if sh.Exception {
		code, status, fault := sh.errorTrait(name)
		f.line("Error: &smithy.ErrorTrait{Code: %q, Status: %d, Fault: smithy.%s},", code, status, fault)
	}
	if sh.Member != nil {
		f.line("Elem: &%s,", p.memberLiteral(name, "Elem", "member", 0, *sh.Member, false))
	}
	if sh.Key != nil {
		f.line("Key: &%s,", p.memberLiteral(name, "Key", "key", 0, *sh.Key, false))
		f.line("Value: &%s,", p.memberLiteral(name, "Value", "value", 0, *sh.Value, false))
	}
	if len(sh.Members) > 0 {
		f.line("Members: []*smithy.Member{")
		for i, m := range sh.Members {
			if m.TimestampFormat != "" {
				return fmt.Errorf("shape %s: member %s has a timestamp format of its own, which is not supported", name, m.Name)
			}
			literal := p.memberLiteral(name, fmt.Sprintf("Members[%d]", i), m.Name, i, m.ref, sh.requires(m.Name))
			f.line("%s,", strings.TrimPrefix(literal, "smithy.Member"))
		}
		f.line("},")
	}
	f.line("}\n")
	return nil
}

func (p *pkg) memberLiteral(owner, path, name string, index int, r ref, required bool) string {
	parts := []string{fmt.Sprintf("Name: %q", name)}
	if index > 0 {
		parts = append(parts, fmt.Sprintf("Index: %d", index))
	}
	if !p.isLate(owner, path) {
		parts = append(parts, "Target: "+schemaVar(r.Shape))
	}
	if required {
		parts = append(parts, "Required: true")
	}
	if r.LocationName != "" && r.LocationName != name {
		parts = append(parts, fmt.Sprintf("Location: %q", r.LocationName))
	}
	if r.QueryName != "" {
		parts = append(parts, fmt.Sprintf("QueryName: %q", r.QueryName))
	}
	if r.IdempotencyToken {
		parts = append(parts, "Token: true")
	}
	return "smithy.Member{" + strings.Join(parts, ", ") + "}"
}

func (p *pkg) isLate(owner, path string) bool {
	for _, l := range p.Late {
		if l.Owner == owner && l.Path == path {
			return true
		}
	}
	return false
}

func writeTimestamp(f *file, name, format string) error {
	switch format {
	case "":
	case "unixTimestamp":
		f.line("Timestamp: smithy.TimestampEpoch,")
	case "iso8601":
		f.line("Timestamp: smithy.TimestampISO8601,")
	case "rfc822":
		f.line("Timestamp: smithy.TimestampHTTP,")
	default:
		return fmt.Errorf("shape %s: unknown timestamp format %q", name, format)
	}
	return nil
}

func writeConstraints(f *file, name string, sh *shape) error {
	if len(sh.Enum) > 0 {
		f.line("Enum: %#v,", sh.Enum)
	}
	if sh.Pattern != "" {
		pattern, err := goPattern(name, sh)
		if err != nil {
			return err
		}
		if pattern == sh.Pattern {
			f.line("Pattern: &smithy.Pattern{Source: %s},", quote(sh.Pattern))
		} else {
			f.line("Pattern: &smithy.Pattern{Source: %s, RE2: %s},", quote(sh.Pattern), quote(pattern))
		}
	}
	if sh.Min == nil && sh.Max == nil {
		return nil
	}
	var parts []string
	for _, b := range []struct {
		name  string
		value *float64
	}{{"Min", sh.Min}, {"Max", sh.Max}} {
		if b.value == nil {
			continue
		}
		if math.Abs(*b.value) > 1<<53 {
			return fmt.Errorf("shape %s: bound %v is not exact as a float64", name, *b.value)
		}
		parts = append(parts, "Has"+b.name+": true", b.name+": "+strconv.FormatFloat(*b.value, 'f', -1, 64))
	}
	f.line("Bounds: smithy.Bounds{%s},", strings.Join(parts, ", "))
	return nil
}

// quote prefers a raw string, which keeps patterns readable.
func quote(s string) string {
	if strconv.CanBackquote(s) {
		return "`" + s + "`"
	}
	return strconv.Quote(s)
}
