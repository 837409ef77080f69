package docs_test

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// evidence says which tests use which operations of a service, and which
// members of their inputs.
type evidence struct {
	tests map[string][]proof // by "Operation" and "Operation.member", in lower case
}

// proof is a test function.
type proof struct {
	pkg, name string
	rank      int // the lower, the closer to what a user does
}

func (p proof) String() string { return p.pkg + " " + p.name }

// decl is a function or variable of a test package: what it says itself, and
// what else of its package it uses.
type decl struct {
	facts map[string]bool
	uses  map[string]bool
}

// gather reads the tests of packages, the service's own last.
func gather(t *testing.T, service string, operations []string, packages ...string) evidence {
	t.Helper()
	e := evidence{tests: map[string][]proof{}}
	for rank, pkg := range packages {
		decls := parseTests(t, filepath.Join(root, pkg), service, operations)
		for name := range decls {
			if !strings.HasPrefix(name, "Test") || name == "TestMain" {
				continue
			}
			for fact := range closure(decls, name) {
				e.tests[fact] = append(e.tests[fact], proof{pkg, name, rank})
			}
		}
	}
	for _, proofs := range e.tests {
		slices.SortFunc(proofs, func(a, b proof) int { return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.name, b.name)) })
	}
	return e
}

// best is the test to name: the one closest to what a user does.
func (e evidence) best(fact string) string {
	if proofs := e.tests[strings.ToLower(fact)]; len(proofs) > 0 {
		return proofs[0].String()
	}
	return ""
}

// closure collects the facts of a declaration and of all that it uses.
func closure(decls map[string]*decl, name string) map[string]bool {
	facts, seen := map[string]bool{}, map[string]bool{}
	var visit func(string)
	visit = func(name string) {
		d, ok := decls[name]
		if !ok || seen[name] {
			return
		}
		seen[name] = true
		for f := range d.facts {
			facts[f] = true
		}
		for u := range d.uses {
			visit(u)
		}
	}
	visit(name)
	return facts
}

func parseTests(t *testing.T, dir, service string, operations []string) map[string]*decl {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	decls := map[string]*decl{}
	set := token.NewFileSet()
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := parser.ParseFile(set, file, source, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		// A package that has several services' clients says whose a call is by
		// the type of its input.
		mixed := !strings.HasSuffix(filepath.ToSlash(dir), "/service/"+service)
		for _, d := range parsed.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				decls[d.Name.Name] = read1(d, service, operations, mixed)
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if v, ok := spec.(*ast.ValueSpec); ok {
						for _, name := range v.Names {
							decls[name.Name] = read1(v, service, operations, mixed)
						}
					}
				}
			}
		}
	}
	return decls
}

var jsonMember = regexp.MustCompile(`"([A-Za-z]+)"\s*:`)

// read1 collects what one declaration says.
func read1(node ast.Node, service string, operations []string, mixed bool) *decl {
	d := &decl{facts: map[string]bool{}, uses: map[string]bool{}}
	var called []string
	members := map[string]bool{} // assigned or spelled, of whichever operation is called here
	ast.Inspect(node, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CompositeLit:
			op, ok := inputOf(n.Type, service, mixed)
			if !ok || !slices.Contains(operations, op) {
				break
			}
			called = append(called, op)
			for _, element := range n.Elts {
				if kv, ok := element.(*ast.KeyValueExpr); ok {
					if key, ok := kv.Key.(*ast.Ident); ok {
						d.facts[strings.ToLower(op+"."+key.Name)] = true
					}
				}
			}
		case *ast.SelectorExpr:
			d.uses[n.Sel.Name] = true
			if !mixed && slices.Contains(operations, n.Sel.Name) {
				called = append(called, n.Sel.Name)
			}
		case *ast.Ident:
			d.uses[n.Name] = true
		case *ast.AssignStmt:
			for _, left := range n.Lhs {
				if s, ok := left.(*ast.SelectorExpr); ok {
					members[s.Sel.Name] = true
				}
			}
		case *ast.BasicLit:
			for _, m := range jsonMember.FindAllStringSubmatch(strings.ReplaceAll(n.Value, `\"`, `"`), -1) {
				members[m[1]] = true
			}
		}
		return true
	})
	for _, op := range called {
		d.facts[strings.ToLower(op)] = true
		for m := range members {
			d.facts[strings.ToLower(op+"."+m)] = true
		}
	}
	return d
}

// inputOf is the operation whose input a composite literal makes: ecsapi's or
// the SDK's ecs.RunTaskInput.
func inputOf(typ ast.Expr, service string, mixed bool) (string, bool) {
	name, pkg := "", ""
	switch typ := typ.(type) {
	case *ast.Ident:
		name = typ.Name
	case *ast.SelectorExpr:
		name = typ.Sel.Name
		if x, ok := typ.X.(*ast.Ident); ok {
			pkg = x.Name
		}
	}
	op, ok := strings.CutSuffix(name, "Input")
	if !ok {
		return "", false
	}
	if mixed && pkg != sdkName(service) && pkg != service+"api" {
		return "", false
	}
	return op, true
}

// sdkName is the SDK's package name of a service.
func sdkName(service string) string {
	switch service {
	case "logs":
		return "cloudwatchlogs"
	case "elbv2":
		return "elasticloadbalancingv2"
	default:
		return service
	}
}
