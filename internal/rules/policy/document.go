package policy

import (
	"slices"
	"strings"
)

// Document is a parsed policy. It is immutable.
type Document struct {
	kind       Kind
	version    string
	id         string
	text       string
	bracketed  bool // Statement is an array
	statements []statement
	keys       []string
	actions    []string
}

// statement is compiled: what a request is compared with.
type statement struct {
	sid          string
	deny         bool
	notAction    bool
	notResource  bool
	notPrincipal bool
	actions      actions
	resources    []arnPattern // none in trust policies and those of repositories: what has the policy
	principals   principals   // of no meaning in identity policies
	conditions   []condition
	start, end   int
}

// applies reports whether the statement is about the request: its action, its
// resource and its conditions. Whom it is about is the caller's question.
func (s *statement) applies(ask *asking) bool {
	if s.actions.match(ask.request.Action) == s.notAction {
		return false
	}
	if len(s.resources) > 0 && s.names(ask) == s.notResource {
		return false
	}
	for i := range s.conditions {
		if !s.conditions[i].holds(ask) {
			return false
		}
	}
	return true
}

func (s *statement) names(ask *asking) bool {
	for i := range s.resources {
		if s.resources[i].match(ask.request.Resource, ask) {
			return true
		}
	}
	return false
}

// Kind says where the document stands.
func (d *Document) Kind() Kind { return d.kind }

// Version is the language's version: "2012-10-17", or "2008-10-17", which is
// what a document without one has.
func (d *Document) Version() string { return d.version }

// ID is the document's Id element; empty if it has none.
func (d *Document) ID() string { return d.id }

// Length counts the characters that IAM's size limits count: all but white
// space.
func (d *Document) Length() int { return Length(d.text) }

// Length counts the characters of a document that IAM's size limits count: all
// but white space. The text need not be one that parses.
func Length(text string) int {
	n := 0
	for _, r := range text {
		if !strings.ContainsRune(" \t\r\n", r) {
			n++
		}
	}
	return n
}

// ContextKeys are the condition keys that conditions and variables refer to, as
// they are written, each once: what GetContextKeysForCustomPolicy answers.
func (d *Document) ContextKeys() []string { return slices.Clone(d.keys) }

// Actions are the patterns of Action elements of statements that allow, as they
// are written, each once. What NotAction allows is not among them.
func (d *Document) Actions() []string { return slices.Clone(d.actions) }

// Position is a place in a document's text: lines and columns count from one,
// columns in characters.
type Position struct{ Line, Column int }

// Statement describes a statement for simulation.
type Statement struct {
	Index      int
	Sid        string
	Deny       bool
	Start, End Position
}

// Statements lists the statements in order.
//
// Positions are those of the brackets, as SimulateCustomPolicy gives them. For
// a single statement that is not in an array the simulator answers as if it
// were, one column later: AWS's own example shows 38 where the bracket is the
// 37th character [GK].
func (d *Document) Statements() []Statement {
	list := make([]Statement, 0, len(d.statements))
	for i, s := range d.statements {
		start, end := d.position(s.start), d.position(s.end-1)
		if !d.bracketed {
			start.Column++
			if end.Line == start.Line {
				end.Column++
			}
		}
		list = append(list, Statement{Index: i, Sid: s.sid, Deny: s.deny, Start: start, End: end})
	}
	return list
}

func (d *Document) position(offset int) Position {
	before := d.text[:offset]
	line := strings.Count(before, "\n")
	column := len([]rune(before[strings.LastIndexByte(before, '\n')+1:]))
	return Position{Line: line + 1, Column: column + 1}
}
