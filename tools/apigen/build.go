package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// pkg is everything that the writers need to know about one package. All lists
// are sorted, so that output depends on input alone.
type pkg struct {
	Name       string // "ecsapi"
	Key        string // "ecs", the model's file name
	Meta       metadata
	Codes      codes
	Operations []*opDecl
	Schemas    []string      // every reachable shape
	Structs    []*structDecl // Go structures, errors excepted
	Errors     []*structDecl
	Enums      []string
	Containers []string // lists and maps that are elements themselves
	Late       []lateTarget

	shapes    map[string]*shape
	synthetic map[string]bool // shapes that the model lacks: missing inputs and outputs
}

type opDecl struct {
	Name          string
	Input, Output string // shape names
	Errors        []string
	ResultWrapper string
	ReadOnly      bool
	Codes         codes
}

// structDecl is one Go structure. An operation's input and output are named
// after the operation, whatever the model calls their shapes.
type structDecl struct {
	GoName string
	Shape  string
	Doc    string
}

// lateTarget is a member that closes a cycle of shapes. Go refuses variables
// that refer to each other in a circle, so its target is set afterwards.
type lateTarget struct {
	Owner, Path, Target string
}

func build(key string, m *model, sc *scope) (*pkg, error) {
	p := &pkg{
		Name:      key + "api",
		Key:       key,
		Meta:      m.Metadata,
		Codes:     sc.Codes,
		shapes:    maps.Clone(m.Shapes),
		synthetic: map[string]bool{},
	}
	if err := p.addOperations(m, sc); err != nil {
		return nil, err
	}
	w := &walker{shapes: p.shapes, state: map[string]visit{}, nested: map[string]bool{}, elements: map[string]bool{}}
	for _, op := range p.Operations {
		for _, root := range slices.Concat([]string{op.Input, op.Output}, op.Errors) {
			if err := w.walk(root); err != nil {
				return nil, err
			}
		}
	}
	p.Schemas = slices.Sorted(maps.Keys(w.state))
	p.Late = w.late
	p.declare(w)
	return p, p.checkNames()
}

// addOperations resolves the scope's operations, inventing the empty shapes
// that the model leaves out.
func (p *pkg) addOperations(m *model, sc *scope) error {
	root := func(r *ref, name string) string {
		if r != nil {
			return r.Shape
		}
		p.shapes[name] = &shape{Type: "structure"}
		p.synthetic[name] = true
		return name
	}
	for _, so := range sc.Operations {
		op := m.Operations[so.Name]
		if op == nil {
			return fmt.Errorf("operation %s is not in the model", so.Name)
		}
		d := &opDecl{
			Name:     so.Name,
			Input:    root(op.Input, so.Name+"Input"),
			Output:   root(op.Output, so.Name+"Output"),
			ReadOnly: op.ReadOnly,
			Codes:    so.Codes,
		}
		if op.Output != nil {
			d.ResultWrapper = op.Output.ResultWrapper
		}
		for _, e := range op.Errors {
			d.Errors = append(d.Errors, e.Shape)
		}
		slices.Sort(d.Errors)
		p.Operations = append(p.Operations, d)
	}
	slices.SortFunc(p.Operations, func(a, b *opDecl) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

// declare decides which shapes become which Go declarations.
func (p *pkg) declare(w *walker) {
	for _, op := range p.Operations {
		p.Structs = append(p.Structs,
			&structDecl{GoName: op.Name + "Input", Shape: op.Input, Doc: "is the input of " + op.Name + "."},
			&structDecl{GoName: op.Name + "Output", Shape: op.Output, Doc: "is the output of " + op.Name + "."})
	}
	for _, name := range p.Schemas {
		sh := p.shapes[name]
		switch {
		case sh.Type == "structure" && sh.Exception:
			p.Errors = append(p.Errors, &structDecl{GoName: typeName(name), Shape: name, Doc: "is an error of " + p.Meta.ServiceID + "."})
		case sh.Type == "structure" && w.nested[name]:
			p.Structs = append(p.Structs, &structDecl{GoName: typeName(name), Shape: name, Doc: "is the model's " + name + "."})
		case sh.Type == "string" && len(sh.Enum) > 0:
			p.Enums = append(p.Enums, name)
		case (sh.Type == "list" || sh.Type == "map") && w.elements[name]:
			p.Containers = append(p.Containers, name)
		}
	}
	slices.SortFunc(p.Structs, func(a, b *structDecl) int { return strings.Compare(a.GoName, b.GoName) })
}

// checkNames refuses two declarations of one Go name, which models with
// careless capitals could bring.
func (p *pkg) checkNames() error {
	seen := map[string]bool{"Service": true, "Unimplemented": true, "API": true}
	declare := func(name string) error {
		if seen[name] {
			return fmt.Errorf("two declarations of %s", name)
		}
		seen[name] = true
		return nil
	}
	for _, d := range slices.Concat(p.Structs, p.Errors) {
		if err := declare(d.GoName); err != nil {
			return err
		}
		fields := map[string]bool{}
		for _, m := range p.shapes[d.Shape].Members {
			f := fieldName(m.Name)
			if fields[f] {
				return fmt.Errorf("%s: two fields %s", d.GoName, f)
			}
			fields[f] = true
		}
	}
	for _, e := range p.Enums {
		if err := declare(typeName(e)); err != nil {
			return err
		}
		for _, v := range p.shapes[e].Enum {
			if err := declare(enumConst(typeName(e), v)); err != nil {
				return err
			}
		}
	}
	return nil
}
