package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// model is botocore's service-2.json, the parts that matter here.
type model struct {
	Metadata   metadata              `json:"metadata"`
	Operations map[string]*operation `json:"operations"`
	Shapes     map[string]*shape     `json:"shapes"`
}

type metadata struct {
	APIVersion     string `json:"apiVersion"`
	EndpointPrefix string `json:"endpointPrefix"`
	JSONVersion    string `json:"jsonVersion"`
	Protocol       string `json:"protocol"`
	ServiceID      string `json:"serviceId"`
	SigningName    string `json:"signingName"`
	TargetPrefix   string `json:"targetPrefix"`
	XMLNamespace   string `json:"xmlNamespace"`
}

type operation struct {
	Name     string `json:"name"`
	Input    *ref   `json:"input"`
	Output   *ref   `json:"output"`
	Errors   []ref  `json:"errors"`
	ReadOnly bool   `json:"readonly"`
}

// ref is a use of a shape: an operation's, a member's, an element's.
type ref struct {
	Shape            string `json:"shape"`
	LocationName     string `json:"locationName"`
	QueryName        string `json:"queryName"`
	ResultWrapper    string `json:"resultWrapper"`
	IdempotencyToken bool   `json:"idempotencyToken"`
	TimestampFormat  string `json:"timestampFormat"`
	Flattened        bool   `json:"flattened"`
}

type shape struct {
	Type            string     `json:"type"`
	Members         members    `json:"members"`
	Required        []string   `json:"required"`
	Member          *ref       `json:"member"`
	Key             *ref       `json:"key"`
	Value           *ref       `json:"value"`
	Enum            []string   `json:"enum"`
	Pattern         string     `json:"pattern"`
	Min             *float64   `json:"min"`
	Max             *float64   `json:"max"`
	Flattened       bool       `json:"flattened"`
	Sensitive       bool       `json:"sensitive"`
	Union           bool       `json:"union"`
	Document        bool       `json:"document"`
	EventStream     bool       `json:"eventstream"`
	TimestampFormat string     `json:"timestampFormat"`
	Exception       bool       `json:"exception"`
	Fault           bool       `json:"fault"`
	Error           *errorInfo `json:"error"`

	pattern2 string // the pattern in Go's syntax, when it had to be patched
}

type errorInfo struct {
	Code           string `json:"code"`
	HTTPStatusCode int    `json:"httpStatusCode"`
	SenderFault    bool   `json:"senderFault"`
}

// members keeps the model's order, which is the order of validation messages
// and of everything we write.
type members []member

type member struct {
	Name string
	ref
}

func (ms *members) UnmarshalJSON(b []byte) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	if _, err := dec.Token(); err != nil {
		return err
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		m := member{Name: name.(string)} // an object's key is always a string
		if err := dec.Decode(&m.ref); err != nil {
			return fmt.Errorf("member %s: %w", m.Name, err)
		}
		*ms = append(*ms, m)
	}
	return nil
}

func readModel(path string) (*model, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read model: %w", err)
	}
	var file struct {
		Service *model `json:"service"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		return nil, fmt.Errorf("read model %s: %w", path, err)
	}
	if file.Service == nil {
		return nil, fmt.Errorf("read model %s: no service in it", path)
	}
	return file.Service, nil
}

// patches correct a model. Each entry must name something that exists, so that
// a correction which a newer model no longer needs is noticed.
type patches struct {
	// Patterns maps a shape to its pattern in Go's syntax. The model's own text
	// is still what messages quote.
	Patterns map[string]string `json:"patterns"`
	// Opaque lists documents that are read as structures without members: what
	// is in them is lost, so only operations that refuse them may have them.
	Opaque []string `json:"opaque"`
}

func applyPatches(m *model, path string) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read patches: %w", err)
	}
	var p patches
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return fmt.Errorf("read patches %s: %w", path, err)
	}
	for name, pattern := range p.Patterns {
		sh := m.Shapes[name]
		if sh == nil || sh.Pattern == "" {
			return fmt.Errorf("patches %s: shape %s has no pattern to patch", path, name)
		}
		sh.pattern2 = pattern
	}
	for _, name := range p.Opaque {
		sh := m.Shapes[name]
		if sh == nil || !sh.Document {
			return fmt.Errorf("patches %s: shape %s is no document to make opaque", path, name)
		}
		sh.Document = false
	}
	return nil
}
