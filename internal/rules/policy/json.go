package policy

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// nodeKind is the kind of a JSON value.
type nodeKind int

const (
	nullNode nodeKind = iota
	stringNode
	numberNode
	boolNode
	arrayNode
	objectNode
)

// node is a JSON value that remembers what encoding/json's maps forget: the
// order of members and where in the text it stood.
type node struct {
	kind       nodeKind
	text       string   // of a string, number or boolean
	items      []node   // of an array
	members    []member // of an object, in order
	start, end int      // byte offsets, end exclusive; of arrays and objects
}

type member struct {
	name  string
	value node
}

// get returns a member's value.
func (n *node) get(name string) (*node, bool) {
	for i := range n.members {
		if n.members[i].name == name {
			return &n.members[i].value, true
		}
	}
	return nil, false
}

// list returns an array's items, and any other value as the only one: the
// grammar lets a single string stand for a list of one.
func (n *node) list() []node {
	if n.kind == arrayNode {
		return n.items
	}
	return []node{*n}
}

// strings returns the texts of a string or of an array of strings.
func (n *node) strings() ([]string, bool) {
	items := n.list()
	texts := make([]string, 0, len(items))
	for _, item := range items {
		if item.kind != stringNode {
			return nil, false
		}
		texts = append(texts, item.text)
	}
	return texts, true
}

// maxDepth is one more than the grammar needs (document, statements,
// statement, condition, operator, values), so that no text can exhaust the
// stack.
const maxDepth = 8

var errJSON = errors.New("not JSON that a policy can be")

// parseJSON reads text as one JSON value. It refuses a name that an object has
// twice: which of the two counts would be anybody's guess.
func parseJSON(text string) (node, error) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	root, err := parseValue(decoder, 0)
	if err != nil {
		return node{}, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return node{}, errJSON
	}
	return root, nil
}

func parseValue(decoder *json.Decoder, depth int) (node, error) {
	token, err := decoder.Token()
	if err != nil || depth > maxDepth {
		return node{}, errJSON
	}
	switch token := token.(type) {
	case string:
		return node{kind: stringNode, text: token}, nil
	case json.Number:
		return node{kind: numberNode, text: token.String()}, nil
	case bool:
		if token {
			return node{kind: boolNode, text: "true"}, nil
		}
		return node{kind: boolNode, text: "false"}, nil
	case json.Delim:
		if token == '{' {
			return parseObject(decoder, depth)
		}
		return parseArray(decoder, depth)
	default:
		return node{kind: nullNode}, nil
	}
}

func parseArray(decoder *json.Decoder, depth int) (node, error) {
	n := node{kind: arrayNode, start: int(decoder.InputOffset()) - 1}
	for decoder.More() {
		item, err := parseValue(decoder, depth+1)
		if err != nil {
			return node{}, err
		}
		n.items = append(n.items, item)
	}
	return n, closing(decoder, &n)
}

func parseObject(decoder *json.Decoder, depth int) (node, error) {
	n := node{kind: objectNode, start: int(decoder.InputOffset()) - 1}
	seen := map[string]bool{}
	for decoder.More() {
		token, err := decoder.Token()
		name, ok := token.(string)
		if err != nil || !ok || seen[name] {
			return node{}, errJSON
		}
		seen[name] = true
		value, err := parseValue(decoder, depth+1)
		if err != nil {
			return node{}, err
		}
		n.members = append(n.members, member{name: name, value: value})
	}
	return n, closing(decoder, &n)
}

// closing reads the bracket that ends n.
func closing(decoder *json.Decoder, n *node) error {
	if _, err := decoder.Token(); err != nil {
		return errJSON
	}
	n.end = int(decoder.InputOffset())
	return nil
}
