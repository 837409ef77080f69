package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	var dirs dirs
	flag.StringVar(&dirs.models, "models", "../../../shared/models", "directory of service models, <service>.json each")
	flag.StringVar(&dirs.scope, "scope", "scope", "directory of scope files, <service>.txt each")
	flag.StringVar(&dirs.patches, "patches", "patches", "directory of model corrections, <service>.json each")
	flag.StringVar(&dirs.out, "out", "../../internal/wire/api", "directory that receives one package per service")
	flag.Parse()
	if err := run(dirs); err != nil {
		fmt.Fprintln(os.Stderr, "apigen:", err)
		os.Exit(1)
	}
}

// dirs are where a run reads and writes.
type dirs struct {
	models, scope, patches, out string
}

func run(d dirs) error {
	scopes, err := filepath.Glob(filepath.Join(d.scope, "*.txt"))
	if err != nil {
		return err
	}
	if len(scopes) == 0 {
		return fmt.Errorf("no scope files in %s", d.scope)
	}
	for _, path := range scopes {
		name := strings.TrimSuffix(filepath.Base(path), ".txt")
		if err := generate(d, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// generate writes the package of one service.
func generate(d dirs, name string) error {
	scope, err := readScope(filepath.Join(d.scope, name+".txt"))
	if err != nil {
		return err
	}
	model, err := readModel(filepath.Join(d.models, name+".json"))
	if err != nil {
		return err
	}
	if err := applyPatches(model, filepath.Join(d.patches, name+".json")); err != nil {
		return err
	}
	pkg, err := build(name, model, scope)
	if err != nil {
		return err
	}
	return writePackage(filepath.Join(d.out, pkg.Name), pkg)
}
