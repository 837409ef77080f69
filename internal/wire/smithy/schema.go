package smithy

import (
	"regexp"
	"sync"
)

// Kind is the type of a shape.
type Kind uint8

// The kinds of shapes. Enums are strings with Schema.Enum set; unions are
// structures with Schema.Union set.
const (
	KindBoolean Kind = iota + 1
	KindInteger
	KindLong
	KindFloat
	KindDouble
	KindString
	KindBlob
	KindTimestamp
	KindList
	KindMap
	KindStructure
)

// Schema describes one shape of a model. Generated, immutable, shared between
// goroutines. Shapes may refer to themselves: never walk a schema without a
// value or a depth limit.
type Schema struct {
	Name string // the model's name of the shape: "RunTaskRequest"
	Kind Kind

	Members []*Member // of a structure, in the model's order; Members[i].Index == i
	Elem    *Member   // of a list
	Key     *Member   // of a map
	Value   *Member   // of a map

	Union     bool            // of a structure: one member at a time
	Flattened bool            // list or map without its own element in query and XML
	Sensitive bool            // the value must not be repeated in messages or logs
	Timestamp TimestampFormat // of a timestamp, where it is not the protocol's default

	Enum    []string // allowed values of a string, in the model's order
	Pattern *Pattern // of a string
	Bounds  Bounds   // length of strings (characters), blobs (bytes), lists, maps; value of numbers

	Error *ErrorTrait // set on error structures
}

// Member is a structure's member, a list's element, or a map's key or value.
type Member struct {
	Name      string // the model's name; "member", "key", "value" in lists and maps
	Index     int    // position in Schema.Members
	Target    *Schema
	Required  bool
	Location  string // locationName, "" when it is Name
	QueryName string // EC2's name in requests, "" when it follows from Location
	Token     bool   // idempotency token: clients fill it in when absent
}

// WireName is the member's name in JSON, query requests and XML responses.
// (EC2 requests differ, see package ec2query.)
func (m *Member) WireName() string {
	if m.Location != "" {
		return m.Location
	}
	return m.Name
}

// Bounds limits a length or a value, both ends included.
type Bounds struct {
	HasMin, HasMax bool
	Min, Max       float64
}

// ErrorTrait is what the model says about an error structure.
type ErrorTrait struct {
	Code   string // on the wire; often not the shape's name in query protocols
	Status int    // HTTP
	Fault  Fault
}

// TimestampFormat is how a timestamp is written.
type TimestampFormat uint8

// Timestamp formats. TimestampDefault leaves it to the protocol: epoch seconds
// in JSON, ISO 8601 in XML.
const (
	TimestampDefault TimestampFormat = iota
	TimestampEpoch
	TimestampISO8601
	TimestampHTTP
)

// Pattern is a regular expression of a model, matched against the whole value.
type Pattern struct {
	Source string // as in the model (Java); quoted in messages
	RE2    string // the same for Go, "" when Source is good as it is

	once sync.Once
	re   *regexp.Regexp
}

// Match says whether s satisfies the pattern. The expression is compiled at
// first use, since a process needs few of the thousands there are; the
// generator has proved that it compiles.
func (p *Pattern) Match(s string) bool {
	p.once.Do(func() {
		src := p.RE2
		if src == "" {
			src = p.Source
		}
		p.re = regexp.MustCompile(`\A(?:` + src + `)\z`)
	})
	return p.re.MatchString(s)
}
