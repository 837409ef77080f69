package main

import "fmt"

type visit uint8

const (
	visiting visit = iota + 1
	visited
)

// walker finds the shapes that are reachable from its roots, and the members
// that close cycles between them.
type walker struct {
	shapes   map[string]*shape
	state    map[string]visit
	nested   map[string]bool // structures that some member refers to
	elements map[string]bool // lists and maps that are elements of lists and maps
	late     []lateTarget
}

func (w *walker) walk(name string) error {
	if w.state[name] != 0 {
		return nil
	}
	sh := w.shapes[name]
	if err := supported(name, sh); err != nil {
		return err
	}
	w.state[name] = visiting
	for i, m := range sh.Members {
		w.nested[m.Shape] = true
		if err := w.follow(name, fmt.Sprintf("Members[%d]", i), m.Shape); err != nil {
			return err
		}
	}
	for _, part := range []struct {
		path string
		ref  *ref
	}{{"Elem", sh.Member}, {"Key", sh.Key}, {"Value", sh.Value}} {
		if part.ref == nil {
			continue
		}
		w.nested[part.ref.Shape] = true
		w.elements[part.ref.Shape] = true
		if err := w.follow(name, part.path, part.ref.Shape); err != nil {
			return err
		}
	}
	w.state[name] = visited
	return nil
}

func (w *walker) follow(owner, path, target string) error {
	if w.state[target] == visiting {
		w.late = append(w.late, lateTarget{Owner: owner, Path: path, Target: target})
		return nil
	}
	return w.walk(target)
}

// supported refuses what the runtime has no form for yet, at generation rather
// than in front of a client.
func supported(name string, sh *shape) error {
	switch {
	case sh == nil:
		return fmt.Errorf("shape %s is not in the model", name)
	case sh.Document:
		return fmt.Errorf("shape %s is a document, which is not supported", name)
	case sh.EventStream:
		return fmt.Errorf("shape %s is an event stream, which is not supported", name)
	}
	for _, m := range sh.Members {
		if m.Flattened {
			return fmt.Errorf("shape %s: member %s is flattened by itself, which is not supported", name, m.Name)
		}
	}
	switch sh.Type {
	case "boolean", "integer", "long", "float", "double", "string", "blob", "timestamp", "list", "map", "structure":
		return nil
	}
	return fmt.Errorf("shape %s has type %q, which is not supported", name, sh.Type)
}
