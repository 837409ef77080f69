package secretref

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/model"
)

// Store is the service that keeps a secret.
type Store int

// The services.
const (
	SecretsManager Store = iota
	ParameterStore
)

// Ref is a parsed reference.
type Ref struct {
	Store Store
	// ID is what the service is asked for: the SecretId of GetSecretValue, or
	// one of the Names of GetParameters. A parameter that was named by ARN is
	// asked for by ARN, which alone finds both x and /x.
	ID string
	// Name is a parameter's name as failures name it. An ARN does not tell x
	// from /x: Name is then x.
	Name string
	// SecretID names the secret that is meant, by name or by ARN; for a
	// parameter only that of /aws/reference/secretsmanager/.
	SecretID string
	// Key is the member of a secret that is a JSON object; empty: all of it.
	Key string
	// Stage and VersionID choose a secret's version, at most one of them; both
	// empty: AWSCURRENT.
	Stage, VersionID string
	// ARN is the resource in policies: the secret's as it was written, or the
	// parameter's.
	ARN string
}

// ReferencePrefix begins the names of parameters that are secrets.
const ReferencePrefix = "/aws/reference/secretsmanager/"

// The ways in which a reference is wrong. A name that cannot be a parameter's
// has AWS's sentence at RegisterTaskDefinition.
var (
	ErrParameterName = errors.New("the parameter name is invalid")
	ErrForm          = errors.New("the ARN names neither a secret nor a parameter")
	ErrFields        = errors.New("a secret's ARN is followed by nothing or by :json-key:version-stage:version-id, each of which can be empty")
	ErrBoth          = errors.New("a version stage and a version id exclude each other")
)

// parameterName is what names of parameters are made of.
var parameterName = regexp.MustCompile(`^[a-zA-Z0-9_.\-/]+$`)

// maxParameterName is how long they are at most.
const maxParameterName = 2048

func validParameter(name string) bool {
	return len(name) <= maxParameterName && parameterName.MatchString(name)
}

// Parse reads a reference. scope is where bare names are looked for.
func Parse(valueFrom string, scope arn.Scope) (Ref, error) {
	if !arn.Is(valueFrom) {
		if !validParameter(valueFrom) {
			return Ref{}, fmt.Errorf("%q: %w", valueFrom, ErrParameterName)
		}
		return parameter(valueFrom, valueFrom, scope.Regional("ssm", "parameter/"+strings.TrimPrefix(valueFrom, "/"))), nil
	}
	a, err := arn.Parse(valueFrom)
	if err != nil {
		return Ref{}, fmt.Errorf("%q: %w", valueFrom, ErrForm)
	}
	if rest, ok := strings.CutPrefix(a.Resource, "secret:"); ok && a.Service == "secretsmanager" {
		return secret(a, rest)
	}
	if rest, ok := strings.CutPrefix(a.Resource, "parameter/"); ok && a.Service == "ssm" {
		if !validParameter(rest) {
			return Ref{}, fmt.Errorf("%q: %w", valueFrom, ErrParameterName)
		}
		name := rest
		if strings.Contains(rest, "/") {
			name = "/" + rest // names with several parts begin with a slash
		}
		return parameter(valueFrom, name, valueFrom), nil
	}
	return Ref{}, fmt.Errorf("%q: %w", valueFrom, ErrForm)
}

func parameter(id, name, resource string) Ref {
	ref := Ref{Store: ParameterStore, ID: id, Name: name, ARN: resource}
	if secret, ok := strings.CutPrefix(name, ReferencePrefix); ok {
		ref.SecretID = secret
	}
	return ref
}

// secret reads what follows "secret:" in an ARN. Names of secrets have no
// colon.
func secret(a arn.ARN, rest string) (Ref, error) {
	fields := strings.Split(rest, ":")
	if fields[0] == "" {
		return Ref{}, fmt.Errorf("%q: %w", a, ErrForm)
	}
	ref := Ref{Store: SecretsManager}
	switch len(fields) {
	case 1:
	case 4:
		ref.Key, ref.Stage, ref.VersionID = fields[1], fields[2], fields[3]
	default:
		return Ref{}, fmt.Errorf("%q: %w", a, ErrFields)
	}
	if ref.Stage != "" && ref.VersionID != "" {
		return Ref{}, fmt.Errorf("%q: %w", a, ErrBoth)
	}
	a.Resource = "secret:" + fields[0]
	ref.ID = a.String()
	ref.SecretID, ref.ARN = ref.ID, ref.ID
	return ref, nil
}

// Member returns a member of a secret that is a JSON object: a string as it
// is, another value as its JSON text (uncertain). It reports false when the
// secret is no object or has no such member.
func Member(secret, key string) (string, bool) {
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(secret), &object) != nil {
		return "", false
	}
	raw, found := object[key]
	if !found {
		return "", false
	}
	if text := bytes.TrimSpace(raw); len(text) == 0 || text[0] != '"' {
		return string(text), true
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return "", false
	}
	return text, true
}

// suffix is what a secret's ARN has after its name.
const suffix = len("-123456")

// Candidates returns the names of secrets that a SecretId can mean, the likely
// one first: a name, an ARN, or an ARN without its random ending.
func Candidates(id string) []string {
	if !arn.Is(id) {
		return []string{id}
	}
	_, name, found := strings.Cut(id, ":secret:")
	if !found || name == "" {
		return nil
	}
	if at := len(name) - suffix; at > 0 && name[at] == '-' {
		return []string{name[:at], name}
	}
	return []string{name}
}

// Names reports whether a SecretId means the secret. A name never means a
// secret whose ARN it resembles.
func Names(id string, s *model.Secret) bool {
	if !arn.Is(id) {
		return id == s.Name
	}
	return id == s.ARN || len(s.ARN) > suffix && id == s.ARN[:len(s.ARN)-suffix]
}

// Version returns the id of the version that a reference means; empty when the
// secret has none with the label.
func (r Ref) Version(s *model.Secret) string {
	switch {
	case r.VersionID != "":
		return r.VersionID
	case r.Stage != "":
		return s.Stages[r.Stage]
	}
	return s.Stages[model.StageCurrent]
}
