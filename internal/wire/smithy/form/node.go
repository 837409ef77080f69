package form

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// param is one parameter.
type param struct {
	name, value string
}

// node is one position in the tree of parameters: a range of the sorted list of
// them, so that the tree costs no memory beside that list whatever the names
// look like.
type node struct {
	value string
	leaf  bool    // a parameter ends here
	below []param // parameters whose names go on with a dot
	skip  int     // where the next part begins in the names of below
}

// root is the node above all parameters. Of duplicate ones the last counts.
func root(values url.Values) *node {
	params := make([]param, 0, len(values))
	for name, vs := range values {
		if len(vs) > 0 {
			params = append(params, param{name, vs[len(vs)-1]})
		}
	}
	slices.SortFunc(params, func(a, b param) int { return strings.Compare(a.name, b.name) })
	return &node{below: params}
}

// find is the index of the first parameter below n that is not less than rest.
func (n *node) find(rest string) (int, bool) {
	return slices.BinarySearchFunc(n.below, rest, func(p param, rest string) int {
		return strings.Compare(p.name[n.skip:], rest)
	})
}

// child is the node of a name below n, nil where there is none.
func (n *node) child(name string) *node {
	c := &node{skip: n.skip + len(name) + 1}
	if i, ok := n.find(name); ok {
		c.value, c.leaf = n.below[i].value, true
	}
	from, _ := n.find(name + ".")
	to, _ := n.find(name + "/") // the byte after the dot
	c.below = n.below[from:to]
	if !c.leaf && len(c.below) == 0 {
		return nil
	}
	return c
}

// element is a numbered child.
type element struct {
	number uint64
	name   string
	node   *node
}

// numbered is n's children with numbers for names, in numerical order. Numbers
// may start anywhere and have gaps.
func (n *node) numbered() []element {
	var list []element
	for _, p := range n.below {
		name, _, _ := strings.Cut(p.name[n.skip:], ".")
		if number, err := strconv.ParseUint(name, 10, 32); err == nil {
			list = append(list, element{number: number, name: name})
		}
	}
	slices.SortFunc(list, func(a, b element) int {
		if a.number != b.number {
			return int(a.number) - int(b.number)
		}
		return strings.Compare(a.name, b.name) // "01" and "1"
	})
	list = slices.CompactFunc(list, func(a, b element) bool { return a.name == b.name })
	for i := range list {
		list[i].node = n.child(list[i].name)
	}
	return list
}
