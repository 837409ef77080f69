package main

import (
	"fmt"
	"os"
	"strings"
)

// scope is a scope file: settings ("name: value") and operations, one a line,
// with "#" comments. An operation may override the service's error codes:
//
//	malformed: SerializationException
//	violation: InvalidParameterException
//	missing: InvalidParameterException
//	wording: coral
//
//	RunTask
//	RegisterTaskDefinition missing=ClientException
type scope struct {
	Codes      codes
	Operations []scopedOperation
}

type scopedOperation struct {
	Name  string
	Codes codes
}

// codes are what a service answers to requests that its model forbids; see
// smithy.Codes.
type codes struct {
	Malformed, Violation, Missing, Wording string
}

func (c *codes) set(name, value string) error {
	switch name {
	case "malformed":
		c.Malformed = value
	case "violation":
		c.Violation = value
	case "missing":
		c.Missing = value
	case "wording":
		if value != "coral" && value != "ec2" && value != "ecr" {
			return fmt.Errorf("wording %q: want coral, ec2 or ecr", value)
		}
		c.Wording = value
	default:
		return fmt.Errorf("unknown setting %q", name)
	}
	return nil
}

func readScope(path string) (*scope, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read scope: %w", err)
	}
	s := &scope{}
	for i, line := range strings.Split(string(b), "\n") {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if err := s.parse(line); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, i+1, err)
		}
	}
	if s.Codes.Malformed == "" || s.Codes.Violation == "" || s.Codes.Missing == "" || s.Codes.Wording == "" {
		return nil, fmt.Errorf("%s: malformed, violation, missing and wording must be set", path)
	}
	for i := range s.Operations {
		s.Operations[i].Codes = s.Operations[i].Codes.or(s.Codes)
	}
	return s, nil
}

func (s *scope) parse(line string) error {
	if name, value, ok := strings.Cut(line, ":"); ok {
		return s.Codes.set(name, strings.TrimSpace(value))
	}
	fields := strings.Fields(line)
	op := scopedOperation{Name: fields[0]}
	for _, f := range fields[1:] {
		name, value, _ := strings.Cut(f, "=")
		if err := op.Codes.set(name, value); err != nil {
			return err
		}
	}
	for _, other := range s.Operations {
		if other.Name == op.Name {
			return fmt.Errorf("operation %s is listed twice", op.Name)
		}
	}
	s.Operations = append(s.Operations, op)
	return nil
}

// or fills what c leaves open from d.
func (c codes) or(d codes) codes {
	pick := func(a, b string) string {
		if a != "" {
			return a
		}
		return b
	}
	return codes{
		Malformed: pick(c.Malformed, d.Malformed),
		Violation: pick(c.Violation, d.Violation),
		Missing:   pick(c.Missing, d.Missing),
		Wording:   pick(c.Wording, d.Wording),
	}
}
