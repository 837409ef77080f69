package routing

import (
	"fmt"
	"strings"
)

// A writer collects the lines of a configuration.
type writer struct{ strings.Builder }

// section begins a section such as "frontend x".
func (w *writer) section(words ...string) {
	if w.Len() > 0 {
		w.WriteByte('\n')
	}
	w.WriteString(strings.Join(words, " "))
	w.WriteByte('\n')
}

// line writes one line of a section. Its words are configuration; what a user wrote must have passed quote.
func (w *writer) line(words ...string) {
	w.WriteString("  ")
	w.WriteString(strings.Join(words, " "))
	w.WriteByte('\n')
}

func (w *writer) linef(format string, args ...any) { w.line(fmt.Sprintf(format, args...)) }

// comment says something to people who read the configuration.
func (w *writer) comment(text string) { w.line("#", fmt.Sprintf("%q", text)) }

// quote makes text one word of a configuration line that means exactly text, whatever is in it. HAProxy reads \xNN
// outside quotes; a NUL cannot be expressed (see expressible). An empty text is an empty word.
func quote(text string) string {
	if text == "" {
		return `""`
	}
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; harmless(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	return b.String()
}

func harmless(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-_./:=+@,;?*&!<>^()[]{}|%~", c) >= 0
}

// expressible reports whether HAProxy can hold text: its strings end at a NUL.
func expressible(text string) bool { return !strings.Contains(text, "\x00") }

// literal makes text a part of a log format that stands for itself.
func literal(text string) string { return strings.ReplaceAll(text, "%", "%%") }

// name makes an identifier that HAProxy accepts from the end of an id such as targetgroup/web/73e2d6bc24d8a067: two ids
// have two names.
func name(id string) string {
	parts := strings.Split(id, "/")
	readable := strings.Join(parts[max(0, len(parts)-2):], "-")
	for i := range len(readable) {
		c := readable[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-') {
			return "x-" + digest(id)
		}
	}
	if readable == "" || readable[0] == '-' || len(readable) > 100 {
		return "x-" + digest(id)
	}
	return readable
}
