package main

import (
	"fmt"
	"regexp"
)

// javaUnicode is Java's way to write a character by its code.
var javaUnicode = regexp.MustCompile(`\\u([0-9A-Fa-f]{4})`)

// goPattern is a shape's pattern in Go's syntax. Models use Java's, which has
// \uXXXX (rewritten here) and look-around (which RE2 cannot express: such a
// pattern needs an entry in the patches file).
func goPattern(name string, sh *shape) (string, error) {
	pattern := sh.pattern2
	if pattern == "" {
		pattern = javaUnicode.ReplaceAllString(sh.Pattern, `\x{$1}`)
	}
	if _, err := regexp.Compile(`\A(?:` + pattern + `)\z`); err != nil {
		return "", fmt.Errorf("shape %s: pattern %q is not usable in Go, patch it: %w", name, sh.Pattern, err)
	}
	return pattern, nil
}
