package placement

import (
	"fmt"
	"slices"
	"strings"
)

const maxExpression = 2000

// Expression is a condition of the cluster query language, such as
//
//	attribute:ecs.instance-type =~ t3.* and not (task:group == database)
//
// The zero Expression is true of every instance.
type Expression struct {
	root   condition
	groups []string
}

// condition is true or false of an instance.
type condition func(*Instance) bool

// Matches reports whether the expression is true of an instance.
func (e Expression) Matches(i *Instance) bool { return e.root == nil || e.root(i) }

// Groups are the task groups that the expression asks for; Instance.Groups
// must say which of them have a task there.
func (e Expression) Groups() []string { return e.groups }

// ParseExpression reads an expression. Its errors say where it is wrong.
//
//	expr := or;  or := and {("or" | "||") and};  and := not {("and" | "&&") not}
//	not  := ("not" | "!") not | "(" expr ")" | subject operator [argument]
//
// Words of the language may be in any case.
func ParseExpression(text string) (Expression, error) {
	if len(text) > maxExpression {
		return Expression{}, fmt.Errorf("it is longer than %d characters", maxExpression)
	}
	tokens, err := scan(text)
	if err != nil {
		return Expression{}, err
	}
	p := &parser{tokens: tokens}
	root, err := p.or()
	if err != nil {
		return Expression{}, err
	}
	if t := p.peek(); t.kind != endToken {
		return Expression{}, fmt.Errorf("unexpected '%s' at position %d", t.text, t.at)
	}
	return Expression{root: root, groups: p.groups}, nil
}

type tokenKind int

const (
	endToken tokenKind = iota
	wordToken
	quotedToken
	markToken // operators and brackets
)

type token struct {
	kind tokenKind
	text string
	at   int // position, from 1
}

// marks are tried in this order, so that the longer ones come first.
var marks = [...]string{"==", "!=", ">=", "<=", "=~", "!~", "&&", "||", ">", "<", "!", "(", ")", "[", "]", ","}

const wordEnds = " \t\r\n()[],'\"=<>!~&|"

func scan(text string) ([]token, error) {
	var tokens []token
	for at := 0; at < len(text); {
		rest := text[at:]
		if strings.ContainsAny(rest[:1], " \t\r\n") {
			at++
			continue
		}
		if quote := rest[0]; quote == '\'' || quote == '"' {
			end := strings.IndexByte(rest[1:], quote)
			if end < 0 {
				return nil, fmt.Errorf("the quote at position %d is not closed", at+1)
			}
			tokens = append(tokens, token{quotedToken, rest[1 : 1+end], at + 1})
			at += end + 2
			continue
		}
		if i := slices.IndexFunc(marks[:], func(m string) bool { return strings.HasPrefix(rest, m) }); i >= 0 {
			tokens = append(tokens, token{markToken, marks[i], at + 1})
			at += len(marks[i])
			continue
		}
		end := strings.IndexAny(rest, wordEnds)
		if end < 0 {
			end = len(rest)
		}
		if end == 0 {
			return nil, fmt.Errorf("unexpected '%s' at position %d", rest[:1], at+1)
		}
		tokens = append(tokens, token{wordToken, rest[:end], at + 1})
		at += end
	}
	return append(tokens, token{kind: endToken, text: "end", at: len(text) + 1}), nil
}

type parser struct {
	tokens []token
	groups []string
}

func (p *parser) peek() token { return p.tokens[0] }

func (p *parser) next() token {
	t := p.tokens[0]
	if t.kind != endToken {
		p.tokens = p.tokens[1:]
	}
	return t
}

// accept takes the next token if it is one of these.
func (p *parser) accept(texts ...string) bool {
	t := p.peek()
	if t.kind != wordToken && t.kind != markToken || !slices.Contains(texts, strings.ToLower(t.text)) {
		return false
	}
	p.next()
	return true
}

func (p *parser) or() (condition, error) {
	left, err := p.and()
	for err == nil && p.accept("or", "||") {
		var right condition
		a := left
		if right, err = p.and(); err == nil {
			left = func(i *Instance) bool { return a(i) || right(i) }
		}
	}
	return left, err
}

func (p *parser) and() (condition, error) {
	left, err := p.not()
	for err == nil && p.accept("and", "&&") {
		var right condition
		a := left
		if right, err = p.not(); err == nil {
			left = func(i *Instance) bool { return a(i) && right(i) }
		}
	}
	return left, err
}

func (p *parser) not() (condition, error) {
	switch {
	case p.accept("not", "!"):
		c, err := p.not()
		if err != nil {
			return nil, err
		}
		return func(i *Instance) bool { return !c(i) }, nil
	case p.accept("("):
		c, err := p.or()
		if err != nil {
			return nil, err
		}
		if t := p.peek(); !p.accept(")") {
			return nil, fmt.Errorf("expected ')' instead of '%s' at position %d", t.text, t.at)
		}
		return c, nil
	}
	return p.comparison()
}

// spellings of the operators; the first one of each is the one that is used.
var spellings = [...][]string{
	{"==", "equals"},
	{"!=", "not_equals"},
	{">", "greater_than"},
	{">=", "greater_than_equal"},
	{"<", "less_than"},
	{"<=", "less_than_equal"},
	{"exists"},
	{"!exists", "not_exists"},
	{"in"},
	{"!in", "not_in"},
	{"=~", "matches"},
	{"!~", "not_matches"},
}

func (p *parser) operator() (string, error) {
	t := p.next()
	text := strings.ToLower(t.text)
	if text == "!" && p.accept("in") {
		text = "!in"
	} else if text == "!" && p.accept("exists") {
		text = "!exists"
	}
	for _, names := range spellings {
		if t.kind != quotedToken && slices.Contains(names, text) {
			return names[0], nil
		}
	}
	return "", fmt.Errorf("expected an operator instead of '%s' at position %d", t.text, t.at)
}

func (p *parser) comparison() (condition, error) {
	subject := p.next()
	if subject.kind != wordToken {
		return nil, fmt.Errorf("expected a subject instead of '%s' at position %d", subject.text, subject.at)
	}
	operator, err := p.operator()
	if err != nil {
		return nil, err
	}
	var values []string
	switch operator {
	case "exists", "!exists":
	case "in", "!in":
		values, err = p.list()
	default:
		var v string
		v, err = p.value()
		values = []string{v}
	}
	if err != nil {
		return nil, err
	}
	if name := strings.ToLower(subject.text); name == "task:group" {
		p.groups = append(p.groups, values...)
	}
	c, err := compare(subject.text, operator, values)
	if err != nil {
		return nil, fmt.Errorf("%w at position %d", err, subject.at)
	}
	return c, nil
}

func (p *parser) value() (string, error) {
	t := p.next()
	if t.kind != wordToken && t.kind != quotedToken {
		return "", fmt.Errorf("expected a value instead of '%s' at position %d", t.text, t.at)
	}
	return t.text, nil
}

func (p *parser) list() ([]string, error) {
	if t := p.peek(); !p.accept("[") {
		return nil, fmt.Errorf("expected '[' instead of '%s' at position %d", t.text, t.at)
	}
	var values []string
	for {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		values = append(values, v)
		if p.accept("]") {
			return values, nil
		}
		if t := p.peek(); !p.accept(",") {
			return nil, fmt.Errorf("expected ',' or ']' instead of '%s' at position %d", t.text, t.at)
		}
	}
}
